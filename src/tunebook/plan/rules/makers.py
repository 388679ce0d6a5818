"""From matched items to rules and settings. A maker answers

a list    what was said; an empty one says nothing and needs nothing (a loss that is not finite always stops a run)
REFUSED   these words belong together, and no rule can say them: the reader is shown the piece
None      this row does not fit after all; another may
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from pydantic import ValidationError

from tunebook.plan.rules.item import Item
from tunebook.plan.rules.numbers import doubtful
from tunebook.plan.rules.types import (
    BETTER_HIGHER,
    BETTER_LOWER,
    Budget,
    Gap,
    Plateau,
    Rise,
    Rule,
    Setting,
    SettingName,
    Threshold,
)

Purpose = Literal["stopping", "overfitting", "quality"]
REFUSED: Literal["refused"] = "refused"
Said = list[Rule | Setting] | Literal["refused"]
Made = Said | None
_LOSSES = {"training_loss", "validation_loss"}


@dataclass(frozen=True)
class Found:
    """The items of a match, and what came before: `spoken_of` is the metric that `it` means."""

    items: list[Item]
    purpose: Purpose
    spoken_of: str

    def all(self, *kinds: str) -> list[Item]:
        """The items of these kinds, in order."""
        return [item for item in self.items if item.kind in kinds]

    def first(self, *kinds: str) -> Item | None:
        """The first item of these kinds."""
        return next(iter(self.all(*kinds)), None)

    def has(self, *kinds: str) -> bool:
        """Is there an item of these kinds?"""
        return bool(self.all(*kinds))

    def metrics(self) -> list[str]:
        """The metrics named; `loss` alone is the validation loss."""
        return ["validation_loss" if item.value == "loss" else str(item.value) for item in self.all("METRIC")]

    def last_named(self) -> str | None:
        """What "it" would mean after these items: a metric, or the gap between the losses."""
        if self.has("GAP") or self.has("PAIR"):
            return "gap"
        return next(reversed(self.metrics()), None)

    def metric(self) -> str | None:
        """The one metric that is meant; None when several are named."""
        named = set(self.metrics())
        if not named:
            return "validation_loss" if self.has("VALIDATION") else self.spoken_of
        return named.pop() if len(named) == 1 else None

    def window(self, otherwise: int) -> dict[str, Any] | None:
        """`patience` and `unit`; None when two are given or one is no whole number."""
        given = {
            (item.value[0], "evaluations" if item.value[1] == "times" else item.value[1])
            if item.kind == "COUNT"
            else (item.value, "minutes")
            for item in self.all("COUNT", "DURATION")
        }
        if not given:
            return {"patience": otherwise, "unit": "evaluations"}
        number, unit = next(iter(given))
        return {"patience": int(number), "unit": unit} if len(given) == 1 and number == int(number) else None

    def amount(self, number: str, percent: str) -> dict[str, Any] | None:
        """The plain number under the name `number` or the percentage under `percent`; None when two are given, or one
        that may have thousands."""
        given = self.all("NUM", "PERCENT")
        if len(given) > 1 or any(doubtful(item.words, ",") for item in given):
            return None
        return {percent if item.kind == "PERCENT" else number: item.value for item in given}


Maker = Callable[[Found], Made]


def _make(build: Callable[..., Rule], **fields: Any) -> Made:
    """The rule, or REFUSED when its fields are out of range."""
    try:
        return [build(**fields)]
    except ValidationError:
        return REFUSED


def nothing(_: Found) -> Made:
    """For what can be said and cannot be done."""
    return REFUSED


def finite(found: Found) -> Made:
    """A loss that is not finite stops every run; saying so adds nothing."""
    return [] if set(found.metrics()) <= {*_LOSSES, "gradient_norm", "perplexity"} else None


def plateau(found: Found) -> Made:
    """No improvement for a while. A change that names a direction must be the metric's better one."""
    metric, window, delta = found.metric(), found.window(3), found.amount("min_delta", "min_delta_percent")
    ways = {str(item.value or item.kind).lower() for item in found.all("STALL", "UP", "DOWN", "WORSE")}
    if metric is None or window is None or delta is None or _worse(metric) is None:
        return REFUSED
    return REFUSED if {"worse", _worse(metric)} & ways else _make(Plateau, metric=metric, **window, **delta)


