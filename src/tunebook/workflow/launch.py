"""A run on several workers: started here through torchrun, or joined where a launcher has started them.

The command that starts workers only watches: it shows the run's events, passes signals on to the first worker, says in
one sentence what ended them, and, when asked, starts all of them again on a fresh rendezvous.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tunebook.errors import RunError, Stopped
from tunebook.files import read_json
from tunebook.runs.checkpoints import steps_saved
from tunebook.runs.events import Event, EventTail, EventWriter
from tunebook.runs.lock import hold_lock, read_owner
from tunebook.runs.status import read_status
from tunebook.runs.store import Run
from tunebook.workers.group import ALONE, Workers
from tunebook.workers.place import find_place
from tunebook.workflow.hardware import threads_of_each

_LOOK = 0.2  # seconds between looks at the events
_SOON = 10  # seconds; torchrun waits for 30 before it kills workers that do not end by themselves


@dataclass(frozen=True, slots=True)
class Crew:
    """How many workers were asked for (None: whatever there is), and how they work together."""

    workers: int | None = None
    sharded: bool = False
    restarts: int = 0
    patience: float = 600.0

    @property
    def starts_workers(self) -> bool:
        """Is this process the one that starts them?"""
        return (self.workers or 1) > 1 and find_place(os.environ) is None

    def words(self) -> list[str]:
        """The options that say the same to another process."""
        count = ["--workers", str(self.workers)] if self.workers else []
        restarts = ["--restarts", str(self.restarts)] if self.restarts else []
        return [*count, *(["--sharded"] if self.sharded else []), *restarts, "--patience", f"{self.patience:g}"]


def join(crew: Crew) -> Workers:
    """The workers that a launcher started together with this process; ALONE without one. RunError: not as asked."""
    if crew.starts_workers or (find_place(os.environ) is None and not crew.workers):
        return ALONE
    from tunebook.workers.meet import meet

    return meet(crew.workers, sharded=crew.sharded, patience=crew.patience)


def made_by_first(workers: Workers, make: Callable[[], Run]) -> Run:
    """The run that the first worker makes, on all of them. RunError where its folder cannot be seen."""
    run = None
    try:
        with workers.first_goes_first("run"):
            run = make() if workers.first else None
    except BaseException as error:
        workers.report(error)
        raise
    folder = workers.same(run.folder if run else Path())
    if not (folder / "run.json").exists():
        raise RunError(
            f"Worker {workers.rank} of 0 to {workers.world - 1} does not see the run folder {folder}.",
            do="Put --runs, and the cache (TUNEBOOK_CACHE), on a disk that all machines share.",
        )
    return Run(folder)


def work(run: Run, crew: Crew, workers: Workers, watchers: list[Callable[[Event], None]]) -> None:
    """Take `run` through its steps, on the workers asked for. Raises what ended it."""
    if crew.starts_workers:
        _start_and_watch(run, crew, watchers)
        return
    from tunebook.workers.meet import part
    from tunebook.workflow.runner import run_steps

    run_steps(run, watchers if workers.first else None, workers)
    part(workers)


def _start_and_watch(run: Run, crew: Crew, watchers: list[Callable[[Event], None]]) -> None:
    for again in range(crew.restarts + 1):
        failures, asked = _one_try(run, crew, watchers)
        status = read_status(run)
        if status.state == "finished":
            return
        if asked or (status.state == "stopped" and not _killed(failures)):
            raise Stopped(status.reason or f"The run '{run.name}' was stopped.", exit_code=128 + asked if asked else 0)
        if status.state == "failed" and any(failure["code"] == 1 for failure in failures):
            raise RunError(status.reason)  # a fault of its own, which would come again
        sentence = _sentence(run, crew, failures)
        with hold_lock(run.folder):
            events = EventWriter(run.events)
            events.emit("run", state="failed", reason=sentence)
            if again < crew.restarts:
                message = f"All workers are started again ({again + 1} of {crew.restarts})."
                events.emit("warning", code="workers_restarted", message=f"{sentence} {message}")
    raise RunError(sentence)


def _one_try(run: Run, crew: Crew, watchers: list[Callable[[Event], None]]) -> tuple[list[dict[str, Any]], int]:
    """Start all workers and show what they say until they end: (who failed first, the signal that came or 0)."""
    threads = {"OMP_NUM_THREADS": str(threads_of_each(crew.workers or 1))}
    with tempfile.TemporaryDirectory() as aside, (run.folder / "run.log").open("ab") as log:
        word = Path(aside) / "word.json"
        inner = ["resume", str(run.folder), *Crew(crew.workers, crew.sharded, 0, crew.patience).words()]
        command = [sys.executable, "-m", "tunebook.workers.agent", str(crew.workers), str(word), *inner]
        tail = EventTail(run.events)
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the terminal comes here alone
            env={**threads, **os.environ},
        )
        with _pass_on_signals(run, child) as asked:
            while child.poll() is None:
                time.sleep(_LOOK)
                _show(tail, watchers)
        _show(tail, watchers)
        return (read_json(word) if word.exists() else []), (asked[0] if asked else 0)


def _show(tail: EventTail, watchers: list[Callable[[Event], None]]) -> None:
    for event in tail.new():
        for watch in watchers:
            watch(event)


@contextmanager
def _pass_on_signals(run: Run, child: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM goes to the first worker, which stops all after their step; the second ends all."""
    asked: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        owner = read_owner(run.folder)
        if asked or owner is None or not owner.alive():
            child.terminate()
        else:
            os.kill(owner.pid, number)
        asked.append(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    if hasattr(signal, "SIGHUP"):
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _killed(failures: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The worker whose death ended the others, if a signal killed it; torchrun's own signals come later."""
    first = min((failure["time"] for failure in failures), default=0)
    for failure in failures:
        if failure["code"] < 0 and failure["code"] != -signal.SIGTERM and failure["time"] < first + _SOON:
            return failure
    return None


def _sentence(run: Run, crew: Crew, failures: list[dict[str, Any]]) -> str:
    """What ended the workers, what was kept, what to do."""
    said = [failure["message"] for failure in failures if failure["message"]]
    if killed := _killed(failures):
        name = signal.Signals(-killed["code"]).name
        last = (crew.workers or 1) - 1
        what = f"Worker {killed['rank']} of 0 to {last} (process {killed['pid']}) was killed by {name}."
    elif said:
        return str(said[0])
    else:
        what = f"The workers ended without a word; {run.folder / 'run.log'} holds what they printed."
    saved = steps_saved(run.checkpoints)
    kept = f"It is saved at optimizer step {saved[0]}." if saved else "No optimizer step was saved yet."
    return f"{what} {kept} Go on with `tunebook resume {run.name} --workers {crew.workers}`, or another number."
