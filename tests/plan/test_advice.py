"""Advice says what experience would change, and changes nothing until it is taken."""

from __future__ import annotations

from typing import Any

import pytest

from tunebook.errors import PlanError
from tunebook.plan.advice import advise
from tunebook.plan.compile import compile_plan, take_advice
from tunebook.plan.facts import Facts, optimizer_steps, steps_per_epoch
from tunebook.plan.files import origin_of
from tunebook.plan.schema import Plan

PLENTY = Facts(rows=12000, examples=12000, training=10800, validation=1200, exact=True)


def plan_of(*settings: str, **more: Any) -> Plan:
    return compile_plan(None, {"learning-rate": "3e-5 (Recommended)"}, "rows.jsonl", "base", settings, **more)


def advised(plan: Plan, facts: Facts | None = None) -> dict[str, Any]:
    found = advise(plan, facts)
    assert all(item.why for item in found)
    return {item.path: item.value for item in found}


def test_lora_wants_ten_times_the_rate_and_gets_it_only_when_accepted() -> None:
    plan = plan_of()
    assert advised(plan) == {"training.learning_rate": 3e-4}
    assert plan.training.learning_rate == 3e-5
    taken = take_advice(plan, ["training.learning_rate"])
    assert taken.training.learning_rate == 3e-4
    assert origin_of(taken, "training.learning_rate")[0] == "advice"
    assert advised(taken) == {}


def test_full_training_is_not_advised_a_higher_rate() -> None:
    assert advised(plan_of("training.method=full")) == {}
    assert advised(plan_of("training.method=full", "training.learning_rate=1e-3")) == {"training.learning_rate": 3e-5}


def test_a_rate_set_on_purpose_is_left_alone() -> None:
    assert advised(plan_of("training.learning_rate=2e-4")) == {}
    plan = take_advice(plan_of("training.learning_rate=5e-5"), "all")
    assert plan.training.learning_rate == 5e-5


@pytest.mark.parametrize(
    ("settings", "facts", "path", "value"),
    [
        (["training.epochs.max=9"], Facts(200, 200, 180, 20), "training.epochs.max", 5),
        (["training.batch_size=32"], Facts(30, 30, 20, 10), "training.batch_size", 2),
        (["evaluation.schedule=every 500 steps"], Facts(500, 500, 450, 50), "evaluation.schedule", "every epoch"),
        ([], Facts(900, 900, 810, 90, 1, 1, longest=1500, over_limit=3, exact=True), "data.max_length", 1500),
        ([], Facts(60, 60, 54, 6), "data.validation_share", 0.25),
    ],
)
def test_what_the_data_says_is_advised(settings: list[str], facts: Facts, path: str, value: Any) -> None:
    assert advised(plan_of(*settings), facts)[path] == value
    assert path not in advised(plan_of(*settings), PLENTY)


def test_a_long_run_without_rules_is_advised_one() -> None:
    found = advised(plan_of("training.epochs.max=20"))
    assert found["stopping.rules"][0]["kind"] == "plateau"
    assert take_advice(plan_of("training.epochs.max=20"), ["stopping.rules"]).stopping.rules[0].kind == "plateau"


def test_fewer_epochs_lower_the_low_end_too() -> None:
    facts = Facts(100, 100, 90, 10)
    plan = plan_of("training.epochs.min=10", "training.epochs.max=20")
    plan = take_advice(plan, ["training.epochs.max"], facts)
    assert (plan.training.epochs.min, plan.training.epochs.max) == (5, 5)
    assert origin_of(plan, "training.epochs.min")[0] == "advice"


def test_advice_that_was_not_given_cannot_be_taken() -> None:
    with pytest.raises(PlanError, match="advice is given for: training.learning_rate"):
        take_advice(plan_of(), ["lora.rank"])


def test_steps_follow_from_the_data() -> None:
    plan = plan_of("training.batch_size=16", "training.epochs.max=5")
    assert steps_per_epoch(plan, Facts(1100, 1100, 1000, 100)) == 63
    assert optimizer_steps(plan, Facts(1100, 1100, 1000, 100)) == 315
    assert optimizer_steps(plan_of("training.max_steps=40"), Facts(1100, 1100, 1000, 100)) == 40
