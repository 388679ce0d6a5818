"""One comparison: the same questions to every side, scored against the first, as one JSON object that is kept.

{"format": 1, "created", "questions": {"from", "count", "with_reference"}, "max_new_tokens", "order", "warnings",
 "sides": [{"name", "kind", "detail", "scores", "lengths", "speed", "ability"; of all but the first also
            "changes", "findings", "reviews", "judge"}],
 "rows": [{"id", "prompt", "reference", "answers": [{"text", "tokens", "ended", "seconds", "likeness"}]}]}
"""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunebook.compare.answering import Answers, answer
from tunebook.compare.questions import Question, from_file, from_run, split_ids
from tunebook.compare.scoring import changes, findings, review_verdicts, score_side, summary
from tunebook.compare.settings import Settings
from tunebook.compare.sides import Side, find_side
from tunebook.errors import Fault, ModelError, RunError, TunebookError
from tunebook.evaluate.judge import Pair, judge_at, judge_pairs
from tunebook.evaluate.prompts import in_words
from tunebook.evaluate.scores import AnswerScore
from tunebook.files import read_json, write_json

FORMAT = 1
HELD_OUT = 20
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One side with what it said, what each answer is worth, and what is told of it."""

    side: Side
    answers: Answers
    scores: list[AnswerScore | None]
    told: dict[str, Any]


def compare(
    names: Sequence[str], settings: Settings, runs: Path, on_progress: Progress | None = None
) -> dict[str, Any]:
    """Ask every side, the first being what the others are held against; a run alone is held against its base.

    `on_progress(side, done, total)` is called as questions are answered. Names, questions and addresses are looked at
    before the first model is loaded. ModelError, RunError or DataError when a side or the questions are not usable;
    what goes wrong once all have answered is a warning.
    """
    sides = find_sides(names, runs)
    questions, origin = _questions(sides, settings)
    _call(sides, settings)
    entries = [_ask(side, questions, settings, on_progress) for side in sides]
    warnings = _warnings(entries, questions, settings)
    for entry in entries[1:]:
        entry.told.update(_against(entries[0], entry, questions, settings, warnings))
    return {
        "format": FORMAT,
        "created": time.time(),
        "questions": {
            "from": origin,
            "count": len(questions),
            "with_reference": sum(question.reference is not None for question in questions),
        },
        "max_new_tokens": settings.max_new_tokens,
        "order": list(settings.order),
        "warnings": warnings,
        "sides": [entry.told for entry in entries],
        "rows": _rows(questions, entries),
    }


def find_sides(names: Sequence[str], runs: Path) -> list[Side]:
    """What the names mean; every name that means nothing is told at once."""
    sides, errors = [], {}
    for name in dict.fromkeys(names):
        try:
            sides.append(find_side(name, runs))
        except TunebookError as error:
            errors[name] = error
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        faults = [Fault(name, str(error)) for name, error in errors.items()]
        raise RunError("Some of the sides are not there.", kept="Nothing was asked.", faults=faults)
    if len(sides) == 1 and sides[0].kind in ("run", "checkpoint") and sides[0].run:
        return [find_side(f"{sides[0].name.partition('@')[0]}@base", runs), *sides]
    if len(sides) < 2:
        raise RunError("A comparison needs two sides.", do="Name a second one, or a run, which has its base beside it.")
    return sides


def save(comparison: dict[str, Any], path: Path) -> None:
    """Write a comparison to `path`, whole or not at all. RunError when the disk does not take it."""
    try:
        write_json(path, comparison)
    except OSError as error:
        raise RunError(
            f"The comparison could not be written to {path} ({error.strerror or error}).",
            do="Free space, or give another file with -o.",
        ) from error


def kept_at(names: Sequence[str], runs: Path) -> Path:
    """A free place in `runs/.comparisons` for a comparison of these sides."""
    folder = runs / ".comparisons"
    stem = re.sub(r"[^a-z0-9@._]+", "-", "-vs-".join(Path(name).name for name in names).lower()).strip("-.")[:80]
    number = 1
    while (folder / f"{stem}-{number}.json").exists():
        number += 1
    return folder / f"{stem}-{number}.json"


def list_comparisons(runs: Path) -> list[tuple[str, dict[str, Any]]]:
    """(name, comparison) of every one that is kept in `runs`, newest first; damaged files are passed over."""
    found = []
    for path in (runs / ".comparisons").glob("*.json"):
        try:
            value = read_json(path)
        except (OSError, ValueError):
            continue
        if isinstance(value, dict) and value.get("format") == FORMAT:
            found.append((path.stem, value))
    return sorted(found, key=lambda pair: -pair[1]["created"])


def _questions(sides: Sequence[Side], settings: Settings) -> tuple[list[Question], str]:
    """The questions, and where they come from in words."""
    if settings.prompts:
        return from_file(settings.prompts, settings.count), settings.prompts.name
    run = next((side.run for side in sides if side.run), None)
    if run is None:
        raise RunError(
            "None of the sides comes from a run, so there are no held-out questions.",
            do="Give questions with --prompts FILE: a text file with one a line, or a data set.",
        )
    return from_run(run, settings.count or HELD_OUT), f"the held-out part of {run.name}"


def _call(sides: Sequence[Side], settings: Settings) -> None:
    """ModelError when an address, or the judge's, does not answer: told before an hour of work, not after it."""
    for side in sides:
        if side.address is not None and "#" not in side.name:
            side.address.first_model()
    if settings.judge:
        judge_at(settings.judge).first_model()


