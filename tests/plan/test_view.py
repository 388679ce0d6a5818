"""The plan as it is shown: every value with its origin and why, the curve, the data, advice, what was not read."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from tunebook.plan.advice import advise
from tunebook.plan.compile import compile_plan
from tunebook.plan.facts import Facts
from tunebook.plan.files import dump_plan, make_plan, values_by_path
from tunebook.plan.rules import read_rules
from tunebook.plan.rules.describe import describe
from tunebook.plan.schema import Plan
from tunebook.plan.text import load_yaml
from tunebook.plan.view import curve, draw, explained, plan_json

FACTS = Facts(1100, 1100, 1000, 100, 57565, 13595, 104, exact=True)
ANSWERS: dict[str, Any] = {
    "learning-rate": "3e-5 (Recommended)",
    "what-criteria-will-trigger-early-stopping": "patience 3, or when [bold]pigs[/bold] fly",
    "who-is-it-for": "us",
}


def plan_of(*settings: str) -> Plan:
    return compile_plan(None, ANSWERS, "rows.jsonl", "base", settings)


def drawn(plan: Plan, facts: Facts | None = FACTS, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    draw(plan, advise(plan, facts), facts, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_json_nests_every_value_with_its_origin_and_why() -> None:
    plan = plan_of("lora.rank=4")
    shown = json.loads(json.dumps(plan_json(plan, advise(plan, FACTS), FACTS)))
    for path, value in values_by_path(plan).items():
        leaf = shown
        for part in path.split("."):
            leaf = leaf[part]
        assert set(leaf) == {"value", "from", "why"}, path
        assert leaf["value"] == value
        assert leaf["why"], path
    assert shown["training"]["learning_rate"]["from"] == "answer"
    assert shown["lora"]["rank"]["from"] == "set"
    assert shown["data"]["max_length"]["from"] == "default"
    assert shown["not_understood"] == ["when [bold]pigs[/bold] fly"]
    assert shown["notes"] == {"who-is-it-for": "us"}
    assert shown["advice"][0]["path"] == "training.learning_rate"
    assert set(shown["advice"][0]) == {"path", "value", "why"}
    assert shown["facts"]["steps_per_epoch"] == 63
    assert shown["facts"]["optimizer_steps"] == 315
    assert shown["facts"]["trained_tokens"] == 13595


def test_a_hand_edit_shows_as_such() -> None:
    plan = make_plan(load_yaml(dump_plan(plan_of()).replace("learning_rate: 3.0e-05", "learning_rate: 1e-4", 1)))
    assert {path: origin for path, _, origin, _ in explained(plan)}["training.learning_rate"] == "hand"


def test_what_is_drawn_says_everything() -> None:
    text = drawn(plan_of())
    for path in values_by_path(plan_of()):
        assert path.partition(".")[2] in text
    for piece in (
        "learning rate: 3e-5 (Recommended)",
        "stop once validation loss has not improved for 3 evaluations",
        "63 optimizer steps per epoch, at most 315 in all",
        "1,000 to train on, 100 held out",
        "57,565 tokens per epoch, 13,595 of them trained",
        "training.learning_rate = 0.0003",
        "--accept training.learning_rate",
        "'when [bold]pigs[/bold] fly'",
        "who-is-it-for: us",
    ):
        assert piece in text, piece


def test_it_fits_a_narrow_terminal_and_needs_no_colour() -> None:
    text = drawn(plan_of(), width=60)
    assert "\x1b" not in text
    words = [line for line in text.splitlines() if len(line) > 60]
    assert not [line for line in words if "base" in line]


def test_what_was_not_looked_at_is_not_claimed() -> None:
    assert "optimizer steps per epoch" not in drawn(plan_of(), None)
    about = drawn(plan_of(), Facts(1100, 1100, 990, 110))
    assert "about 990 to train on" in about
    assert "tokens are not counted" in about


def heights(lines: list[str]) -> list[int]:
    """For a curve of `#`, the row (0 on top) of the first mark in each column."""
    body = [line[9:].ljust(40) for line in lines]
    return [next((row for row, line in enumerate(body) if line[column] == "#"), -1) for column in range(40)]


def test_the_curve_rises_and_falls_where_the_plan_says() -> None:
    plan = plan_of("training.warmup.share=0.5")
    lines = curve(plan, 200, width=40, height=8, braille=False)
    tops = heights(lines)
    assert tops[0] == 7
    assert min(tops) == 0
    assert 15 <= tops.index(0) <= 22
    assert tops[:19] == sorted(tops[:19], reverse=True)
    assert tops[22:] == sorted(tops[22:])
    assert tops[-1] == 7
    assert lines[0].split()[0] == "3e-05"


def test_without_warmup_the_curve_begins_at_the_top() -> None:
    assert heights(curve(plan_of("training.warmup.strategy=none"), 200, width=40, braille=False))[0] == 0


@pytest.mark.parametrize("steps", [1, 2, 3, 50, 100_000])
def test_a_run_of_any_length_has_a_curve(steps: int) -> None:
    lines = curve(plan_of(), steps)
    assert len(lines) == 8
    assert any(ord(mark) > 0x2800 for line in lines for mark in line)


def test_a_terminal_without_unicode_gets_plain_marks() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

    out = Ascii()
    plan = plan_of()
    draw(plan, [], FACTS, Console(file=out, width=80))
    assert "#" in out.getvalue()
    assert not any(0x2800 <= ord(mark) < 0x2900 for mark in out.getvalue())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("patience 3, min delta 1%", "stop once validation loss has not improved by more than 1 % for 3 evaluations"),
        ("BLEU plateaus for 1 epoch", "stop once BLEU has not improved for 1 epoch"),
        ("val loss rises twice", "stop once validation loss has got worse for 2 evaluations in a row"),
        ("the moment it goes up", "stop as soon as validation loss gets worse"),
        ("memory over 20 GB for 3 steps", "stop once memory is above 20 GB for 3 steps"),
        ("BLEU >= 30", "stop once BLEU is at least 30"),
        (
            "val loss exceeds train loss by 20%",
            "stop once validation loss exceeds training loss by more than 20 % of it",
        ),
        ("train/val gap > 0.5", "stop once validation loss exceeds training loss by more than 0.5"),
        ("2h30", "stop after 2.5 hours"),
        ("max 1 epoch", "stop after 1 epoch"),
        ("10k steps", "stop after 10,000 steps"),
    ],
)
def test_a_rule_is_a_sentence(text: str, sentence: str) -> None:
    (rule,) = read_rules(text).rules
    assert describe(rule) == sentence
