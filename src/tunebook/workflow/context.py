"""What the steps of one run share: the run, its plan, its voice (events), and what earlier steps left in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunebook.files import write_json
from tunebook.plan.schema import Plan
from tunebook.runs.events import Event, EventWriter
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
    best_step: int = 0

    def emit(self, kind: str, **fields: Any) -> Event:
        """Write one event and show it to the watchers."""
        if self.events is None:
            return {"seq": 0, "kind": kind, **fields}
        event = self.events.emit(kind, **fields)
        for watch in self.watchers:
            watch(event)
        return event

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A callback that tells how far something slow inside a step has come."""
        return lambda done, total: self.tell(what, done, total)

    def tell(self, what: str, done: int, total: int) -> None:
        """Show progress to the watchers; it is not worth a line in the event file."""
        for watch in self.watchers:
            watch({"seq": 0, "kind": "progress", "what": what, "done": done, "total": total})

    def write(self, value: Any, *parts: str) -> None:
        """Write a JSON file into the run folder."""
        if self.workers.first:
            write_json(self.path(*parts), value)

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.run.folder.joinpath(*parts)


@dataclass(slots=True)
class StopRequest:
    """Somebody wants the run to end after the optimizer step under way. `exit_code` as cli.md has it."""

    who: str
    exit_code: int
    save: bool = True


@dataclass(frozen=True, slots=True)
class Skip:
    """A step that the plan leaves empty, and why."""

    reason: str
