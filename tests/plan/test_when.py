"""Evaluation schedules: which words are read, and after which optimizer steps they fall due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebook.plan.when import Evaluations, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("every epoch", Evaluations(epochs=1)),
        ("Every epoch", Evaluations(epochs=1)),
        ("each epoch", Evaluations(epochs=1)),
        ("every 2 epochs", Evaluations(epochs=2)),
        ("every 100 steps", Evaluations(steps=100)),
        ("every 1,000 steps", Evaluations(steps=1000)),
        ("every  5\nminutes", Evaluations(minutes=5)),
        ("every 2 hours", Evaluations(minutes=120)),
        ("at 10, 20, 50", Evaluations(at=(10, 20, 50))),
        ("at 10, 20 and 50", Evaluations(at=(10, 20, 50))),
        ("at step 10", Evaluations(at=(10,))),
        ("at 10, 20, 50, then every 100", Evaluations(at=(10, 20, 50), steps=100)),
        ("at steps 10 20 then every 100 steps", Evaluations(at=(10, 20), steps=100)),
    ],
)
def test_it_reads(text: str, expected: Evaluations) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "often",
        "every 0 steps",
        "at 0, 10",
        "at 20, 10",
        "at 10, 10",
        "every -5 steps",
        "at 1" + "1" * 5000,
        "at 1 x",
    ],
)
def test_it_says_which_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="write 'every epoch'"):
        parse(text)


@given(st.text() | st.from_regex(r"at [0-9, ]*(then every)?[0-9 x]*", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        assert "is not a schedule" in str(error)  # noqa: PT017


def due(text: str, last: int, steps_per_epoch: int = 4) -> list[int]:
    schedule = parse(text)
    return [step for step in range(1, last + 1) if schedule.due(step, steps_per_epoch, 0.0)]


def test_points_fall_due() -> None:
    assert due("every epoch", 13) == [4, 8, 12]
    assert due("every 2 epochs", 17) == [8, 16]
    assert due("every 5 steps", 12) == [5, 10]
    assert due("at 2, 3", 12) == [2, 3]
    assert due("at 2, 5, then every 10", 30) == [2, 5, 15, 25]


def test_minutes_count_from_the_last_evaluation() -> None:
    schedule = parse("every 5 minutes")
    assert not schedule.due(7, 4, 4.9)
    assert schedule.due(7, 4, 5.0)
