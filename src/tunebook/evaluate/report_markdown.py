"""The success report as Markdown that reads well as plain text and on any host. Texts of the run stand in fences."""

from __future__ import annotations

import re
from typing import Any

from tunebook.evaluate.report_words import ending, exported, facts, judged, reviewed, score_rows, without_place

SHOWN = 10  # answers in the text; report.json has all

_QUESTIONS = {
    "training_loss": "Training loss falls",
    "validation": "Validation holds or improves",
    "answers": "Answers better than the base's",
    "retention": "General ability kept",
}


def to_markdown(report: dict[str, Any]) -> str:
    """The whole text."""
    parts = [
        f"# {_plain(report['headline'])}",
        _plain(" · ".join(facts(report))),
        _indicators(report),
        _next(report),
        _scores(report),
    ]
    parts += [_answers(report), _end(report), _list("Review", reviewed(report)), _list("Judge model", judged(report))]
    parts.append(_list("Export", exported(report)))
    parts += ["\n".join(f"> {_plain(without_place(text, report))}" for text in report["warnings"])]
    return "\n\n".join(filter(None, parts)) + "\n"


def _indicators(report: dict[str, Any]) -> str:
    rows = [
        f"| {_QUESTIONS[item['id']]} | **{item['verdict']}** | {_plain(item['why'])} |" for item in report["indicators"]
    ]
    return "\n".join(["| sign of success | verdict | why |", "|---|---|---|", *rows])


def _next(report: dict[str, Any]) -> str:
    rows = [
        f"- **{_plain(item['do'])}** {_plain(item['why'])}" + (f" `--set {item['set']}`" if item["set"] else "")
        for item in report["next"]
    ]
    return "\n".join(["## What to try next", "", *rows]) if rows else ""


def _scores(report: dict[str, Any]) -> str:
    names = ("name", "note", "base", "tuned", "interval")
    rows = [f"| {' | '.join(_plain(row[name]) for name in names)} |" for row in score_rows(report)]
    if not rows:
        return ""
    head = [
        "## Likeness and style",
        "",
        "| score | | base | tuned | 99 % interval of the change |",
        "|---|---|---|---|---|",
    ]
    signatures = "; ".join(f"{name}: `{text}`" for name, text in report["signatures"].items())
    return "\n".join([*head, *rows, "", signatures])


def _answers(report: dict[str, Any]) -> str:
    rows = sorted(report["answers"], key=lambda row: row["change"])
    shown = [*rows[:3], *rows[3:][-(SHOWN - 3) :]]
    if not shown:
        return ""
    order = f"The 3 of {len(rows):,} that gained least, then the {SHOWN - 3} that gained most"
    order = order if len(rows) > SHOWN else "Least gain first"
    text = ["## Answers to held-out prompts", "", f"{order}; likeness to the reference is 0 to 100."]
    for row in shown:
        text += ["", f"### {_plain(' '.join(row['prompt'].split())[:120])}"]
        for name in ("base", "tuned"):
            cut = "" if row[name]["ended"] else ", cut at the limit"
            text += ["", f"{name}, {row[name]['scores']['likeness']:.0f} of 100{cut}", "", _fenced(row[name]["text"])]
        text += ["", "reference", "", _fenced(row["reference"])]
    return "\n".join(text)


def _end(report: dict[str, Any]) -> str:
    told = ending(report) + [f"Not understood, and therefore not done: “{text}”" for text in report["not_understood"]]
    return _list("How it ended", told)


def _list(title: str, told: list[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {_plain(text)}" for text in told)]) if told else ""


def _plain(text: Any) -> str:
    """Text on one line that Markdown takes as it is."""
    line = re.sub(r"[\x00-\x1f\x7f]+", " ", str(text))
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", line)


def _fenced(text: str) -> str:
    """Text in a fence longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    clean = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "\ufffd", text)
    return f"{fence}text\n{clean}\n{fence}"
