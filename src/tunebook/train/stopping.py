"""Stopping rules, watched. One rule, one counter; the same code judges a live run and replays a stored one.

Distance is counted in the rule's unit between two moments of the run. A plateau counts from the last improvement, a
rise from where the climb began, a threshold or gap from where the metric first went past, that moment included.
Plateau, rise and gap wait for the low end of the epoch range; thresholds and budgets do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunebook.plan.rules.types import BETTER_HIGHER, Budget, Gap, Plateau, Rise, Rule, Threshold

STEP_METRICS = ("training_loss", "throughput", "memory", "gradient_norm")
_UNITS = ("evaluations", "epochs", "steps", "minutes")


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands, and what was just measured. Memory is in GB (10^9 bytes)."""

    step: int
    epoch: float
    minutes: float
    tokens: int
    evaluations: int
    values: Mapping[str, float]

    def at(self) -> dict[str, float]:
        """The moment in each unit."""
        return {"evaluations": self.evaluations, "epochs": self.epoch, "steps": self.step, "minutes": self.minutes}


@dataclass(frozen=True, slots=True)
class Status:
    """How far one rule has come: `count` of `of`, in words, and whether it stops the run."""

    rule: str
    text: str
    count: float
    of: float
    fired: bool


class Stopper:
    """Watches a run through its rules. `state` is plain values and survives a resume."""

    def __init__(self, rules: Sequence[Rule], min_epochs: int, state: dict[str, Any] | None = None) -> None:
        self.rules, self.min_epochs = tuple(rules), min_epochs
        self.state: dict[str, Any] = state if state is not None else {}
        for old in self.state.keys() - set(map(_key, self.rules)):
            del self.state[old]  # of a rule that was changed between two tries

    def after_step(self, moment: Moment) -> str:
        """Look at budgets, and at step metrics counted in steps or minutes; returns why the run ends, or ''."""
        return self._look(moment, [i for i, rule in enumerate(self.rules) if _each_step(rule)])

    def after_evaluation(self, moment: Moment) -> str:
        """Look at every other rule; returns why the run ends, or ''."""
        return self._look(moment, [i for i, rule in enumerate(self.rules) if not _each_step(rule)])

    def statuses(self) -> list[Status]:
        """Where each rule stands."""
        return [self._status(rule) for rule in self.rules]

    def _look(self, moment: Moment, places: list[int]) -> str:
        for i in places:
            _observe(self.rules[i], moment, self.state.setdefault(_key(self.rules[i]), {}))
        for i in places:
            status = self._status(self.rules[i])
            if status.fired and (not _waits(self.rules[i]) or moment.epoch >= self.min_epochs):
                return f"{status.rule}: {status.text}"
        return ""

    def _status(self, rule: Rule) -> Status:
        kept = self.state.get(_key(rule), {})
        count = kept.get("count", 0)
        of = rule.amount if isinstance(rule, Budget) else rule.patience
        fired = bool(kept.get("past", False)) and count >= of - 1e-9
        what = {
            Plateau: "without improvement",
            Rise: "getting worse",
            Threshold: "past it",
            Gap: "past it",
            Budget: "spent",
        }
        text = f"{count:g} of {of:g} {rule.unit} {what[type(rule)]}"
        return Status(describe(rule), text, count, of, fired)


def describe(rule: Rule) -> str:
    """The rule in a few words."""
    if isinstance(rule, Budget):
        return f"budget of {rule.amount:g} {rule.unit}"
    if isinstance(rule, Gap):
        size = f"{rule.percent:g} %" if rule.percent is not None else f"{rule.value or 0:g}"
        return f"validation loss above training loss by {size}"
    name = rule.metric.replace("_", " ")
    if isinstance(rule, Threshold):
        return f"{name} {rule.op} {rule.value:g}"
    return f"{name} on a plateau" if isinstance(rule, Plateau) else f"{name} getting worse"


def _key(rule: Rule) -> str:
    """What a rule's counter is kept under: all that it asks for, not the words that it was read from."""
    return rule.model_dump_json(exclude={"source"})


def _observe(rule: Rule, moment: Moment, kept: dict[str, Any]) -> None:
    """Bring one rule's counter up to `moment`. `kept`: {'since': moment by unit, 'count', 'past', 'best', 'last'}."""
    if isinstance(rule, Budget):
        spent = {"minutes": moment.minutes, "steps": moment.step, "epochs": moment.epoch, "tokens": moment.tokens}
        kept["count"], kept["past"] = spent[rule.unit], True
        return
    value = _measure(rule, moment)
    if value is None:
        return
    if isinstance(rule, Plateau):
        if "best" not in kept or _improved(rule, value, kept["best"]):
            kept |= {"best": value, "since": moment.at()}
        past, extra = True, 0
    elif isinstance(rule, Rise):
        last = kept.get("last")
        past, extra = last is not None and _better(rule.metric, last, value), 0
        if not past:
            kept["since"] = moment.at()
        kept["last"] = value
    else:
        past, extra = _is_past(rule, value), 1  # the first moment past it counts as one evaluation or step
        if past != kept.get("past", False):
            kept["since"] = moment.at()
    kept["past"] = past
    counted = extra if rule.unit in ("evaluations", "steps") else 0
    kept["count"] = (
        round(moment.at()[rule.unit] - kept.get("since", moment.at())[rule.unit] + counted, 9) if past else 0
    )


def _measure(rule: Plateau | Rise | Threshold | Gap, moment: Moment) -> float | None:
    """The number that the rule watches, or None when it was not measured at this moment."""
    if not isinstance(rule, Gap):
        return moment.values.get(rule.metric)
    validation, training = moment.values.get("validation_loss"), moment.values.get("training_loss")
    if validation is None or training is None:
        return None
    gap = validation - training
    return gap if rule.percent is None else 100 * gap / training if training else math.inf


def _is_past(rule: Threshold | Gap, value: float) -> bool:
    if isinstance(rule, Gap):
        limit = rule.percent if rule.percent is not None else rule.value or 0.0
        return value > limit
    return {"<": value < rule.value, "<=": value <= rule.value, ">": value > rule.value, ">=": value >= rule.value}[
        rule.op
    ]


def _improved(rule: Plateau, value: float, best: float) -> bool:
    delta = max(rule.min_delta or 0.0, abs(best) * (rule.min_delta_percent or 0.0) / 100)
    return value > best + delta if rule.metric in BETTER_HIGHER else value < best - delta


def _better(metric: str, value: float, than: float) -> bool:
    return value > than if metric in BETTER_HIGHER else value < than


def _each_step(rule: Rule) -> bool:
    if isinstance(rule, Budget):
        return True
    return not isinstance(rule, Gap) and rule.metric in STEP_METRICS and rule.unit in ("steps", "minutes")


def _waits(rule: Rule) -> bool:
    return isinstance(rule, Plateau | Rise | Gap)
