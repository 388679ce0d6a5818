"""Inputs and settings that changed between two tries of a run: refused with what changed, or asked about."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.faults.compare import differences
from tunebook.plan.files import load_plan, save_plan
from tunebook.runs.status import read_status
from tunebook.runs.store import Run


@pytest.fixture
def inputs(farm):
    """The data and the model of the plan, put back afterwards."""
    kept = farm.home / "kept"
    shutil.copytree(farm.home / "fast", kept / "fast")
    shutil.copy(farm.home / "rows.jsonl", kept / "rows.jsonl")
    yield farm.home
    shutil.rmtree(farm.home / "fast")
    shutil.copytree(kept / "fast", farm.home / "fast")
    shutil.copy(kept / "rows.jsonl", farm.home / "rows.jsonl")
    shutil.rmtree(kept)


def edit_row(home):
    path = home / "rows.jsonl"
    path.write_text(path.read_text().replace("The fox is red", "The fox is pink", 1))


def edit_template(home):
    path = home / "fast" / "chat_template.jinja"
    path.write_text(path.read_text() + "{# changed #}")


def edit_tokenizer(home):
    path = home / "fast" / "tokenizer.json"
    value = json.loads(path.read_text())
    value["model"]["merges"] = value["model"]["merges"][:-3]
    path.write_text(json.dumps(value))


def edit_weights(home):
    """Done in a forked process: see the test."""


def edit_config(home):
    path = home / "fast" / "config.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"rms_norm_eps": 1e-2}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (edit_row, "the data set changed"),
        (edit_template, "the chat template changed"),
        pytest.param(edit_tokenizer, "the tokenizer changed", marks=pytest.mark.heavy),
        (edit_weights, "the base model's weights changed"),
        pytest.param(edit_config, "the base model's config.json changed", marks=pytest.mark.heavy),
    ],
)
def test_a_changed_input_is_refused_by_its_name(farm, copy, inputs, edit, says):
    run = copy("checkpoint", 4)
    edit(inputs)
    if edit is edit_weights:
        farm.run("--help", hooks=[("change_weights", str(inputs / "fast"))])
    done = farm.run("resume", run.name)
    assert done.code == 1
    assert says in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert max(int(path.name[5:]) for path in run.checkpoints.glob("step-*")) == 4


@pytest.mark.slow
def test_a_changed_setting_of_training_is_asked_about_and_goes_on_as_planned(farm, finished, copy):
    run = copy("checkpoint", 4)
    before = (run.folder / "plan.yaml").read_bytes()
    changes = ["--set", "training.learning_rate=1e-4", "--set", "training.batch_size=4", "--set", "training.seed=7"]
    changes += ["--set", "evaluation.max_new_tokens=3"]
    done = farm.run("resume", run.name, *changes)
    assert done.code == 1
    for words in ("learning_rate: was 0.003, is 0.0001", "batch_size: was 8, is 4", "seed: was 42, is 7"):
        assert f"training.{words}" in done.err
    assert "evaluation.max_new_tokens: was 6, is 3" in done.err
    assert "--as-planned" in done.err
    assert "--new NAME" in done.err
    assert (run.folder / "plan.yaml").read_bytes() == before
    assert farm.run("resume", run.name, *changes, "--as-planned").code == 0
    assert differences(finished, run) == []


@pytest.mark.slow
def test_a_plan_edited_by_hand_is_noticed(farm, copy):
    run = copy("checkpoint", 4)
    plan = run.plan()
    training = plan.training.model_copy(update={"learning_rate": 0.5})
    save_plan(plan.model_copy(update={"training": training}), run.folder / "plan.yaml")
    done = farm.run("resume", run.name)
    assert done.code == 1
    assert "training.learning_rate: was 0.003, is 0.5" in done.err
    assert farm.run("resume", run.name, "--as-planned").code == 0
    assert load_plan(run.folder / "plan.yaml").training.learning_rate == 3e-3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "nf4", pytest.param("full", marks=pytest.mark.heavy)])
def test_a_new_run_begins_with_the_weights_that_were_reached(farm, copy, method):
    run = copy("checkpoint", 6)
    if method != "lora":
        setting = "training.method=full" if method == "full" else "model.quantization=nf4"
        assert farm.run("run", "plan-0.yaml", "--name", f"whole-{method}", "--set", setting).code == 0
        run = Run(farm.home / "runs" / f"whole-{method}")
    name = f"further-{method}"
    done = farm.run("resume", run.name, "--new", name, "--set", "training.learning_rate=1e-4")
    assert done.code == 0, done.err
    new = Run(farm.home / "runs" / name)
    assert read_status(new).state == "finished"
    assert new.plan().training.learning_rate == 1e-4
    assert new.plan().model.quantization is None  # rounded once more, what was learned would be lost
    step = 6 if method == "lora" else 8
    reached = json.loads((run.folder / "evaluation" / f"heldout-step-{step}.json").read_text())["loss"]
    begins = json.loads((new.folder / "evaluation" / "heldout-base.json").read_text())["loss"]
    assert begins == pytest.approx(reached, abs=1e-5)


@pytest.mark.slow
def test_other_settings_are_taken_from_here_on_and_told(farm, copy):
    run = copy("checkpoint", 4)
    done = farm.run("resume", run.name, "--set", "checkpoints.keep=1")
    assert done.code == 0, done.err
    assert "The plan changed: checkpoints.keep: was 2, is 1." in done.err


@pytest.mark.slow
def test_two_ways_at_once_are_bad_usage(farm, copy):
    assert farm.run("resume", copy("checkpoint", 4).name, "--as-planned", "--new", "x").code == 2
