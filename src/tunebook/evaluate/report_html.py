"""The success report as one HTML file that opens offline: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import difflib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tunebook.evaluate.chart import interval_line, length_bars, loss_curves
from tunebook.evaluate.report_words import (
    ending,
    ends,
    exported,
    facts,
    judged,
    reviewed,
    score_rows,
    sure,
    without_place,
)
from tunebook.evaluate.stats import FEWEST

SHOWN = 40  # answers on the page; report.json has all
WORST = 3
_MARKED_CHARACTERS = 20_000  # of an answer, beyond which words are not compared
# Control characters, and those that turn the direction of what follows.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_QUESTIONS = {
    "training_loss": "Does training loss fall?",
    "validation": "Does validation hold or improve?",
    "answers": "Are answers better than the base’s?",
    "retention": "Is general ability kept?",
}


def to_html(report: dict[str, Any]) -> str:
    """The whole page. Every text from the run is escaped by the template."""
    folder = resources.files("tunebook") / "evaluate"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_clean
    )
    template = environment.from_string((folder / "report.html.jinja").read_text(encoding="utf-8"))
    lists = (("Review", reviewed(report)), ("Judge model", judged(report)), ("Export", exported(report)))
    losers = sorted((row for row in report["answers"] if row["change"] < -1), key=lambda row: row["change"])
    worst = losers[:WORST]
    others = [row for row in report["answers"] if row not in worst]
    return template.render(
        report=report,
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),
        questions=_QUESTIONS,
        marks={"yes": "✓", "no": "✕", "unclear": "?"},
        facts=facts(report),
        number=_number,
        line=lambda item: Markup(_line(item)),
        curves=Markup(loss_curves(report)),
        lengths=Markup(length_bars(report)),
        answers=others[:SHOWN],
        left=max(0, len(others) - SHOWN),
        worst=worst,
        pieces=pieces,
        scores=score_rows(report),
        sure=sure,
        ends=ends,
        regressions=_regressions(report),
        ending=ending(report),
        lists=[(title, told) for title, told in lists if told],
        warnings=[without_place(text, report) for text in report["warnings"]],
    )


def pieces(answer: str, reference: str) -> list[tuple[bool, str]]:
    """The answer in pieces, each with whether it is words that the reference has too, in its order."""
    words, other = (re.findall(r"\s+|\w+|[^\w\s]", text[:_MARKED_CHARACTERS]) for text in (answer, reference))
    matcher = difflib.SequenceMatcher(None, [w.lower() for w in words], [w.lower() for w in other], autojunk=False)
    found, place = [], 0
    for block in matcher.get_matching_blocks():
        same = "".join(words[block.a : block.a + block.size])
        found += [(False, "".join(words[place : block.a])), (bool(re.search(r"\w", same)), same)]
        place = block.a + block.size
    found.append((False, answer[_MARKED_CHARACTERS:]))
    return [(same, text) for same, text in found if text]


def _clean(value: Any) -> Any:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _UNSEEN.sub("\ufffd", value)


def _number(kind: str, value: float) -> str:
    if kind == "retention":
        return f"{100 * value:.1f}\u202f%"
    return f"{value:.1f}" if kind == "answers" else f"{value:.3f}"


def _line(indicator: dict[str, Any]) -> str:
    """The indicator's interval, drawn."""
    numbers, kind = indicator["numbers"], indicator["id"]
    if kind == "retention" and "weight" in numbers:
        margin = numbers["margin_accuracy"]
        return interval_line(numbers["weight"], (-margin, margin))
    interval = numbers.get("trend" if kind == "training_loss" else "interval")
    return interval_line(interval) if interval and interval["n"] >= FEWEST else ""


def _regressions(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Examples whose loss rose, with the prompt where it was answered, else the id."""
    prompts = {row["id"]: " ".join(row["prompt"].split()) for row in report["answers"]}
    rows = [row | {"text": prompts.get(row["id"], row["id"])} for row in report["regressions"]]
    return [row | {"text": row["text"] if len(row["text"]) <= 90 else row["text"][:88] + "…"} for row in rows]