def _ask(side: Side, questions: Sequence[Question], settings: Settings, on_progress: Progress | None) -> Entry:
    """Have one side answer, and score it."""

    def progress(done: int, total: int) -> None:
        if on_progress:
            on_progress(side.name, done, total)

    answers = answer(side, questions, settings.max_new_tokens, settings.ability, progress)
    gc.collect()  # before the next model is loaded
    scores = score_side(questions, answers)
    told = {"name": side.name, "kind": side.kind, "detail": side.detail or answers.model}
    return Entry(side, answers, scores, told | summary(questions, answers, scores, settings.scores))


def _against(
    first: Entry, other: Entry, questions: Sequence[Question], settings: Settings, warnings: list[str]
) -> dict[str, Any]:
    """How one side differs from the first; a judge that is gone by now is added to `warnings`."""
    changed = changes(questions, first.scores, other.scores)
    judged = None
    if settings.judge:
        replies = zip(questions, first.answers.replies, other.answers.replies, strict=True)
        pairs = [
            Pair(q.id, in_words(q.chat), q.reference or "(none is known)", one.text, two.text)
            for q, one, two in replies
        ]
        try:
            judged = judge_pairs(pairs, settings.judge)
        except ModelError as error:
            warnings.append(error.what)
    return {
        "changes": {name: interval.to_json() for name, interval in changed.items()},
        "findings": findings(settings.order, changed, first.answers, other.answers),
        "reviews": review_verdicts(other.side, first.side),
        "judge": judged,
    }


def _rows(questions: Sequence[Question], entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Each question with every side's answer, in the order of the sides."""
    rows = []
    for number, question in enumerate(questions):
        told = []
        for entry in entries:
            score = entry.scores[number]
            told.append(asdict(entry.answers.replies[number]) | {"likeness": score.likeness if score else None})
        rows.append({"id": question.id, "prompt": question.text, "reference": question.reference, "answers": told})
    return rows


def _warnings(entries: Sequence[Entry], questions: Sequence[Question], settings: Settings) -> list[str]:
    """What makes this comparison less than fair, in sentences."""
    found = []
    asked = {question.id for question in questions}
    for entry in entries:
        side = entry.side
        seen = len(asked & set(split_ids(side.run, "training"))) if side.run and side.kind != "base" else 0
        if seen:
            found.append(f"{side.name} was trained on {seen} of the {len(questions)} questions, answers and all.")
        cut = sum(not reply.ended for reply in entry.answers.replies)
        if 2 * cut > len(questions):
            found.append(
                f"{cut} of {len(questions)} answers of {side.name} were cut at {settings.max_new_tokens} tokens."
            )
        if settings.ability and side.address is not None:
            found.append(f"The general ability of {side.name} cannot be measured over HTTP.")
    return found
