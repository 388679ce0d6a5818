"""The order of the ten steps: any valid one passes, a wrong pair is named with its reason, steps in place count."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebook.pages.order import check_order, step_of
from tunebook.steps import BY_ID, STEP_IDS

TITLES = [BY_ID[step].title for step in STEP_IDS]

# The table of the design, written out again: step -> what it needs.
NEEDS = {
    "split": ["validate"],
    "train": ["split", "load", "configure", "initialize", "logging"],
    "monitor": ["train"],
    "export": ["train", "monitor"],
    "deploy": ["export"],
}


def test_the_table_order_is_valid() -> None:
    found = check_order(TITLES)
    assert found.to_json() == {
        "valid": True, "violations": [], "unknown": [], "missing": [], "repeated": [], "workable": 10
    }  # fmt: skip
    assert found.sentences() == []


@given(st.permutations(STEP_IDS))
def test_an_order_is_valid_exactly_when_nothing_stands_before_what_it_needs(order: list[str]) -> None:
    wrong = {(need, step) for step, needs in NEEDS.items() for need in needs if order.index(need) > order.index(step)}
    found = check_order(order)
    assert {(pair.first, pair.second) for pair in found.violations} == wrong
    assert found.valid == (not wrong)
    assert found.workable == 10 - len({step for _, step in wrong})


def test_all_orders_of_the_six_free_steps_that_keep_validate_before_split_are_valid() -> None:
    free, rest = STEP_IDS[:6], STEP_IDS[6:]
    for order in random.Random(0).sample(list(permutations(free)), 120):
        assert check_order([*order, *rest]).valid == (order.index("validate") < order.index("split"))


def test_a_wrong_pair_is_named_with_its_reason() -> None:
    order = ["initialize", "split", "validate", *STEP_IDS[3:]]
    found = check_order(order)
    assert found.to_json()["violations"] == [
        {"first": "validate", "second": "split", "why": "bad and duplicate rows must not reach either side"}
    ]
    assert found.workable == 9
    assert found.sentences() == [
        "'Validate dataset format and quality' must come before 'Split dataset into training and validation sets': "
        "bad and duplicate rows must not reach either side."
    ]


def test_missing_unknown_and_repeated_steps_are_named() -> None:
    found = check_order(["load", "Bake a cake", "Load the base model and tokenizer", "validate"])
    assert not found.valid
    assert (found.unknown, found.repeated) == (("Bake a cake",), ("load",))
    assert found.missing == tuple(step for step in STEP_IDS if step not in ("load", "validate"))
    assert found.workable == 2


def test_a_step_given_twice_is_not_valid_even_when_all_ten_are_there() -> None:
    found = check_order([*STEP_IDS, "deploy"])
    assert (found.valid, found.repeated, found.workable) == (False, ("deploy",), 10)


def test_only_a_mark_at_the_beginning_of_a_line_is_a_list_mark() -> None:
    assert check_order(["1) Load the base model - and tokenizer"]).steps == ("load",)


def test_nothing_at_all_misses_all_ten() -> None:
    assert check_order(["", "  "]).missing == STEP_IDS
    assert not check_order([]).valid


@pytest.mark.parametrize(
    "text",
    [
        "Set up logging and checkpoint management",
        "set up LOGGING and checkpoint-management!",
        "  Set  up logging, and checkpoint management. ",
        "Set up logging and checkpoint management (early)",
        "logging",
        "Logging.",
    ],
)
def test_a_step_is_known_by_its_title_or_id_case_and_punctuation_aside(text: str) -> None:
    assert step_of(text) == "logging"
    assert check_order([f"3. {text}", f"- {text}"]).repeated == ("logging",)


@pytest.mark.parametrize("text", ["", "log", "Set up logging", "Save and export", "a - logging"])
def test_half_a_title_is_no_step(text: str) -> None:
    assert step_of(text) is None
    assert check_order([text]).steps == ()
