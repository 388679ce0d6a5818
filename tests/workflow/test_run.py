"""A whole run of a tiny model, its evidence, and going on after being stopped."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import save_tiny, tiny_model
from tests.workflow.conftest import write_rows
from tunebook.errors import RunError, Stopped, TrainingError
from tunebook.model.four_bits import FourBitLinear
from tunebook.plan.files import make_plan
from tunebook.runs.checkpoints import steps_saved
from tunebook.runs.events import read_events
from tunebook.runs.metrics import columns, metric_rows
from tunebook.runs.status import read_status
from tunebook.runs.store import runs_folder
from tunebook.steps import STEP_IDS
from tunebook.workflow.measure import Measured
from tunebook.workflow.result import load_tuned
from tunebook.workflow.runner import run_steps
from tunebook.workflow.start import prepare_run


def start(values, name="one", watchers=None, **sections):
    """Make and run a plan; sections override those of `values`."""
    changed = {key: value | sections.get(key, {}) for key, value in values.items()}
    changed |= {key: value for key, value in sections.items() if key not in changed}
    run = prepare_run(make_plan(changed), name, runs_folder())
    run_steps(run, watchers)
    return run


def stop_at(step):
    """A watcher that asks for a stop, as `tunebook stop` does, once an optimizer step is done."""

    def watch(event):
        if event["kind"] == "metrics" and event["step"] == step:
            from tunebook.runs.stop import request_stop
            from tunebook.runs.store import open_run

            request_stop(open_run("cut"), discard=False)

    return watch


def weights(run, step):
    return load_file(run.checkpoints / f"step-{step}" / "weights.safetensors")


@pytest.mark.slow
def test_a_run_walks_the_ten_steps_and_leaves_its_evidence(values):
    run = start(values, export={"formats": ["safetensors"]})
    status = read_status(run).to_json()
    assert status["state"] == "finished"
    assert [step["id"] for step in status["steps"]] == list(STEP_IDS)
    assert {step["state"] for step in status["steps"]} == {"done"}
    events = list(read_events(run.events))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    steps = [event["step"] for event in events if event["kind"] == "metrics"]
    assert steps == list(range(1, status["optimizer_steps"] + 1))
    evaluated = [event["step"] for event in events if event["kind"] == "evaluation"]
    assert evaluated == [0, 3, 6, len(steps)] if len(steps) % 3 else [0, *range(3, len(steps) + 1, 3)]
    for name in (
        "plan.yaml",
        "environment.json",
        "data/split.json",
        "samples/step-0.json",
        "report.json",
        "report.html",
    ):
        assert (run.folder / name).is_file(), name
    assert json.loads((run.folder / "export" / "deployment.json").read_text())["verdict"]
    table = columns(run)
    assert len(table["seq"]) == len(table["training_loss"]) == len(steps) + len(evaluated)


@pytest.mark.slow
def test_rows_of_the_validation_file_are_held_out_and_never_trained(values, home):
    held_out = write_rows(home / "held.jsonl", 8, first=36)  # four of them stand in rows.jsonl, too
    plan = make_plan(values | {"data": {**values["data"], "validation_path": str(held_out)}})
    run = start(values, data={"validation_path": str(held_out)}, training={**values["training"], "max_steps": 2})
    sides = json.loads((run.folder / "data" / "split.json").read_text())
    assert [len(sides[name]) for name in ("training", "validation")] == [36, 8]
    assert not set(sides["training"]) & set(sides["validation"])
    assert len(json.loads((run.folder / "evaluation" / "heldout-base.json").read_text())["per_example"]) == 8
    assert Measured(plan).factors()["examples"] == 36


@pytest.mark.slow
def test_the_exported_folder_answers_as_the_tuned_model(values):
    from transformers import AutoModelForCausalLM

    run = start(values, export={"formats": ["safetensors"]})
    tuned, tokenizer = load_tuned(run)
    exported = AutoModelForCausalLM.from_pretrained(run.folder / "export" / "safetensors")
    ids = tokenizer("What is the red fox number 3?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.allclose(tuned(ids).logits, exported(ids).logits, atol=1e-4)


@pytest.mark.slow
def test_two_straight_runs_of_one_plan_write_equal_weights(values):
    one, two = start(values, "one"), start(values, "two")
    for step in steps_saved(one.checkpoints):
        for name in ("weights.safetensors", "optimizer.safetensors"):
            first, second = (run.checkpoints / f"step-{step}" / name for run in (one, two))
            assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 4])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"training": {"method": "full"}},
        {"training": {"dropout": 0.0, "precision": "bfloat16"}},
        {"training": {"dropout": 0.0}, "model": {"quantization": "nf4"}},
    ],
    ids=["lora", "full", "bfloat16", "nf4"],
)
def test_a_stopped_and_resumed_run_equals_a_straight_one(values, cut, changed):
    straight = start(values, "straight", **changed)
    with pytest.raises(Stopped) as stopped:
        start(values, "cut", [stop_at(cut)], **changed)
    assert stopped.value.exit_code == 0
    from tunebook.runs.store import open_run

    resumed = open_run("cut")
    assert read_status(resumed).state == "stopped"
    run_steps(resumed)
    last = steps_saved(straight.checkpoints)[0]
    one, two = weights(straight, last), weights(resumed, last)
    assert all(torch.equal(one[name], two[name]) for name in one)
    seen = [
        [
            (row["step"], row["values"].get("training_loss"), row["values"].get("validation_loss"))
            for row in metric_rows(run)
        ]
        for run in (straight, resumed)
    ]
    assert seen[0] == seen[1]


@pytest.mark.slow
def test_a_base_in_4_bits_is_trained_and_exported_as_it_was_measured(values):
    formats = ["safetensors", "adapter", "gguf"]
    run = start(values, model={"quantization": "nf4"}, training={"dropout": 0.0}, export={"formats": formats})
    assert read_status(run).state == "finished"
    record = json.loads((run.folder / "export" / "export.json").read_text())["formats"]
    for kind in ("safetensors", "adapter"):
        parity = record[kind]["parity"]
        assert parity["ok"]
        assert parity["mean_kl"] < 1e-9  # the base rounded again, or not rounded, would be far off
    assert json.loads((run.folder / "export" / "deployment.json").read_text())["verdict"] == "passed"
    base = json.loads((run.folder / "export" / "adapter" / "base.json").read_text())
    assert base["quantization"] == "nf4"
    tuned, _ = load_tuned(run)
    assert any(isinstance(module, FourBitLinear) for module in tuned.modules())
    configured = read_status(run).to_json()["steps"]
    (loaded,) = [step["evidence"] for step in configured if step["id"] == "load"]
    assert loaded["parameters"] == sum(p.numel() for p in tiny_model().parameters())


@pytest.mark.slow
def test_another_seed_gives_other_weights(values):
    one = start(values, "one")
    two = start(values, "two", training={**values["training"], "seed": 7})
    last = steps_saved(one.checkpoints)[0]
    assert any(not torch.equal(weights(one, last)[name], tensor) for name, tensor in weights(two, last).items())


@pytest.mark.slow
def test_every_valid_order_of_the_steps_runs(values):
    order = ["configure", "logging", "load", "validate", "initialize", "split", "train", "monitor", "export", "deploy"]
    run = start(values, workflow={"order": order}, training={**values["training"], "max_steps": 2})
    status = read_status(run).to_json()
    assert [step["id"] for step in status["steps"]] == order
    assert status["state"] == "finished"


@pytest.mark.slow
def test_a_step_that_the_plan_leaves_empty_is_skipped_with_the_reason(values):
    run = start(values, training={**values["training"], "max_steps": 2})
    steps = {step["id"]: step for step in read_status(run).to_json()["steps"]}
    assert steps["export"]["state"] == steps["deploy"]["state"] == "skipped"
    assert "no export formats" in steps["export"]["reason"]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_before_the_update(values, monkeypatch):
    from tunebook.train import loop

    true = loop._gradients

    def poisoned(job, state, rows, trained):
        loss = true(job, state, rows, trained)
        return float("nan") if state.step == 3 else loss

    monkeypatch.setattr(loop, "_gradients", poisoned)
    with pytest.raises(TrainingError, match="not finite at optimizer step 4"):
        start(values)
    from tunebook.runs.store import open_run

    run = open_run("one")
    assert read_status(run).state == "failed"
    assert steps_saved(run.checkpoints)[0] == 3
    assert all(tensor.isfinite().all() for tensor in weights(run, 3).values())


@pytest.mark.slow
def test_changed_data_is_refused_on_resume_with_what_changed(values, home):
    with pytest.raises(Stopped):
        start(values, "cut", [stop_at(2)])
    write_rows(home / "rows.jsonl", 44)
    from tunebook.runs.store import open_run

    with pytest.raises(RunError, match="cannot go on: the data set.* changed"):
        run_steps(open_run("cut"))


@pytest.mark.slow
def test_memory_that_runs_out_halves_the_micro_batch_with_the_same_result(values, monkeypatch):
    straight = start(values, "straight", training={**values["training"], "dropout": 0.0, "max_steps": 4})
    from tunebook.train.forward import Engine

    true = Engine.forward_backward

    def narrow(self, batch, divide_by):
        if batch.tokens > 100:
            raise MemoryError
        return true(self, batch, divide_by)

    monkeypatch.setattr(Engine, "forward_backward", narrow)
    tight = start(values, "tight", training={**values["training"], "dropout": 0.0, "max_steps": 4})
    assert any("Memory ran out" in warning for warning in read_status(tight).warnings)
    one, two = weights(straight, 4), weights(tight, 4)
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


def test_a_run_in_bfloat16_is_another_one_and_warns_where_the_processor_does_not_multiply_it(values, monkeypatch):
    monkeypatch.setattr("tunebook.workflow.prepare.precisions", lambda: ["float32"])
    exact, rounded = (start(values, name, training={"dropout": 0.0, "precision": name}) for name in PRECISIONS)
    last = steps_saved(exact.checkpoints)[0]
    one, two = weights(exact, last), weights(rounded, last)
    assert any(not torch.equal(one[name], two[name]) for name in one)
    assert [_told(run) for run in (exact, rounded)] == [
        [],
        ["This processor has no bfloat16 products of its own: float32 would be faster."],
    ]


def test_a_run_in_float32_is_told_where_the_machine_would_multiply_bfloat16(values, monkeypatch):
    for kinds in (["float32"], ["float32", "bfloat16"]):
        monkeypatch.setattr("tunebook.workflow.prepare.precisions", lambda kinds=kinds: kinds)
        run = start(values, "-".join(kinds))
        told = [event["message"] for event in read_events(run.events) if "bfloat16" in event.get("message", "")]
        assert len(told) == len(kinds) - 1
    assert "training.precision bfloat16 would be faster" in told[0]


def test_a_model_that_goes_the_plain_way_says_that_it_multiplies_in_float32(values, home):
    odd = save_tiny(home / "odd", logits_scaling=2.0)
    run = start(values, model={"name": str(odd)}, training={"precision": "bfloat16"})
    assert _told(run) == ["Training multiplies in float32: the model changes its logits after the head."]


def test_a_run_says_why_its_gpu_attends_to_one_example_after_the_other(values, home, monkeypatch):
    monkeypatch.setattr("tunebook.model.flex.DEVICES", ("cpu",))
    monkeypatch.setattr("tunebook.model.flex.why_not", lambda *_: "its kernel failed on this machine")
    run = start(values, training={"dropout": 0.1})  # which goes the joined way
    told = [event.get("message") for event in read_events(run.events)]
    assert "Attention takes one example after the other: its kernel failed on this machine." in told


PRECISIONS = ("float32", "bfloat16")


def _told(run):
    return [event["message"] for event in read_events(run.events) if event.get("code") == "precision"]
