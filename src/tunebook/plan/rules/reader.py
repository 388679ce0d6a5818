"""Reads rules and settings from free text, and says what it did not understand. No model, no guess: tables.

    read_rules("Stop if val loss hasn't improved for 3 evals, or when the moon is full", "stopping")
        rules           plateau of validation_loss, patience 3 evaluations
        not_understood  "when the moon is full"

Each sentence becomes items (`items.py`); at each place the longest pattern of `grammar.py` is taken (`scan.py`); then
what stands between may take a match away again (`judge.py`): a negation, an "unless", an "and" between two conditions.
Whatever ends up in no match is reported as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunebook.plan.rules.item import Item
from tunebook.plan.rules.items import sentences
from tunebook.plan.rules.judge import BESIDE, SOFT, kept
from tunebook.plan.rules.makers import REFUSED, Found, Purpose, patience
from tunebook.plan.rules.scan import Match, Scanner
from tunebook.plan.rules.types import Plateau, Rise, Rule, Setting

LONGEST_CLAUSE = 200  # words; the work grows with the square of it
LONGEST = 20_000  # characters; a form's answer is shorter, and a whole book would take minutes

_UNSAID = frozenset({"filler", "LY"})  # patterns do not see these
_JOINS = frozenset({",", "AND", "OR", "BUT"})
_GOES_ON = frozenset({"STALL", "UP", "DOWN", "WORSE", "ABOVE", "BELOW", "REACH", "STAYS"})


@dataclass(frozen=True)
class Reading:
    """What a text says. `adds_nothing`: pieces understood that repeat others, or ask for what is always done."""

    rules: tuple[Rule, ...] = ()
    settings: tuple[Setting, ...] = ()
    not_understood: tuple[str, ...] = ()
    adds_nothing: tuple[str, ...] = ()

    @property
    def understood(self) -> bool:
        """Was anything understood?"""
        return bool(self.rules or self.settings or self.adds_nothing)

    def to_json(self) -> dict[str, Any]:
        """The object of `tunebook rules --json`."""
        return {
            "rules": [rule.model_dump(mode="json") for rule in self.rules],
            "settings": [item.model_dump(mode="json") for item in self.settings],
            "not_understood": list(self.not_understood),
        }


def read_rules(text: str, purpose: Purpose = "stopping") -> Reading:
    """Read `text` as the answer to a question about `purpose`. Never raises; the same text gives the same reading."""
    reader = _Reader(text, purpose)
    for sentence in sentences(text[:LONGEST]):
        stops = any(item.kind in ("STOP", "PASSED", "EARLY_STOPPING") for item in sentence)
        for clause in _clauses(sentence):
            reader.read(clause, stops)
    rest = text[LONGEST:] if reader.said or reader.unread else text
    if rest.strip():
        reader.unread.append(rest.strip())
    return Reading(tuple(reader.rules), tuple(reader.settings), tuple(reader.unread), tuple(reader.adds_nothing))


def _clauses(items: list[Item]) -> Iterator[list[Item]]:
    """A sentence, cut where a new thought begins: at "but", before ", stop", and where nobody could follow any more."""
    begin = 0
    items = [_but_also(items, at) for at in range(len(items))]
    if len(items) < LONGEST_CLAUSE and any(item.kind == "ALL" for item in items):
        yield items  # "..., stop when ..., whichever comes last" speaks of all of it
        return
    for at in range(1, len(items)):
        item, before = items[at], items[at - 1]
        stops = item.kind == "STOP" and before.kind == "," and at - begin > 1 and not _leads_on(items, begin, at)
        ends = item.kind == "OR" and item.words.endswith(("stop", "end", "halt")) and "then" not in item.words
        if item.kind == "BUT" or stops or ends or at - begin == LONGEST_CLAUSE:
            yield items[begin:at]
            begin = at
    yield items[begin:]


def _leads_on(items: Sequence[Item], begin: int, at: int) -> bool:
    """ "*after 2 epochs,* stop if ...": the words up to `at` are no thought of their own."""
    kinds = [item.kind for item in items[begin:at] if item.kind not in _UNSAID and item.kind not in _JOINS]
    return kinds[:1] in (["AFTER"], ["IF"], ["HOLD"], ["FROM"]) and "STOP" not in kinds and at + 1 < len(items)


def _but_also(items: list[Item], at: int) -> Item:
    """ "plateaus *but* training loss keeps falling" is one condition and another: an "and"."""
    item = items[at]
    if item.words not in ("but", "yet"):
        return item
    after = next((later.kind for later in items[at + 1 :] if later.kind != "filler"), "")
    return replace(item, kind="AND") if after in ("METRIC", "PAIR", "OTHER", "?") else item


def _with_subjects(items: Sequence[Item]) -> list[Item]:
    """Give "perplexity rises twice *or plateaus*" an unspoken "it"."""
    result: list[Item] = []
    for item in items:
        joined = bool(result) and result[-1].kind in ("OR", "AND")
        goes_on = item.kind in _GOES_ON and not item.words.startswith(("no ", "without "))
        if joined and goes_on and any(before.kind == "METRIC" for before in result):
            result.append(Item("IT", None, item.start, item.start, ""))
        result.append(item)
    return result


class _Reader:
    """Gathers what the clauses of one text say."""

    def __init__(self, text: str, purpose: Purpose) -> None:
        self.text, self.purpose = text, purpose
        self.rules: list[Rule] = []
        self.settings: list[Setting] = []
        self.unread: list[str] = []
        self.adds_nothing: list[str] = []
        self.spoken_of = "validation_loss"  # the metric that "it" means
        self.open_from: int | None = None  # where the last plateau or rise begins, to which a lone patience may belong
        self.open_counted = False  # has it been given a patience?

    @property
    def said(self) -> bool:
        return bool(self.rules or self.settings or self.adds_nothing)

    def read(self, clause: list[Item], stops: bool) -> None:
        """Take up one clause of a sentence that speaks of stopping, or does not."""
        items = _with_subjects([item for item in clause if item.kind not in _UNSAID])
        taken: set[int] = set()
        free_from = 0
        for match in kept(clause, items, Scanner(items, self.purpose, self.spoken_of).scan(), stops):
            others = _other_metrics(items, match, free_from)
            span = items[others[0] if others else match.start : match.end]
            taken |= {item.start for item in span if item.end > item.start}
            self.take(match, span, [items[at] for at in others])
            free_from = match.end
        self.report(clause, taken)
        self.spoken_of = Found(items, self.purpose, "").last_named() or self.spoken_of

    def take(self, match: Match, span: list[Item], others: list[Item]) -> None:
        """Note what a match says; of the `others`, which are metrics, it says the same."""
        begin, end = min(item.start for item in span), max(item.end for item in span)
        said = [] if match.said == REFUSED else match.said
        for item in span:
            if item.kind == "EARLY_STOPPING" and match.rules:
                self.note(Setting(setting="early_stopping", value=True), item.start, item.end)
        if not said:
            self.adds_nothing.append(self.text[begin:end])
        if match.row.make is patience and self.completes(said[0], span, end):
            return
        self.open_from = None
        for one in said:
            for metric in others:
                self.note(one.model_copy(update={"metric": Found([metric], self.purpose, "").metric()}), begin, end)
            if self.note(one, begin, end) and isinstance(one, Plateau | Rise):
                self.open_from, self.open_counted = begin, _counted(span)

    def note(self, said: Rule | Setting, begin: int, end: int) -> bool:
        """Keep a rule or setting with its source; False when the text has said the same before."""
        said = said.model_copy(update={"source": self.text[begin:end]})
        kept: list[Any] = self.settings if isinstance(said, Setting) else self.rules
        if any(said.model_copy(update={"source": other.source}) == other for other in kept):
            self.adds_nothing.append(said.source)
            return False
        kept.append(said)
        return True

    def completes(self, given: Any, span: list[Item], end: int) -> bool:
        """Give a patience or a least delta that stands by itself to the rule before it, when that has none."""
        if self.open_from is None or any(item.kind == "METRIC" for item in span):
            return False
        rule, counted, delta = self.rules[-1], _counted(span), given.min_delta or given.min_delta_percent
        if (counted and self.open_counted) or (delta and not isinstance(rule, Plateau)):
            return False
        fields = {"patience": given.patience, "unit": given.unit} if counted else {}
        if delta:
            fields |= {"min_delta": given.min_delta, "min_delta_percent": given.min_delta_percent}
        self.rules[-1] = rule.model_copy(update={**fields, "source": self.text[self.open_from : end]})
        self.open_counted = self.open_counted or counted
        return True

    def report(self, clause: list[Item], taken: set[int]) -> None:
        """Note each stretch of words that no match took, unless it only joins others."""
        stretch: list[Item] = []
        for item in [*clause, None]:
            if item and item.start not in taken:
                stretch.append(item)
                continue
            if any(word.kind not in (BESIDE if taken else SOFT) for word in stretch):
                while stretch[0].kind in _JOINS:
                    stretch.pop(0)
                while stretch[-1].kind in _JOINS:
                    stretch.pop()
                self.unread.append(self.text[min(word.start for word in stretch) : max(word.end for word in stretch)])
            stretch = []


def _counted(span: list[Item]) -> bool:
    """Is a patience among these items?"""
    return any(item.kind in ("COUNT", "DURATION") for item in span)


def _other_metrics(items: list[Item], match: Match, free_from: int) -> list[int]:
    """`loss or perplexity rises twice`: where the metrics stand, before the match, that share what it says."""
    others: list[int] = []
    at = match.start - 1
    if items[match.start].kind != "METRIC" or match.row.when != "condition":
        return others
    while at > free_from and items[at].kind in (",", "OR"):
        while at > free_from and items[at].kind in (",", "OR"):
            at -= 1
        if items[at].kind == "METRIC":
            others.insert(0, at)
        at -= 1
    return others
