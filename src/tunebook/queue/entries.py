"""The queue: runs that wait for their turn, in the order in which they came.

A run is in the queue by a file in its own folder and by nothing else, so that no list can disagree with the runs:

    runs/lr-1/queued.json   {"format": 1, "added": 1763800000.1, "sweep": "lr", "set": {"lora.rank": "16"}}

`runs/.queue/` holds the worker's lock and its log.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunebook.errors import RunError
from tunebook.files import read_json, write_json
from tunebook.plan.schema import Plan
from tunebook.runs.lock import Owner, hold_lock, writer_of
from tunebook.runs.status import Status, read_status
from tunebook.runs.store import Run, list_runs, open_run, remove_run

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the queue. `sweep` names the sweep that made it, `values` what that sweep set, by path."""

    run: Run
    added: float
    sweep: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    def status(self) -> Status:
        """How far the run is; it counts as waiting until a process has begun it."""
        return read_status(self.run)


def entries(runs: Path) -> list[Entry]:
    """Every run that was put into the queue, the first added first, whatever has become of it."""
    found = [entry for run in list_runs(runs) if (entry := read_entry(run))]
    return sorted(found, key=lambda entry: (entry.added, entry.run.name))


def read_entry(run: Run) -> Entry | None:
    """The run's place in the queue; None when it has none, or its file is damaged."""
    try:
        value = read_json(run.folder / "queued.json")
        return Entry(run, float(value["added"]), str(value["sweep"]), dict(value["set"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def add_runs(plans: Sequence[Plan], name: str | None, runs: Path) -> list[Run]:
    """Check each plan as `tunebook run` does, make its run folder and put it at the end of the queue: all or none.

    `name` is for one plan. When one cannot be queued, a run that a worker has begun meanwhile stays.
    """
    from tunebook.workflow.start import prepare_run

    made: list[Run] = []
    try:
        for plan in plans:
            made.append(prepare_run(plan, name, runs))
        for run in made:
            enqueue(run)
    except BaseException:
        for run in reversed(made):  # those that no worker knows of go first, and make room on a full disk
            take_back(run)
        raise
    return made


def take_back(run: Run) -> None:
    """Remove a run that was just made, unless a worker has taken it meanwhile."""
    with suppress(RunError), hold_lock(run.folder):
        if not read_status(run).begun:
            remove_run(run)


def enqueue(run: Run, sweep: str = "", values: Mapping[str, str] | None = None) -> None:
    """Put a run that was made, and not begun, at the end of the queue."""
    last = max((entry.added for entry in entries(run.folder.parent)), default=0.0)
    added = max(time.time(), last + 0.001)  # a clock that was set back changes no order
    value = {"format": FORMAT, "added": added, "sweep": sweep, "set": dict(values or {})}
    write_json(run.folder / "queued.json", value)


def dequeue(names: Sequence[str], runs: Path) -> dict[str, bool]:
    """Take runs out of the queue. One that nothing has begun goes whole (True); one that was begun stays a run (False).

    RunError when one is not in the queue, or a process is working on it; then none was touched.
    """
    found = {run.folder: run for run in (open_run(name, runs) for name in names)}.values()
    for run in found:
        if read_entry(run) is None:
            raise RunError(f"The run '{run.name}' is not in the queue.", kept="Nothing was touched.")
    gone = {}
    with ExitStack() as locks:
        for run in found:
            locks.enter_context(hold_lock(run.folder))
        for run in found:
            gone[run.name] = not read_status(run).begun
            if gone[run.name]:
                remove_run(run)
            else:
                (run.folder / "queued.json").unlink()
    return gone


def home(runs: Path) -> Path:
    """Where the worker's lock and log are."""
    return runs / ".queue"


def worker(runs: Path) -> Owner | None:
    """The process that takes runs from the queue now, if there is one."""
    return writer_of(home(runs))


def row(entry: Entry, status: Status) -> dict[str, Any]:
    """One run of the queue as `tunebook queue list --json` prints it."""
    keys = ("name", "state", "reason", "optimizer_step", "optimizer_steps", "eta_seconds")
    more = {"validation_loss": status.result_loss, "added": entry.added}
    return {key: getattr(status, key) for key in keys} | more | {"sweep": entry.sweep, "set": dict(entry.values)}
