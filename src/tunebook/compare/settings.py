"""How a comparison is made: the Phase 4 page's answers, or the same values given by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.errors import PlanError
from tunebook.pages.answers import Answers
from tunebook.plan.compile import draft_of

SCORES = ("exact_match", "rouge_l", "chrf", "bleu")
# what the page lets a reader put in order, by a word of its line -> what is found out about it
PRIORITIES = {
    "answers to my questions": "answers",
    "knows what it knew": "ability",
    "tone and form": "form",
    "right length": "length",
    "as fast": "speed",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """`count` None means every question of the file, or 20 held-out ones; `order` says which finding comes first."""

    count: int | None = None
    max_new_tokens: int = 128
    scores: tuple[str, ...] = SCORES
    ability: bool = False
    judge: str | None = None
    order: tuple[str, ...] = tuple(PRIORITIES.values())
    prompts: Path | None = None


def from_answers(answers: Answers, folder: Path) -> tuple[list[str], Settings]:
    """(names of the sides, settings) that the page's answers ask for; paths count from `folder`.

    PlanError when the page is not the one about comparing, or an answer cannot be used; every such answer is named.
    """
    if answers.page.id != "phase-4-model-comparison":
        raise PlanError(
            f"The page '{answers.page.title}' says nothing about a comparison.",
            do="Answer phase-4-model-comparison: `tunebook page play phase-4-model-comparison --answers compare.yaml`.",
        )
    draft = draft_of([(answers.page, answers.values)])
    if draft.faults:
        raise PlanError("The answers ask for no comparison that can be made.", do="Mend these:", faults=draft.faults)
    values, notes = draft.values, answers.values
    names = [line.strip() for line in str(notes.get("models", "")).splitlines() if line.strip()]
    file = str(notes.get("questions", "")).strip()
    return names, Settings(
        count=values.get("evaluation.prompts"),
        max_new_tokens=values.get("evaluation.max_new_tokens", Settings().max_new_tokens),
        scores=tuple(name for name in SCORES if name in values.get("quality.checks", SCORES)),
        ability=bool(values.get("evaluation.retention", True)),
        judge=values.get("quality.judge"),
        order=_order(notes.get("priorities", [])),
        prompts=folder / Path(file).expanduser() if file else None,
    )


def _order(lines: Any) -> tuple[str, ...]:
    """Findings in the reader's order; what the reader did not place comes last."""
    placed: Sequence[str] = lines if isinstance(lines, list) else []
    found = [what for line in placed for words, what in PRIORITIES.items() if words in line]
    return tuple(dict.fromkeys([*found, *PRIORITIES.values()]))