def _worse(metric: str) -> str | None:
    """The direction in which a metric gets worse; None for one that has no better side."""
    return "up" if metric in BETTER_LOWER else "down" if metric in BETTER_HIGHER else None


def rise(found: Found) -> Made:
    """Getting worse, some times in a row; the moment it does is once."""
    metric, window = found.metric(), found.window(1 if found.has("MOMENT") else 2)
    if found.items[-1].words == "up" and not found.metrics() and found.has("COUNT", "DURATION"):
        return None  # "2 hours are up"
    if found.has("AFTER") and not found.has("IN_A_ROW"):
        return REFUSED  # "rises after 3 epochs" says from when on
    ways = {item.kind.lower() for item in found.all("UP", "DOWN", "WORSE")}
    if metric is None or window is None or _worse(metric) is None or ways - {"worse", _worse(metric)}:
        return REFUSED
    return _make(Rise, metric=metric, **window)


_UNITS_OF = {"SIZE": "memory", "RATE": "throughput", "TOKEN_COUNT": "response_length", "PERCENT": "bleu"}


def threshold(found: Found) -> Made:
    """A metric past a value. `reaches 8` looks from the side from which the metric comes."""
    value = found.first("NUM", *_UNITS_OF)
    window = found.window(1)
    if value is None or window is None or found.has("AFTER") or len(found.all("NUM", *_UNITS_OF)) > 1:
        return REFUSED
    if found.has("ANSWERS"):
        metric: str | None = "response_length"
    elif value.kind in ("SIZE", "RATE") and not found.metrics():
        metric = _UNITS_OF[value.kind]
    else:
        metric = found.metric()
    if metric == "gap":
        return gap(found)
    if metric is None or (value.kind != "NUM" and _UNITS_OF[value.kind] != metric):
        return REFUSED
    op = _operator(found, metric)
    if _doubtful(metric, op, value):
        return REFUSED
    return _make(Threshold, metric=metric, op=op, value=value.value, **window)


def _doubtful(metric: str, op: str, value: Item) -> bool:
    """Whether 1,250 or 1.250 is thousands hangs on what is measured. BLEU goes to 100 here, and memory below a value
    is either free memory or a bound to keep."""
    if value.kind == "NUM" and doubtful(value.words, "," if metric in (*_LOSSES, "bleu") else "."):
        return True
    return (metric == "bleu" and value.kind == "NUM" and 0 < value.value < 1) or (metric == "memory" and op[0] == "<")


def _operator(found: Found, metric: str) -> str:
    for item in found.all("OR_MORE", "OR_LESS", "ABOVE", "BELOW", "MORE", "LESS", "AT_LEAST", "AT_MOST"):
        return str(item.value)
    if found.has("UP", "DOWN"):
        return ">=" if found.has("UP") else "<="
    return "<=" if metric in (*_LOSSES, "perplexity") else ">="


def gap(found: Found) -> Made:
    """Validation loss above training loss; without a number, by anything at all."""
    amount, window, metrics = found.amount("value", "percent"), found.window(1), found.metrics()
    if amount is None or window is None or found.has("AFTER"):
        return REFUSED
    if metrics and {*metrics} != _LOSSES:
        return REFUSED
    if found.has("GAP", "PAIR") or not metrics:
        fits = not found.has("BELOW", "LESS", "AT_MOST", "DOWN")
    elif metrics[0] == "validation_loss":
        fits = not found.has("BELOW")
    else:  # training loss below validation loss: the same difference, but not the same percentage
        fits = found.has("BELOW") and "percent" not in amount
    return _make(Gap, **(amount or {"value": 0.0}), **window) if fits else REFUSED


