"""What stands directly beside a match can make it mean something else: then it goes, and its words are reported.

A doubt is a row of ideas as in `grammar.py`, over one line for each match: its items between BEGIN and END, then what
stands around them, where SAID is of another match, UNREAD of none, and OF and INTO must be named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from tunebook.plan.rules import makers
from tunebook.plan.rules.grammar import compiled
from tunebook.plan.rules.item import Item
from tunebook.plan.rules.makers import REFUSED, Maker
from tunebook.plan.rules.scan import Match

_AROUND = 8  # items that are looked at on either side
_CONDITIONS: tuple[Maker, ...] = (makers.plateau, makers.rise, makers.threshold, makers.gap, makers.gap_ratio)
_SETTINGS: tuple[Maker, ...] = ()  # each has a maker of its own

DOUBTS: tuple[tuple[tuple[Maker, ...], tuple[str, ...]], ...] = (
    (
        # a bound to keep, not a reason to stop: memory must stay below 20 GB; keep answers below 200 tokens
        (makers.threshold,),
        ("BEGIN (METRIC | ANSWERS | IT | VALIDATION | PAIR)+ (OUGHT | HAS INTO)", "(KEEP | LIMIT) BEGIN"),
    ),
    (
        # of something else: disk usage; 200 words; 1.1 of the best; 3 of the last 5; falls below half; grows by that
        _CONDITIONS,
        (
            "UNREAD BEGIN move? TAKES? compare (SIZE | RATE)",
            "(NUM | PERCENT | TOKEN_COUNT) END (UNREAD | NUM)",
            "NUM UNREAD? OF BEGIN",
            "END OF LAST? NUM OF",
            "END (compare | BY)",
            # from epoch 2 on
            "FROM (COUNT | UNIT NUM) (OF | UNREAD | , | STOP | IF)* BEGIN",
            "END FROM (COUNT | UNIT NUM)",
        ),
    ),
    ((makers.patience,), ("(UNREAD OF | OTHER OF?) BEGIN", "NUM END (UNREAD | NUM)")),
    # the relative improvement is below 0.005: no absolute one
    (
        (makers.plateau, makers.patience),
        ("RELATIVE BEGIN? (BETTER | CHANGE | DELTA) METRIC? EQUALS? BY? compare? NUM",),
    ),
    (
        # at most 100 steps per epoch; start evaluating after 2 epochs; early stopping after 2 epochs
        (makers.budget,),
        ("END EVERY", "(START | EARLY_STOPPING) (ACTION | RATE | METRIC | UNREAD | OF | STOP)* BEGIN"),
    ),
    (
        _SETTINGS,
        (
            # is not needed; = false; 1e-3 would overfit; weight decay, dropout = 0.1, 0.2; if ...
            "END ((AND | OR) SAID+)* EQUALS? (NOT | OFF)",
            "(NUM | PERCENT) END (MIGHT | ,? NUM)",
            "BEGIN knob END (,? AND? SAID)+ ,? NUM",
            "(knob | LORA | FULL | NUM | PERCENT) END IF",
            "knob settle* amount END UNTIL",
        ),
    ),
)

# Words that carry nothing elsewhere.
_SPOKEN = {
    **dict.fromkeys(("must", "should", "shall"), "OUGHT"),
    **dict.fromkeys(("has", "have", "need", "needs"), "HAS"),
    **dict.fromkeys(("would", "could", "might", "may"), "MIGHT"),
    **dict.fromkeys(("keep", "keeping", "ensure", "sure", "guard"), "KEEP"),
    **dict.fromkeys(("start", "starts", "started", "starting", "begin", "begins", "beginning", "enable"), "START"),
    "relative": "RELATIVE",
    "no": "OFF",
}
_NAMES = {"IN": "OF", "TO": "INTO", "?": "UNREAD"}


def doubtful(clause: Sequence[Item], items: Sequence[Item], matches: Sequence[Match]) -> set[int]:
    """The numbers of the matches that go; they count by `items`, which are those of the clause that carry something."""
    spans = [(items[match.start].start, items[match.end - 1].end) for match in matches]
    named = [(item, _name(item)) for item in clause if _name(item)]
    gone = set()
    for number, (match, (begin, end)) in enumerate(zip(matches, spans, strict=True)):
        before = [_beside(item, name, matches, spans) for item, name in named if item.start < begin]
        inside = [name for item, name in named if begin <= item.start < end]
        after = [_beside(item, name, matches, spans) for item, name in named if item.start >= end]
        line = " ".join([*before[-_AROUND:], "BEGIN", *inside, "END", *after[:_AROUND], ""])
        if any(doubt.search(line) for doubt in _doubts(match.row.make if match.rules else None)):
            gone.add(number)
    return gone


def _name(item: Item) -> str:
    """What an item is called in a line; nothing when it is left out."""
    if item.kind == "IF" and item.value == "until":
        return "UNTIL"
    kind = "" if item.kind in ("filler", "LY") else item.kind
    return _SPOKEN.get(item.words, _NAMES.get(kind, kind))


def _beside(item: Item, name: str, matches: Sequence[Match], spans: Sequence[tuple[int, int]]) -> str:
    """What an item beside a match is called: early stopping by its name, whatever else another match took SAID."""
    said = (match for match, (begin, end) in zip(matches, spans, strict=True) if begin <= item.start < end)
    match = next(said, None)
    if match is None or name == "EARLY_STOPPING":
        return name
    return "UNREAD" if match.said == REFUSED else "SAID"


@cache
def _doubts(make: Maker | None) -> list[re.Pattern[str]]:
    """The doubts about what `make` makes of a match; None stands for all settings."""
    rows = (patterns for makes, patterns in DOUBTS if make in makes or (make is None and makes == _SETTINGS))
    return [re.compile(f"(?<![A-Z_])(?:{compiled(pattern).pattern})") for patterns in rows for pattern in patterns]
