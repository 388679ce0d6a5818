"""The order of the ten steps, as a reader puts it: what is wrong with it, why, and how much of it is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunebook.pages.items import make_item
from tunebook.pages.names import plain
from tunebook.steps import BY_ID, STEP_IDS, STEPS, Violation, violations

_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_BY_NAME = {plain(name): step.id for step in STEPS for name in (step.id, step.title)}


def step_of(text: str) -> str | None:
    """The id of the step that `text` names by its title or id, case, punctuation and a note aside."""
    return _BY_NAME.get(plain(text)) or _BY_NAME.get(plain(make_item(text.strip()).label))


@dataclass(frozen=True, slots=True)
class OrderCheck:
    """`violations` are pairs of step ids; `unknown` are the lines that name no step; the others are step ids."""

    violations: tuple[Violation, ...]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]
    repeated: tuple[str, ...]
    steps: tuple[str, ...]
    misplaced: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Each of the ten steps stands there once, and none before one that it needs."""
        return not (self.violations or self.unknown or self.missing or self.repeated)

    @property
    def workable(self) -> int:
        """How many steps stand in a workable place: nothing that they need stands after them."""
        return len(self.steps) - len(self.misplaced)

    def to_json(self) -> dict[str, Any]:
        """As `order check --json` prints it."""
        pairs = [{"first": pair.first, "second": pair.second, "why": pair.why} for pair in self.violations]
        return {
            "valid": self.valid,
            "violations": pairs,
            "unknown": list(self.unknown),
            "missing": list(self.missing),
            "repeated": list(self.repeated),
            "workable": self.workable,
        }

    def sentences(self) -> list[str]:
        """What is wrong, a sentence each, in the steps' own words."""
        wrong = [f"'{_title(p.first)}' must come before '{_title(p.second)}': {p.why}." for p in self.violations]
        wrong += [f"'{line}' is not one of the ten steps." for line in self.unknown]
        wrong += [f"'{_title(step)}' is missing." for step in self.missing]
        return wrong + [f"'{_title(step)}' stands there more than once." for step in self.repeated]


def check_order(lines: Sequence[str]) -> OrderCheck:
    """Judge an order of the ten steps, one a line, top first. Empty lines and list marks do not count."""
    texts = [text for line in lines if (text := _BULLET.sub("", line, count=1).strip())]
    found = [(text, step_of(text)) for text in texts]
    steps = list(dict.fromkeys(step for _, step in found if step))
    named = [step for _, step in found if step]
    wrong = violations(steps)
    return OrderCheck(
        violations=tuple(wrong),
        unknown=tuple(text for text, step in found if step is None),
        missing=tuple(step for step in STEP_IDS if step not in steps),
        repeated=tuple(step for step in steps if named.count(step) > 1),
        steps=tuple(steps),
        misplaced=tuple(dict.fromkeys(pair.second for pair in wrong)),
    )


def _title(step: str) -> str:
    return BY_ID[step].title
