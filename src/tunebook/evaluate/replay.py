"""Stopping rules, replayed on a stored run: where they would have ended it, and what that would have cost or saved.

The same engine that watches a live run (`train/stopping.py`) reads the run's events in the order in which they
happened, so a run's own rules stop it again at the very step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunebook.errors import PlanError, RunError
from tunebook.plan.rules.types import Budget, Gap, Rule
from tunebook.runs.events import Event
from tunebook.runs.metrics import metric_rows
from tunebook.runs.store import Run
from tunebook.train.stopping import STEP_METRICS, Moment, Stopper, describe


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a run ends and what it has by then. `loss` is the best held-out loss so far, at `best_step`."""

    step: int
    epoch: float
    minutes: float
    tokens: int
    reason: str
    loss: float | None
    best_step: int | None

    def to_json(self) -> dict[str, Any]:
        """As `tunebook replay --json` prints it."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "minutes": self.minutes,
            "tokens": self.tokens,
            "reason": self.reason,
            "best_step": self.best_step,
            "best_validation_loss": self.loss,
        }


def replay(run: Run, rules: Sequence[Rule]) -> dict[str, Any]:
    """What `rules` would have done to `run`.

    `stops` says whether they end it before its own end; `replayed` and `actual` are both endings; `saved` is what the
    earlier end spares, `cost` the held-out loss that it gives away (0 when the best checkpoint came before it).
    `not_measured` names metrics that a rule watches and the run did not record: such a rule never fires.
    RunError when the run has no steps yet.
    """
    rows = metric_rows(run)
    if not any(row["kind"] == "metrics" for row in rows):
        raise RunError(f"The run '{run.name}' has taken no optimizer step yet; there is nothing to replay.")
    min_epochs = run.plan().training.epochs.min
    actual = _ending(rows, None, _own_reason(run))
    replayed = actual
    for place, reason in _reasons(rows, Stopper(rules, min_epochs)):
        step = rows[place]["step"]
        if replayed is not actual and step > replayed.step:
            break
        # a run that a rule ends after a step is evaluated there, and what that evaluation says is the reason it gives
        replayed = _ending([row for row in rows if row["step"] <= step], rows[place], reason)
    stops = replayed is not actual
    losses = (replayed.loss, actual.loss)
    return {
        "rules": [describe(rule) for rule in rules],
        "stops": stops,
        "replayed": replayed.to_json() if stops else None,
        "actual": actual.to_json(),
        "saved": {
            "steps": actual.step - replayed.step,
            "minutes": actual.minutes - replayed.minutes,
            "tokens": actual.tokens - replayed.tokens,
        },
        "cost": None if None in losses else losses[0] - losses[1],  # type: ignore[operator]
        "not_measured": sorted(_watched(rules) - _measured(rows)),
    }


def rules_from(text: str) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """(rules, pieces not understood) of a text; PlanError when it holds no stopping rule."""
    from tunebook.plan.rules import read_rules

    reading = read_rules(text, "stopping")
    if not reading.rules:
        raise PlanError(
            f"No stopping rule was understood in '{text}'.",
            do="Write such as 'stop when validation loss has not improved for 3 evaluations'.",
        )
    return reading.rules, reading.not_understood


def _reasons(rows: Sequence[Event], stopper: Stopper) -> Iterator[tuple[int, str]]:
    """Go through the run as the training loop does; yields (place of the row, why) where the rules end it."""
    evaluations = 0
    since: dict[str, list[float]] = {}
    for place, row in enumerate(rows):
        values = {name: value for name, value in row["values"].items() if value is not None}
        if "memory" in values:
            values["memory"] /= 1e9
        if row["kind"] == "metrics":
            seen = {name: values[name] for name in STEP_METRICS if name in values}
            for name, value in seen.items():
                since.setdefault(name, []).append(value)
            reason = stopper.after_step(_moment(row, row.get("seen_tokens", 0), evaluations, seen))
        elif row["step"] == 0:  # the base's evaluation is not part of training
            continue
        else:
            evaluations += 1
            means = {name: max(seen) if name == "memory" else sum(seen) / len(seen) for name, seen in since.items()}
            since = {}
            reason = stopper.after_evaluation(_moment(row, row.get("seen_tokens", 0), evaluations, means | values))
        if reason:
            yield place, reason


def _moment(row: Event, tokens: int, evaluations: int, values: dict[str, float]) -> Moment:
    return Moment(row["step"], row["epoch"], row.get("minutes", 0.0), tokens, evaluations, values)


def _ending(rows: Sequence[Event], at: Event | None, reason: str) -> Ending:
    """The run as it stands after the row `at` (the last one when None)."""
    last = at or rows[-1]
    step: Event = next(row for row in reversed(rows) if row["kind"] == "metrics")
    evaluated = [row for row in rows if row["kind"] == "evaluation" and row["step"] > 0]
    measured = [row for row in evaluated if row["values"].get("validation_loss") is not None]
    best = min(measured, key=lambda row: row["values"]["validation_loss"], default=None)
    return Ending(
        step=step["step"],
        epoch=step["epoch"],
        minutes=last.get("minutes", 0.0),
        tokens=step.get("seen_tokens", 0),
        reason=reason,
        loss=best["values"]["validation_loss"] if best else None,
        best_step=best["step"] if best else None,
    )


def _own_reason(run: Run) -> str:
    """Why the run ended by itself, as its train step put it down."""
    from tunebook.runs.events import read_events

    ended = ""
    for event in read_events(run.events):
        if event["kind"] == "step" and event["id"] == "train" and event.get("evidence"):
            ended = event["evidence"].get("ended", "")
    return ended


def _watched(rules: Sequence[Rule]) -> set[str]:
    names: set[str] = set()
    for rule in rules:
        if isinstance(rule, Gap):
            names |= {"training_loss", "validation_loss"}
        elif not isinstance(rule, Budget):
            names.add(rule.metric)
    return names


def _measured(rows: Sequence[Event]) -> set[str]:
    return {name for row in rows for name, value in row["values"].items() if value is not None}
