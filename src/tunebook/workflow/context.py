"""What the steps of one run share: the run, its plan, its voice (events), and what earlier steps left in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunebook.errors import Stopped
from tunebook.files import write_json
from tunebook.plan.schema import Plan
from tunebook.runs.checkpoints import saved_at
from tunebook.runs.events import Event, EventWriter
from tunebook.runs.stop import StopRequest, read_request
from tunebook.runs.store import Run
from tunebook.workers.group import ALONE, Workers


@dataclass(slots=True)
class Context:
    """`emit` writes an event and tells whoever watches. `stop` is set when a signal or `tunebook stop` asks.

    Of several workers the first alone writes: it has `events`, and `write` does nothing on the others.
    """

    run: Run
    plan: Plan
    events: EventWriter | None
    watchers: list[Callable[[Event], None]] = field(default_factory=list)
    closing: ExitStack = field(default_factory=ExitStack)  # what is to be closed when the run ends, however it ends
    stop: StopRequest | None = None
    workers: Workers = ALONE
    again: bool = False  # an earlier process worked on the run
    # what steps leave in memory for later ones
    tokenizer: Any = None
    model: Any = None
    configured: bool = False  # the plan may set `configure` before `load`
    examples: Any = None
    validation_examples: Any = None  # the same Arrow file unless the plan names a validation file
    train_rows: Any = None
    validation_rows: Any = None
    engine: Any = None
    parameters: dict[str, Any] = field(default_factory=dict)
    optimizer: Any = None
    state: Any = None
    at_once: dict[str, int] = field(default_factory=dict)  # tokens that memory allowed, by what they went through
    best_step: int = 0
    saved_step: int = 0  # the newest checkpoint that is whole

    def emit(self, kind: str, **fields: Any) -> Event:
        """Write one event and show it to the watchers."""
        if self.events is None:
            return {"seq": 0, "kind": kind, **fields}
        event = self.events.emit(kind, **fields)
        self._show(event)
        return event

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A callback that tells how far something slow inside a step has come; it raises Stopped when asked to end.

        Several workers ask each other only between optimizer steps, where all of them do.
        """

        def on_progress(done: int, total: int) -> None:
            if self.workers.alone and self.asked_to_stop():
                raise self.stopped()
            self.tell(what, done, total)

        return on_progress

    def tell(self, what: str, done: int, total: int) -> None:
        """Show progress to the watchers; it is not worth a line in the event file."""
        self._show({"seq": 0, "kind": "progress", "what": what, "done": done, "total": total})

    def _show(self, event: Event) -> None:
        for watch in self.watchers:
            with suppress(OSError):  # a terminal that was closed, a log on a full disk: no reason to end
                watch(event)

    def asked_to_stop(self) -> bool:
        """Has a signal come, or does the run folder hold a request? All workers ask at the same place."""
        if self.stop is None and self.workers.first:
            self.stop = read_request(self.run)
        for asked in self.workers.gather(self.stop):  # whichever worker is asked, all stop after the same step
            self.stop = self.stop or asked
        return self.stop is not None

    def stopped(self) -> Stopped:
        """The error that ends a run that was asked to stop."""
        assert self.stop is not None
        return Stopped(
            f"The run '{self.run.name}' was stopped ({self.stop.who}).",
            kept=saved_at(self.saved_step),
            do=f"Go on with `tunebook resume {self.run.name}`.",
            exit_code=self.stop.exit_code,
        )

    def write(self, value: Any, *parts: str) -> None:
        """Write a JSON file into the run folder."""
        if self.workers.first:
            write_json(self.path(*parts), value)

    def keep(self, value: Any, *parts: str) -> None:
        """`write` for evidence that training can do without: where it fails that is told, and training goes on."""
        try:
            self.write(value, *parts)
        except OSError as error:
            message = f"{'/'.join(parts)} could not be written ({error.strerror or error})."
            self.emit("warning", code="evidence_lost", message=message)

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.run.folder.joinpath(*parts)


@dataclass(frozen=True, slots=True)
class Skip:
    """A step that the plan leaves empty, and why."""

    reason: str
