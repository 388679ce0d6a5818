"""One clause's items -> the matches in it: at each place the longest pattern of the grammar whose maker takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from tunebook.plan.rules.grammar import ROWS, Row, compiled
from tunebook.plan.rules.item import Item
from tunebook.plan.rules.makers import REFUSED, Found, Purpose, Said, budget
from tunebook.plan.rules.types import Budget

_VERBS = ("STALL", "UP", "DOWN", "WORSE", "BETTER", "CHANGE")
# what may stand next to an `alone` row
_APART = ("", "IF", "OR", "AND", ",", "STOP", "TRAIN", "IT", "EQUALS", "MOMENT")
_BESIDE = (*_APART, "AFTER", "LAST", "BUT", "BY", "MONITOR", "PASSED", "RATE", "EARLY_STOPPING", "FROM")
_NAMED = ("METRIC", "VALIDATION", "PAIR", "GAP", "IT")
_UNKNOWN = ("?", "OTHER")


@dataclass(frozen=True)
class Match:
    """What the items `start:end` of a clause say; REFUSED when no rule can say it."""

    start: int
    end: int
    row: Row
    said: Said

    @property
    def condition(self) -> bool:
        """Must it hold together with whatever "and" joins to it?"""
        return self.row.when == "condition"

    @property
    def spends(self) -> bool:
        """Is it so much time, so many steps: not a limit, but from when on?"""
        return self.row.make is budget and self.condition

    @property
    def rules(self) -> bool:
        """Does it say rules, not settings?"""
        return self.row.when != "setting"


class Scanner:
    """Walks through one clause. `spoken_of`: the metric that "it" means at its start."""

    def __init__(self, items: Sequence[Item], purpose: Purpose, spoken_of: str) -> None:
        self.items, self.purpose, self.spoken_of = items, purpose, spoken_of
        self.line = "".join(f"{item.kind} " for item in items)
        self.offsets = [0, *accumulate(len(item.kind) + 1 for item in items)]
        self.place = {offset: at for at, offset in enumerate(self.offsets)}
        self.matches: list[Match] = []

    def scan(self) -> list[Match]:
        """The matches, left to right, none over another."""
        at = 0
        while at < len(self.items):
            match = self.at(at)
            end = match.end if match else at + 1
            self.spoken_of = Found([*self.items[at:end]], self.purpose, "").last_named() or self.spoken_of
            if match:
                self.matches.append(match)
            at = end
        return self.matches

    def at(self, at: int) -> Match | None:
        """The longest match that begins at item `at`."""
        if self.kind(at) in ("IN", "TO", ","):  # no pattern begins with these
            return None
        found = [
            (self.place[found.end()], row)
            for row in ROWS[self.purpose]
            for pattern in row.patterns
            if (found := compiled(pattern).match(self.line, self.offsets[at]))
        ]
        longest_first = sorted(found, key=lambda option: -option[0])
        return next((match for end, row in longest_first if (match := self.match(at, end, row))), None)

    def match(self, start: int, end: int, row: Row) -> Match | None:
        """`row` over the items `start:end`, when it means something there."""
        span = [*self.items[start:end]]
        if row.alone and not (self.kind(self.before(start)) in _APART and self.kind(end) in _APART):
            return None
        named = any(item.kind == "IT" for item in span)
        said = row.make(Found(span, self.purpose, self.spoken_of if named else "validation_loss"))
        if said is None:
            return None
        if row.when == "setting" or said == REFUSED or not said or isinstance(said[0], Budget):
            return Match(start, end, row, said)
        begin, end_of_all = self.of_something_unknown(start, end, span)
        return Match(begin, end_of_all, row, said if (begin, end_of_all) == (start, end) else REFUSED)

    def of_something_unknown(self, start: int, end: int, span: list[Item]) -> tuple[int, int]:
        """`start:end`, made longer by an unread word that says of what the rule is meant to speak.

        "accuracy stops improving", "test loss plateaus", "no improvement in accuracy", "perplexity on wikitext < 8"
        """
        before = self.before(start)
        unnamed = span[0].kind in _VERBS and not any(item.kind in _NAMED for item in span)
        if unnamed and self.kind(before) not in _BESIDE:
            return before, end
        if span[0].words in ("loss", "losses") and self.kind(start - 1) in _UNKNOWN:
            return start - 1, end
        if self.kind(end) == "ON_TRAINING" and "training_loss" not in Found(span, self.purpose, "").metrics():
            return start, end + 1
        if self.kind(end) == "IN" and self.items[end].words in ("in", "on", "of") and self.kind(end + 1) in _UNKNOWN:
            return start, end + 2
        return start, end

    def before(self, start: int) -> int:
        """The item before `start` that is no preposition."""
        before = start - 1
        while self.kind(before) in ("IN", "TO"):
            before -= 1
        return before

    def kind(self, at: int) -> str:
        """The kind of item `at`; nothing at the ends and where a match has been, "?" where one was refused."""
        if not 0 <= at < len(self.items):
            return ""
        if self.matches and at < self.matches[-1].end:
            return "?" if self.matches[-1].said == REFUSED else ""
        return self.items[at].kind
