"""plan.yaml: the same bytes after load and save, all faults at once, `--set`, and what a hand changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tunebook.errors import PlanError
from tunebook.plan.files import (
    dump_plan,
    load_plan,
    make_plan,
    origin_of,
    save_plan,
    set_values,
    values_by_path,
)
from tunebook.plan.schema import Plan
from tunebook.plan.text import load_yaml

LEAST: dict[str, Any] = {"model": {"name": "smollm2-135m"}, "data": {"path": "rows.jsonl"}}
FULL: dict[str, Any] = {
    **LEAST,
    "model": {"name": "base", "sha256": "12e4" + "0" * 60},
    "training": {
        "learning_rate": 3e-5,
        "epochs": {"min": 10, "max": 20},
        "warmup": {"strategy": "custom", "points": [[0, 0], [0.1, 1.0]]},
    },
    "stopping": {
        "rules": [
            {"kind": "plateau", "patience": 3, "min_delta": 1e-3, "source": "no gain of 1e-3"},
            {"kind": "threshold", "metric": "bleu", "op": ">", "value": 30, "source": "BLEU > 30"},
            {"kind": "budget", "amount": 150, "unit": "minutes", "source": "2h30"},
        ]
    },
    "metrics": ["bleu", "perplexity"],
    "not_understood": ["3e-5", "yes", "1:30", "collect more data ✓"],
    "notes": {"why": "null", "number": "1e-3"},
    "origins": {"training.learning_rate": {"from": "answer", "why": "Learning Rate", "value": 3e-5}},
}


def faults(value: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(PlanError) as caught:
        make_plan(value)
    return {fault.where: fault.message for fault in caught.value.faults}


@pytest.mark.parametrize("value", [LEAST, FULL], ids=["least", "full"])
def test_load_and_save_give_the_same_bytes(tmp_path: Path, value: dict[str, Any]) -> None:
    save_plan(make_plan(value), tmp_path / "a.yaml")
    plan = load_plan(tmp_path / "a.yaml")
    assert plan == make_plan(value)
    save_plan(plan, tmp_path / "b.yaml")
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.from_regex(r"[-+]?[0-9.:_]+(e-?[0-9]+)?", fullmatch=True)


@given(TEXT, TEXT, st.floats(0, 0.99), st.integers(1, 10**9))
def test_any_text_and_number_comes_back(note: str, unread: str, rate: float, steps: int) -> None:
    value = {**LEAST, "notes": {"n": note}, "not_understood": [unread]}
    plan = make_plan({**value, "training": {"learning_rate": rate, "max_steps": steps}})
    text = dump_plan(plan)
    assert make_plan(load_yaml(text)) == plan
    assert dump_plan(make_plan(load_yaml(text))) == text


def test_every_fault_is_told_at_once_with_its_path_and_value() -> None:
    found = faults(
        {
            "model": {},
            "data": {"path": "x", "validation_share": 1.5},
            "training": {"learning_rte": 1, "batch_size": "many", "epochs": {"min": 5, "max": 2}},
            "evaluation": {"schedule": "often"},
            "workflow": {"order": ["export", "initialize"]},
            "zzz": 1,
        }
    )
    assert found["model.name"] == "is required"
    assert "1.5" in found["data.validation_share"]
    assert found["training.learning_rte"] == "is unknown; did you mean learning_rate?"
    assert "'many'" in found["training.batch_size"]
    assert found["training.epochs"] == "max (2) is below min (5)"
    assert "'often' is not a schedule" in found["evaluation.schedule"]
    assert "missing: ['validate'" in found["workflow.order"]
    assert found["zzz"].startswith("is unknown; known: ")
    assert len(found) == 8


def test_an_unknown_key_of_a_rule_names_the_keys_of_its_kind() -> None:
    found = faults({**LEAST, "stopping": {"rules": [{"kind": "rise", "patients": 2}]}})
    assert found == {"stopping.rules.0.rise.patients": "is unknown; did you mean patience?"}


@pytest.mark.parametrize("bad", [".nan", ".inf", "-.inf", "1e999"])
@pytest.mark.parametrize("path", ["training.learning_rate", "training.weight_decay", "lora.alpha"])
def test_what_is_not_finite_is_refused(path: str, bad: str) -> None:
    with pytest.raises(PlanError, match=path):
        make_plan(set_values(LEAST, [f"{path}={bad}"]))


def test_a_wrong_order_names_each_pair_and_why() -> None:
    order = list(make_plan(LEAST).workflow.order)
    found = faults({**LEAST, "workflow": {"order": order[::-1]}})
    assert "train must come before monitor: before the loop runs" in found["workflow.order"]
    assert "validate must come before split" in found["workflow.order"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a list", "holds no sections"),
        ("a: [1", "is not valid YAML"),
        ("a: &x [1]\nb: *x", "alias \\*x is not read, write the value itself, line 2"),
        ("a: " + "[" * 5000, "is not valid YAML"),
        ("training: {seed: " + "9" * 5000 + "}", "is not valid YAML"),
        ("a: 2024-99-99", "is not valid YAML"),
        ("a: \x00", "is not valid YAML"),
        ("!!python/object:os.system {}", "is not valid YAML"),
        ("training: {seed: 1}\nmodel: {name: m}\ntraining: {seed: 2}", "key 'training' is given twice, line 3"),
        ("training:\n  batch_size: 8\n  batch_size: 32", "key 'batch_size' is given twice, line 3"),
        ("training: {batch_size: 1.000}", "1.000 can mean 1 or 1000; write the one that you mean, line 1"),
    ],
)
def test_a_broken_file_is_named_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(PlanError, match=says):
        load_plan(path)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="No such file"):
        load_plan(tmp_path / "plan.yaml")
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanError, match="not UTF-8"):
        load_plan(tmp_path / "plan.yaml")


@pytest.mark.parametrize(
    ("text", "number"), [("3e-5", 3e-5), ("3E-5", 3e-5), ("1.e3", 1e3), ("0.1", 0.1), ("-2e+1", -20)]
)
def test_numbers_are_read_as_people_write_them(text: str, number: float) -> None:
    assert load_yaml(text) == number


@pytest.mark.parametrize("setting", ["training.max_steps=yes", "lora.rank=true", "training.weight_decay=on"])
def test_yes_is_no_number(setting: str) -> None:
    with pytest.raises(PlanError, match=r"must be a number, and is yes"):
        make_plan(set_values(LEAST, [setting]))
    assert make_plan(set_values(LEAST, ["evaluation.retention=yes"])).evaluation.retention is True


@pytest.mark.parametrize("text", ["1.000", "-10.000", "999.000"])
def test_a_number_that_may_be_meant_in_thousands_is_asked_about(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match=f"{text} can mean {text[:-4]} or {text[:-4]}000"):
        load_yaml(text)


@pytest.mark.parametrize(("text", "number"), [("3.0", 3), ("1e3", 1000), ("0123", 123), ("1_000", 1000)])
def test_a_whole_number_is_taken_as_it_is_meant(text: str, number: int) -> None:
    assert make_plan(set_values(LEAST, [f"training.max_steps={text}"])).training.max_steps == number


@pytest.mark.parametrize("text", ["1:30", "0x10", "0b11", "1:30.5"])
def test_hours_and_other_notations_are_no_numbers(text: str) -> None:
    assert load_yaml(text) == text
    with pytest.raises(PlanError, match=f"training.weight_decay.*{text}"):
        make_plan(set_values(LEAST, [f"training.weight_decay={text}"]))


@pytest.mark.parametrize("setting", ["training.max_steps=", "data.validation_path=  "])
def test_a_set_without_a_value_is_told(setting: str) -> None:
    with pytest.raises(PlanError, match="is given no value; write null for none"):
        set_values({**LEAST, "training": {"max_steps": 5}}, [setting])
    assert set_values(LEAST, [f"{setting}null"])["training" if "training" in setting else "data"]


@pytest.mark.parametrize("text", ["3e-5x", "12e4f0", "e5", "3e-"])
def test_what_only_begins_like_a_number_stays_text(text: str) -> None:
    assert load_yaml(text) == text


def test_set_changes_values_and_says_so() -> None:
    plan = make_plan(
        set_values(
            LEAST,
            ["training.learning_rate=3e-5", "training.max_steps=40", "data.columns={prompt: q}", "metrics=[bleu]",
             "lora.rank = 8"],
        )
    )  # fmt: skip
    assert plan.training.learning_rate == 3e-5
    assert plan.training.max_steps == 40
    assert plan.data.columns == {"prompt": "q"}
    assert plan.metrics == ("training_loss", "bleu")
    for path in ("training.learning_rate", "training.max_steps", "data.columns", "metrics", "lora.rank"):
        assert origin_of(plan, path) == ("set", "given with --set"), path


def test_set_leaves_what_it_was_given_alone() -> None:
    value: dict[str, Any] = {**LEAST, "training": {"epochs": {"min": 1, "max": 2}}}
    set_values(value, ["training.epochs.max=9"])
    assert value["training"] == {"epochs": {"min": 1, "max": 2}}


def test_every_bad_set_is_told_at_once() -> None:
    settings = [
        "nonsense",
        "training.learning_rat=1",
        "training.epochs=3",
        "training.seed.x=1",
        "lora.rank=[",
        "notes=1",
    ]
    with pytest.raises(PlanError) as caught:
        set_values(LEAST, settings)
    found = {fault.where: fault.message for fault in caught.value.faults}
    assert found["nonsense"] == "is not of the form path=value"
    assert found["training.learning_rat"].endswith("did you mean training.learning_rate?")
    assert found["training.epochs"] == "is a section; set training.epochs.min, training.epochs.max"
    assert found["training.seed.x"].startswith("is not a value of the plan")
    assert "is not valid YAML" in found["lora.rank"]
    assert found["notes"].startswith("is not a value of the plan")


def test_an_edit_by_hand_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    save_plan(make_plan(FULL), path)
    assert origin_of(load_plan(path), "training.learning_rate") == ("answer", "Learning Rate")
    text = path.read_text()
    value = yaml.safe_load(text)
    path.write_text(text.replace(f"learning_rate: {value['training']['learning_rate']}", "learning_rate: 1e-4", 1))
    path.write_text(
        path.read_text().replace("learning_rate: 3.0e-05", "learning_rate: 1e-4", 1).replace("rank: 16", "rank: 4")
    )
    plan = load_plan(path)
    assert plan.training.learning_rate == 1e-4
    assert origin_of(plan, "training.learning_rate") == ("hand", "edited in the plan file")
    assert origin_of(plan, "lora.rank") == ("hand", "edited in the plan file")
    assert origin_of(plan, "training.batch_size") == ("default", "")


def test_every_value_has_a_path_that_set_takes() -> None:
    values = values_by_path(make_plan(FULL))
    assert {"model.name", "training.epochs.min", "stopping.rules", "metrics", "workflow.order"} <= set(values)
    assert make_plan(set_values(LEAST, [f"{path}={json.dumps(value)}" for path, value in values.items()])) is not None


def test_the_schema_describes_itself() -> None:
    assert "learning_rate" in str(Plan.model_json_schema())
