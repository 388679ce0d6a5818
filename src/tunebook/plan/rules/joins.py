"""Items that belong together become one: `3` + `epochs`, `2 hours` + `30 minutes`, `does not` + `improve`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tunebook.plan.rules.item import Item
from tunebook.plan.rules.numbers import doubtful

_MOVES = ("BETTER", "UP", "DOWN", "WORSE", "CHANGE")
_BETWEEN = ("filler", "IN_A_ROW", "LY", "IN")  # 3 *more*, 3 *consecutive*, 3 *full*, a couple *of* epochs


def joined(items: list[Item]) -> list[Item]:
    """`items` after every rule of this file, in the order in which they stand below."""
    for rule in (
        _half,
        _numbers,
        _percent,
        _or_above,
        _ranges,
        _ordinals,
        _ones,
        _quantities,
        _durations,
        _patience,
        _once,
        _stalls,
        _moves,
    ):
        items = _everywhere(rule, items)
    return items


Rule = Callable[[list[Item], int], tuple[list[Item], int]]


def _everywhere(rule: Rule, items: list[Item]) -> list[Item]:
    """Offer each place to `rule`, which answers with what stands there now and how many items that took (0: none)."""
    result: list[Item] = []
    at = 0
    while at < len(items):
        now, taken = rule(items, at)
        result += now if taken else [items[at]]
        at += taken or 1
    return result


def _kind(items: list[Item], at: int) -> str:
    return items[at].kind if 0 <= at < len(items) else ""


def _one(first: Item, last: Item, kind: str, value: object) -> Item:
    """An item that spans from `first` to `last`."""
    return Item(kind, value, first.start, last.end, f"{first.words} {last.words}")


def _skip(items: list[Item], at: int, kinds: tuple[str, ...]) -> int:
    """The first place from `at` on that holds none of `kinds`; nobody puts more than a few such words in between."""
    end = min(at + 12, len(items))
    return next((place for place in range(at, end) if items[place].kind not in kinds), end)


def _half(items: list[Item], at: int) -> tuple[list[Item], int]:
    """half an hour, half a percent, half a million; `half of the steps`, `drops to half` are of something else."""
    after = at + 1 + (at + 1 < len(items) and items[at + 1].words in ("a", "an"))
    if items[at].words != "half" or _kind(items, after) not in ("UNIT", "MINUTES", "GB", "PERCENT_SIGN", "MANY"):
        return [], 0
    return [replace(items[at], kind="NUM", value=0.5)], after - at


def _numbers(items: list[Item], at: int) -> tuple[list[Item], int]:
    """twenty five, two thousand, a million, 10 k, 5 m tokens, two and a half."""
    if items[at].words in ("a", "an") and _kind(items, at + 1) == "MANY":
        return [replace(items[at + 1], kind="NUM")], 2
    if _kind(items, at) != "NUM":
        return [], 0
    number, after = items[at], at + 1
    while after < len(items):
        item, then = items[after], _kind(items, after + 1)
        if item.kind == "MANY":
            factor = item.value
        elif item.words == "m" and then in ("TOKENS", "UNIT"):
            factor = 1e6
        elif item.words == "b" and then == "TOKENS":
            factor = 1e9
        elif item.kind == "NUM" and number.words.endswith("ty") and item.words.isalpha() and 0 < item.value < 10:
            number, after = _one(number, item, "NUM", number.value + item.value), after + 1
            continue
        else:
            break
        number, after = _one(number, item, "NUM", number.value * factor), after + 1
    half = _skip(items, after + 1, ("filler",))
    if _kind(items, after) == "AND" and half < len(items) and items[half].words == "half" and number.value >= 1:
        number, after = _one(number, items[half], "NUM", number.value + 0.5), half + 1
    return [number], after - at


def _percent(items: list[Item], at: int) -> tuple[list[Item], int]:
    """20 %, 20 percent, 20 per cent, half a percent."""
    if _kind(items, at) == "NUM":
        sign = _skip(items, at + 1, ("EVERY", "filler"))
        if _kind(items, sign) == "PERCENT_SIGN":
            return [_one(items[at], items[sign], "PERCENT", items[at].value)], sign + 1 - at
    return [], 0


def _or_above(items: list[Item], at: int) -> tuple[list[Item], int]:
    """In `below 2 or above 10` the `or above` is no tail of the 2."""
    item = items[at]
    kinds = {
        "above": "ABOVE:>",
        "over": "ABOVE:>",
        "below": "BELOW:<",
        "under": "BELOW:<",
        "more": "MORE:>",
        "less": "LESS:<",
    }
    _, _, word = item.words.rpartition(" ")
    if item.kind not in ("OR_MORE", "OR_LESS") or _kind(items, at + 1) != "NUM" or word not in kinds:
        return [], 0
    kind, _, value = kinds[word].partition(":")
    middle = item.end - len(word)
    return [Item("OR", "", item.start, item.start + 2, "or"), Item(kind, value, middle, item.end, word)], 1


_BOTH_ENDS = (["NUM", "AND", "NUM"], ["PERCENT", "AND", "PERCENT"])


def _ranges(items: list[Item], at: int) -> tuple[list[Item], int]:
    """between 50 and 200: no single number."""
    if items[at].words == "between" and [_kind(items, at + step) for step in (1, 2, 3)] in _BOTH_ENDS:
        return [_one(items[at], items[at + 3], "RANGE", None)], 4
    return [], 0


def _ordinals(items: list[Item], at: int) -> tuple[list[Item], int]:
    """third epoch, third increase; `second` is an ordinal before a unit; `first` alone says nothing."""
    item = items[at]
    counted = _kind(items, _skip(items, at + 1, ("IN_A_ROW", "filler")))
    second = item.words == "second" and _kind(items, at - 1) != "NUM"
    if item.kind == "ORDINAL" or second:
        value = 2 if second else item.value
        if counted in ("UNIT", "TIMES"):
            return [replace(item, kind="NUM", value=value)], 1
        if counted in ("UP", "DOWN", "WORSE"):
            return [replace(item, kind="COUNT", value=(value, "times"))], 1
    if item.kind == "ORDINAL":
        return [replace(item, kind="filler" if item.value == 1 else "?")], 1
    return [], 0


def _ones(items: list[Item], at: int) -> tuple[list[Item], int]:
    """an hour, a full epoch: `a` is 1 before a unit."""
    unit = _skip(items, at + 1, ("filler",))
    if (
        _kind(items, at - 1) != "NUM"
        and items[at].words in ("a", "an", "single", "another")
        and _kind(items, unit) in ("UNIT", "MINUTES", "GB")
    ):
        return [replace(items[at], kind="NUM", value=1.0)], 1
    return [], 0


def _quantities(items: list[Item], at: int) -> tuple[list[Item], int]:
    """3 consecutive evaluations, 3 times, 90 minutes, 20 GB, 500 tokens per second, 1000 tokens."""
    if items[at].kind == "NEXT":
        return [replace(items[at], kind="COUNT", value=(1.0, items[at].value))], 1
    if items[at].kind != "NUM":
        return [], 0
    end = _skip(items, at + 1, _BETWEEN)
    if end >= len(items):
        return [], 0
    number, unit = items[at].value, items[end]
    large = unit.kind in ("MINUTES", "GB") and float(unit.value) >= (60 if unit.kind == "MINUTES" else 1)
    if (doubtful(items[at].words, ".") or (large and doubtful(items[at].words, ","))) and _measures(unit):
        return [replace(items[at], kind="?"), unit], end + 1 - at  # 10.000 steps: ten, or ten thousand?
    if unit.kind in ("UNIT", "TIMES"):
        return [_one(items[at], unit, "COUNT", (number, unit.value or "times"))], end + 1 - at
    if unit.kind == "TOKENS":
        return [_one(items[at], unit, "TOKEN_COUNT", number)], end + 1 - at
    if unit.kind == "METRIC" and _measures(unit):
        return [_one(items[at], unit, "RATE", number)], end + 1 - at
    if unit.kind in ("MINUTES", "GB"):
        kind = "DURATION" if unit.kind == "MINUTES" else "SIZE"
        return [_one(items[at], unit, kind, number * float(unit.value))], end + 1 - at
    return [], 0


def _measures(unit: Item) -> bool:
    """Is it something that a number counts?"""
    return unit.kind in ("UNIT", "TIMES", "TOKENS", "MINUTES", "GB") or unit.words.startswith("tok")


def _durations(items: list[Item], at: int) -> tuple[list[Item], int]:
    """2 hours and 30 minutes; an hour and a half."""
    if _kind(items, at) != "DURATION":
        return [], 0
    after = _skip(items, at + 1, (",", "AND", "filler"))
    if after >= len(items) or after > at + 4:
        return [], 0
    first, second = items[at], items[after]
    if (
        second.kind == "DURATION"
        and second.value < 60 <= first.value
        and second.words.split()[-1] != first.words.split()[-1]
    ):
        return [_one(first, second, "DURATION", first.value + second.value)], after + 1 - at
    if second.words == "half" and "hour" in first.words and _kind(items, after + 1) != "MINUTES":
        return [_one(first, second, "DURATION", first.value + 30)], after + 1 - at
    return [], 0


def _patience(items: list[Item], at: int) -> tuple[list[Item], int]:
    """patience 3, patience = 3, patience of 3: a number that counts."""
    number = _skip(items, at + 1, ("EQUALS", "IN", "TO", "filler"))
    if items[at].kind == "PATIENCE" and _kind(items, number) == "NUM" and not doubtful(items[number].words, "."):
        return [items[at], replace(items[number], kind="COUNT", value=(items[number].value, "times"))], number + 1 - at
    return [], 0


def _once(items: list[Item], at: int) -> tuple[list[Item], int]:
    """`rises once` counts; `once it rises` is a when."""
    if items[at].kind != "ONCE":
        return [], 0
    counts = _kind(items, at - 1) in _MOVES or (at > 1 and items[at - 1].words == "even")
    return [replace(items[at], kind="COUNT", value=(1.0, "times")) if counts else replace(items[at], kind="IF")], 1


def _stalls(items: list[Item], at: int) -> tuple[list[Item], int]:
    """does not improve, no further decrease, stops falling, no loss improvement: STALL, with the way it does not go."""
    first = items[at]
    if first.kind not in ("NOT", "NO", "STOPS", "STOP"):
        return [], 0
    after = _skip(items, at + 1, ("filler", "TO", "IN", "LY", "REACH"))
    metric = [items[after]] if _kind(items, after) == "METRIC" and first.kind == "NO" else []
    move = after + len(metric)
    if _kind(items, move) not in _MOVES or (first.kind == "STOP" and not items[move].words.endswith("ing")):
        return [], 0
    said = [item for item in items[at + 1 : after] if item.kind == "LY"]
    stall = _one(first, items[move], "STALL", items[move].kind.lower())
    return [*metric, stall, *said], move + 1 - at


def _moves(items: list[Item], at: int) -> tuple[list[Item], int]:
    """3 consecutive increases, 3 non-improving evaluations: the number counts."""
    if items[at].kind != "NUM":
        return [], 0
    move = _skip(items, at + 1, ("IN_A_ROW", "filler", "LY"))
    unit = _skip(items, move + 1, ("filler",))
    if _kind(items, move) in ("STALL", "UP", "DOWN", "WORSE") and _kind(items, unit) == "UNIT":
        count = replace(items[at], kind="COUNT", value=(items[at].value, items[unit].value))
        return [replace(count, end=items[unit].end), items[move]], unit + 1 - at
    if _kind(items, move) in ("UP", "DOWN") and items[move].words.endswith("s"):
        return [replace(items[at], kind="COUNT", value=(items[at].value, "times")), items[move]], move + 1 - at
    return [], 0
