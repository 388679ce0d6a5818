"""What stands between the matches of a clause can take them away: a negation, an "unless", an "and".

A rule that is taken away leaves its words unread, so that they are reported.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tunebook.plan.rules.doubts import doubtful
from tunebook.plan.rules.item import Item
from tunebook.plan.rules.makers import REFUSED, budget
from tunebook.plan.rules.scan import Match
from tunebook.plan.rules.words import words_of

# Items that only join others and ask for nothing; and those that ask for nothing beside something that was understood.
SOFT = words_of("filler IF IN TO OR AND , EQUALS TRAIN IT STOP BY AFTER FROM BUT MINUS")
BESIDE = SOFT | words_of("MOMENT MONITOR RATE IN_A_ROW LAST PASSED ANSWERS UNIT TIMES VALIDATION")

_PARTS = (",", "OR", "AND", "BUT")
_ENDS = {"STOP", "PASSED", "TRAIN", "EARLY_STOPPING", "STOPS"}
_KNOBS = {"WEIGHT_DECAY", "DROPOUT", "LABEL_SMOOTHING", "LEARNING_RATE", "NOISE_ALPHA"}
_SHAPES = _KNOBS | {"MAX_GRAD_NORM", "LORA", "RANK", "FULL"}


def kept(clause: Sequence[Item], items: Sequence[Item], matches: Sequence[Match], stops: bool) -> list[Match]:
    """The matches that stand, once what is between them has been looked at; does the sentence speak of stopping?
    `items` are those of the clause that carry something."""
    gone = _unless(items, matches) | _negated(items, matches) | _after_no(items, matches) | _together(items, matches)
    gone |= _for_something_else(items, matches, stops) | _from_when_on(clause, items, matches)
    gone |= _for_later(items, matches) | doubtful(clause, items, matches)
    return [match for at, match in enumerate(matches) if at not in gone and match.said != REFUSED]


def _loose(items: Sequence[Item], matches: Sequence[Match], kind: str) -> list[int]:
    """Where items of this kind stand outside every match."""
    inside = {at for match in matches for at in range(match.start, match.end)}
    return [at for at, item in enumerate(items) if item.kind == kind and at not in inside]


def _unless(items: Sequence[Item], matches: Sequence[Match]) -> set[int]:
    """`unless ...`, `whichever comes last`: a condition on the whole clause, which no rule can carry: every rule in it
    goes."""
    held = _loose(items, matches, "HOLD") or _loose(items, matches, "ALL")
    return {at for at, match in enumerate(matches) if held and match.rules}


def _negated(items: Sequence[Item], matches: Sequence[Match]) -> set[int]:
    """`don't`: every rule in the clause goes, and each setting after it up to a comma."""
    gone = set()
    for place in _loose(items, matches, "NOT"):
        comma = next((at for at in range(place, len(items)) if items[at].kind == ","), len(items))
        gone |= {at for at, match in enumerate(matches) if match.rules or place < match.start < comma}
    return gone


def _after_no(items: Sequence[Item], matches: Sequence[Match]) -> set[int]:
    """`no dropout`, `without BLEU or ROUGE`: what directly follows goes."""
    gone = set()
    for place in _loose(items, matches, "NO"):
        reach = place + 1
        for at, match in enumerate(matches):
            between = [item.kind for item in items[reach : match.start]]
            if match.start >= reach and set(between) <= BESIDE - {",", "AND", "BUT", "IF"}:
                gone.add(at)
                reach = match.end
    return gone


def _for_something_else(items: Sequence[Item], matches: Sequence[Match], stops: bool) -> set[int]:
    """`email me when it plateaus`, `when it plateaus, lower the rate`: a condition, but not for stopping.

    So is the limit in `stop if the moon is full after 2 hours`, and in `save a checkpoint after 500 steps`.
    """
    gone = set()
    for number, match in enumerate(matches):
        begin = matches[number - 1].end if number else 0
        while any(item.kind in _PARTS for item in items[begin : match.start]):
            begin += 1
        before = {item.kind for item in items[begin : match.start]}
        after = [item.kind for item in items[match.end : match.end + 2]]
        asks = bool(before - BESIDE)
        acts = not stops and after[:1] == [","] and bool(set(after) - BESIDE - {"METRIC", "PAIR"})
        other = "IF" in before and (asks or acts) and (match.spends or not before & _ENDS)
        if other or (match.spends and before & {"?", "ACTION", "EVERY"} and not before & _ENDS):
            gone.add(number)
    return gone


def _together(items: Sequence[Item], matches: Sequence[Match]) -> set[int]:
    """Two conditions that must hold at once, or one and something unread: what is known of them goes."""
    gone = set()
    for place in _loose(items, matches, "AND"):
        if _new_thought(items, matches, place):
            continue
        left = _beside(items, matches, place, -1)
        right = _beside(items, matches, place, 1)
        left_condition = isinstance(left, int) and matches[left].condition
        right_condition = isinstance(right, int) and matches[right].condition
        if left_condition and (right_condition or right == "?"):
            gone.add(left)
        if right_condition and (left_condition or left == "?"):
            gone.add(right)
    return {at for at in gone if isinstance(at, int)}


def _from_when_on(clause: Sequence[Item], items: Sequence[Item], matches: Sequence[Match]) -> set[int]:
    """`loss > 3 after epoch 2`, `after 2 epochs, stop if ...`: from when on a condition counts. Both go, for as two
    rules either of them would stop the run. A comma lists rules, but for `loss rises, after epoch 2` and `if, after
    epoch 2, loss rises`; so does training for a while, but for `train for 2 epochs, then stop if ...`."""
    gone = set()
    for number, (left, right) in enumerate(itertools.pairwise(matches)):
        between = {item.kind for item in items[left.end : right.start]}
        first, second = items[left.start].kind, items[right.start].kind
        behind = left.condition and right.spends and second == "AFTER" and first != "AFTER"
        opened = first == "AFTER" and [item.kind for item in items[: left.start] if item.kind != ","][-1:] == ["IF"]
        listed = "," in between and not between & {"IF", "STOP"} and not behind and not opened
        apart = listed or between & {"OR", "AND", "BUT"} or first == "TRAIN"
        begin, end = items[left.end - 1].end, items[right.start].start
        then = any("then" in item.words.split() for item in clause if begin <= item.start < end)
        if left.spends != right.spends and left.rules and right.rules and (not apart or (then and "IF" in between)):
            gone |= {number, number + 1}
    return gone


def _for_later(items: Sequence[Item], matches: Sequence[Match]) -> set[int]:
    """`dropout 0.1 if it rises`, `learning rate 1e-5 after 2 epochs`, `max 3 epochs if it rises`, `if it rises, dropout
    0.1`: nothing of that holds from the start. The condition goes too, as it stops nothing."""
    kinds = [item.kind for item in items]
    shapes = [bool({*kinds[match.start : match.end]} & _SHAPES) for match in matches]
    opened = kinds[:1] == ["IF"] and not {*kinds} & {"STOP", "EARLY_STOPPING"}
    gone = {at for at in range(len(matches)) if opened and shapes[at]}
    for number, (left, right) in enumerate(itertools.pairwise(matches)):
        between = items[left.end : right.start]
        knob = bool({*kinds[left.start : left.end]} & _KNOBS)
        when = any(item.kind == "IF" and (knob or item.value != "until") for item in between)
        waits = shapes[number] or (left.row.when == "config" and left.row.make is budget)
        parted = any(item.kind in _PARTS for item in between)
        if right.condition and not parted and ((waits and when) or (knob and right.spends)):
            gone |= {number, number + 1}
    return gone


def _new_thought(items: Sequence[Item], matches: Sequence[Match], place: int) -> bool:
    """`on NaN and when ...`, `on NaN and after ...`: what always stops a run holds together with nothing."""
    always = any(match.end == place and match.said == [] for match in matches)
    return (
        always and place + 1 < len(items) and items[place + 1].kind in ("IF", "AFTER", "LIMIT", "AT_MOST", "PATIENCE")
    )


def _beside(items: Sequence[Item], matches: Sequence[Match], place: int, step: int) -> int | str:
    """What stands beside an "and": the number of a match, "?" for unread words that may be a condition, or nothing."""
    at = place + step
    while 0 <= at < len(items) and items[at].kind not in ("OR", "BUT"):
        number = next((number for number, match in enumerate(matches) if match.start <= at < match.end), None)
        if number is not None:
            return number
        if items[at].kind not in BESIDE:
            asks = step > 0 or items[at].kind in ("METRIC", "PAIR", "OTHER") or _has_if(items, matches, at)
            return "?" if asks and items[at].kind != "ACTION" else ""
        at += step
    return ""


def _has_if(items: Sequence[Item], matches: Sequence[Match], at: int) -> bool:
    """Does an "if" open the unread words that end at `at`?"""
    begin = max((match.end for match in matches if match.end <= at), default=0)
    return any(item.kind == "IF" for item in items[begin:at])