def gap_ratio(found: Found) -> Made:
    """Validation loss at 1.2 times the training loss is a gap of 20 %."""
    times = found.all("COUNT")
    if found.metrics() != ["validation_loss", "training_loss"] or not times or times[0].value[1] != "times":
        return None
    window = Found(times[1:] + found.all("DURATION"), found.purpose, found.spoken_of).window(1)
    percent = round(100 * (times[0].value[0] - 1), 9)
    return REFUSED if window is None or percent < 0 else _make(Gap, percent=percent, **window)


def patience(found: Found) -> Made:
    """Patience or a least delta alone: a plateau of the validation loss."""
    return plateau(found)


def budget(found: Found) -> Made:
    """So much time, so many steps, epochs or tokens."""
    item = found.first("COUNT", "DURATION", "TOKEN_COUNT")
    if item is None:  # max steps = 500; epoch 3
        number, unit = found.first("NUM"), found.first("UNIT", "MINUTES", "TOKENS")
        if number is None or unit is None:
            return None
        if doubtful(number.words, ".") or (unit.value in ("60", "1440") and doubtful(number.words, ",")):
            return REFUSED
        amount, name = number.value, unit.value or "tokens"
        if unit.kind == "MINUTES":
            amount, name = amount * float(unit.value), "minutes"
    elif item.kind == "COUNT":
        amount, name = item.value
    else:
        amount, name = item.value, "minutes" if item.kind == "DURATION" else "tokens"
    if name not in ("minutes", "steps", "epochs", "tokens"):
        return None
    if found.has("ABOVE", "MORE") and _bids(found.items):
        return REFUSED
    stops = found.has("AFTER", "ABOVE", "MORE", "REACH")
    limits = found.has("LIMIT", "AT_MOST", "TRAIN", "BELOW", "LESS", "OR_LESS") or not stops
    if found.purpose == "overfitting" and name == "epochs" and limits:
        return [Setting(setting="max_epochs", value=int(amount))] if amount == int(amount) > 0 else REFUSED
    return _make(Budget, amount=amount, unit=name)


def _bids(items: list[Item]) -> bool:
    """`train for more than 5 epochs` sets no end; `training takes more than 2 hours` does."""
    first, second = items[0], items[1]
    return first.kind == "TRAIN" and (second.kind == "IN" or first.words in ("train", "finetune", "fine tune"))


def setting(
    name: SettingName, value: bool | str | None = None, *, below: float = inf, most: float = inf, whole: bool = False
) -> Maker:
    """A maker of the setting `name`: `value`, else the number found (a percentage is a share of 1), else null."""

    def make(found: Found) -> Made:
        item = found.first("NUM", "PERCENT", "SPLIT")
        if value is not None or item is None:
            return [Setting(setting=name, value=value)]
        number = item.value / 100 if item.kind == "PERCENT" else item.value
        fits = 0 <= number < below and number <= most and (not whole or number == int(number))
        if not fits or len(found.all("NUM", "PERCENT")) > 1:
            return REFUSED
        return [Setting(setting=name, value=int(number) if whole else number)]

    return make


_COUNTED = ("people", "persons", "humans", "experts", "annotators", "reviewers", "colleagues", "person", "annotator")


def human_review(found: Found) -> Made:
    """A person reads responses; how many, when the text says it."""
    items = found.items
    numbers = [
        item.value
        for item, after in zip(items, [*items[1:], None], strict=True)
        if item.kind == "NUM" and not (after and after.kind == "HUMAN" and after.words in _COUNTED)
    ]
    if len(numbers) > 1 or any(number != int(number) or number < 1 for number in numbers):
        return REFUSED
    return [Setting(setting="human_review", value=int(numbers[0]) if numbers else None)]


def metric_check(found: Found) -> Made:
    """BLEU and response length are metrics too; other metrics say nothing about the quality of responses."""
    names: dict[str, SettingName] = {"bleu": "bleu", "response_length": "length_check"}
    name = names.get(str(found.items[0].value))
    return [Setting(setting=name, value=True)] if name else None
