"""A rule in one plain sentence, for people who want to know what was understood."""

from __future__ import annotations

from tunebook.plan.rules.types import Budget, Gap, Plateau, Rule, Threshold

_UNITS = {"memory": " GB", "throughput": " tokens per second", "response_length": " tokens"}
_SIGNS = {"<": "below", "<=": "at most", ">": "above", ">=": "at least"}


def describe(rule: Rule) -> str:
    """Such as: stop once validation loss has not improved for 3 evaluations."""
    if isinstance(rule, Budget):
        if rule.unit == "minutes" and rule.amount >= 120:
            return f"stop after {rule.amount / 60:g} hours"
        return f"stop after {_count(rule.amount, rule.unit)}"
    span = _count(rule.patience, rule.unit)
    if isinstance(rule, Gap):
        size = f"{rule.percent:g} % of it" if rule.percent is not None else f"{rule.value or 0:g}"
        return f"stop once validation loss exceeds training loss by more than {size}" + _lasting(rule.patience, span)
    name = "BLEU" if rule.metric == "bleu" else rule.metric.replace("_", " ")
    if isinstance(rule, Threshold):
        value = f"{rule.value:g}{_UNITS.get(rule.metric, '')}"
        return f"stop once {name} is {_SIGNS[rule.op]} {value}" + _lasting(rule.patience, span)
    if isinstance(rule, Plateau):
        return f"stop once {name} has not improved{_delta(rule)} for {span}"
    if rule.patience == 1:
        return f"stop as soon as {name} gets worse" + ("" if rule.unit == "evaluations" else f" over {span}")
    return f"stop once {name} has got worse for {span} in a row"


def _delta(rule: Plateau) -> str:
    if rule.min_delta_percent is not None:
        return f" by more than {rule.min_delta_percent:g} %"
    return f" by more than {rule.min_delta:g}" if rule.min_delta is not None else ""


def _count(number: float, unit: str) -> str:
    return f"{number:,.10g} {unit[:-1] if number == 1 else unit}"


def _lasting(patience: int, span: str) -> str:
    return "" if patience == 1 and span == "1 evaluation" else f" for {span}"
