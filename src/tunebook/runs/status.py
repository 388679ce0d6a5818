"""What a run is doing, read from its events and its lock; nothing is asked of the process itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunebook.files import read_json
from tunebook.runs.events import Event, read_events
from tunebook.runs.lock import writer_of
from tunebook.runs.store import Run
from tunebook.steps import STEP_IDS


@dataclass(slots=True)
class Status:
    """A run's state, as `tunebook status --json` prints it. `begun`: has a process ever worked on it?"""

    name: str
    folder: str
    state: str = "waiting"
    reason: str = ""
    begun: bool = False
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    order: tuple[str, ...] = STEP_IDS
    parts: dict[str, float] = field(default_factory=dict)
    optimizer_step: int = 0
    optimizer_steps: int | None = None
    epoch: float = 0.0
    eta_seconds: float | None = None
    last: dict[str, float | None] = field(default_factory=dict)
    losses: dict[int, float | None] = field(default_factory=dict)  # validation loss by the step of its evaluation
    stopping: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: dict[int, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    spent: float = 0.0  # seconds in which a process worked on it
    started: float | None = None
    updated: float | None = None

    @property
    def result_loss(self) -> float | None:
        """Validation loss of the checkpoint that `monitor` chose, before that of the last evaluation."""
        chosen = self.steps.get("monitor", {}).get("evidence", {}).get("checkpoint")
        return self.losses.get(chosen, self.last.get("validation_loss"))

    def to_json(self) -> dict[str, Any]:
        """Plain values with the keys that cli.md promises."""
        waiting = {"state": "waiting", "seconds": None}
        return {
            "name": self.name,
            "folder": self.folder,
            "state": self.state,
            "reason": self.reason,
            "steps": [{"id": step, **self.steps.get(step, waiting)} for step in self.order],
            "parts": self.parts,
            "optimizer_step": self.optimizer_step,
            "optimizer_steps": self.optimizer_steps,
            "epoch": self.epoch,
            "eta_seconds": self.eta_seconds,
            "last": self.last,
            "result_loss": self.result_loss,
            "stopping": self.stopping,
            "checkpoints": [{"step": step, **value} for step, value in sorted(self.checkpoints.items())],
            "warnings": self.warnings,
            "spent": self.spent,
            "started": self.started,
            "updated": self.updated,
        }


def read_status(run: Run) -> Status:
    """Read a run's status; a run whose process is gone without a last word is `killed`."""
    status = Status(run.name, str(run.folder), order=order_of(run))
    for event in read_events(run.events):
        apply(status, event)
    if status.state == "running" and writer_of(run.folder) is None:
        status.state = "killed"
        status.reason = (
            f"Its process is gone without a word. `tunebook resume {run.name}` goes on from its newest good checkpoint."
        )
        for step in status.steps.values():
            if step["state"] == "running":
                step["state"] = "failed"
    return status


def apply(status: Status, event: Event) -> None:
    """Bring `status` up to `event`."""
    kind, time = event.get("kind"), event.get("time")
    if status.state == "running" and status.updated and time and (kind, event.get("state")) != ("run", "started"):
        status.spent += max(0.0, time - status.updated)
    status.updated = time
    status.parts = event.get("parts", status.parts)
    if kind == "run":
        _apply_run(status, event)
    elif kind == "step":
        kept: dict[str, Any] = {"seconds": None}
        kept |= {name: event[name] for name in ("state", "seconds", "reason", "evidence") if name in event}
        status.steps[event["id"]] = kept
    elif kind == "totals":
        status.optimizer_steps = event["optimizer_steps"]
    elif kind == "metrics":
        status.optimizer_step, status.epoch = event["step"], event["epoch"]
        status.eta_seconds = event.get("eta_seconds")
        status.last |= event["values"]
    elif kind == "evaluation":
        status.last |= event["values"]
        status.losses[event["step"]] = event["values"].get("validation_loss")
        status.stopping = event.get("stopping", [])
    elif kind == "checkpoint":
        _apply_checkpoint(status, event)
    elif kind == "warning":
        status.warnings.append(event["message"])


def _apply_run(status: Status, event: Event) -> None:
    state = event["state"]
    if state == "started":
        status.begun, status.state, status.reason, status.steps = True, "running", "", {}
        status.started = status.started or event.get("time")
    elif state == "resumed":
        status.optimizer_step = event["step"]
    else:
        status.state, status.reason, status.eta_seconds = state, event.get("reason", ""), None


def _apply_checkpoint(status: Status, event: Event) -> None:
    if event.get("best") and event["ok"]:
        for value in status.checkpoints.values():
            value["best"] = False
    status.checkpoints[event["step"]] = {"best": bool(event.get("best")), "ok": bool(event["ok"])}
    for step in event.get("removed", []):
        status.checkpoints.pop(step, None)


def order_of(run: Run) -> tuple[str, ...]:
    """The plan's order of steps; the usual one when the plan cannot be read."""
    try:
        return tuple(read_json(run.folder / "run.json").get("order") or STEP_IDS)
    except (OSError, ValueError, AttributeError):
        return STEP_IDS
