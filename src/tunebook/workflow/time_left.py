"""The time that a run still takes, told with each optimizer step: steps, evaluations and checkpoints ahead at the pace
so far, then what follows training, reckoned as before the run from what the base's own measurements took.
"""

from __future__ import annotations

from collections.abc import Mapping

from tunebook.model.sources import loaded_bytes
from tunebook.plan import when
from tunebook.plan.schema import Plan
from tunebook.runs.status import read_status
from tunebook.runs.store import Run
from tunebook.train.state import TrainState
from tunebook.workflow import timings
from tunebook.workflow.estimate import checkpoint_steps, evaluation_steps, reckon


class TimeLeft:
    """`looked`: seconds that the base's measurements took (held_out_seconds, answer_seconds, retention_seconds)."""

    def __init__(self, run: Run, plan: Plan, steps: int, steps_per_epoch: int, looked: Mapping[str, float]) -> None:
        self.steps, self.minutes = steps, when.parse(plan.evaluation.schedule).minutes
        evaluated = evaluation_steps(plan, steps, steps_per_epoch)
        self.looks_ahead = _ahead(evaluated, steps)
        self.saves_ahead = _ahead(checkpoint_steps(plan, steps, evaluated), steps)
        load = read_status(run).steps.get("load", {}).get("seconds") or 0.0
        weights = loaded_bytes(plan.model.name, run.folder)
        reckoned = reckon(plan, {**looked, "load_seconds": load, "weights_bytes": weights})
        parts = timings.corrected(reckoned, timings.pairs(plan.model.name))
        self.look = parts["evaluations"]  # one of them, until the run has seen its own
        self.after = parts["result"] + parts["export"] + parts["test"]

    def __call__(self, state: TrainState) -> float:
        """Seconds from the end of step `state.step`, before what is due at it, to the end of the run."""
        looking, saving = state.parts.get("validation", 0.0), state.parts.get("checkpoint", 0.0)
        training = (state.seconds - looking - saving) / state.step * (self.steps - state.step)
        looks, saves = self.looks_ahead[state.step - 1], self.saves_ahead[state.step - 1]
        if self.minutes:
            looks = int(training / 60 / self.minutes) + 1
            saves = max(saves, looks)
        look = looking / state.evaluations if state.evaluations else self.look
        saved = self.saves_ahead[0] - self.saves_ahead[state.step - 1]
        return training + looks * look + saves * saving / max(1, saved) + self.after


def _ahead(places: set[int], steps: int) -> list[int]:
    """After each step (0 first), how many of `places` are still to come."""
    found = [0] * (steps + 1)
    for step in range(steps - 1, -1, -1):
        found[step] = found[step + 1] + (step + 1 in places)
    return found
