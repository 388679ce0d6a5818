"""The process that starts all workers of a run, and itself only watches.

It shows the run's events, passes signals on to the first worker, says in one sentence what ended them, and, when asked,
starts all of them again on a fresh rendezvous.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from tunebook.errors import RunError, Stopped
from tunebook.evaluate.report import renew_report
from tunebook.files import read_json
from tunebook.runs.checkpoints import saved_at, steps_saved
from tunebook.runs.events import Event, EventTail, EventWriter
from tunebook.runs.lock import hold_lock, writer_of
from tunebook.runs.status import read_status
from tunebook.runs.store import Run
from tunebook.workers.options import WorkerOptions
from tunebook.workflow.hardware import threads_of_each
from tunebook.workflow.signals import handled_by

_LOOK = 0.2  # seconds between looks at the events
_SOON = 10  # seconds; torchrun waits for 30 before it kills workers that do not end by themselves


def start_and_watch(run: Run, options: WorkerOptions, watchers: list[Callable[[Event], None]]) -> None:
    """Take the run to its end on workers started here. Stopped when they were asked to end, RunError when they fail."""
    for again in range(options.restarts + 1):
        failures, asked = _one_try(run, options, watchers)
        status = read_status(run)
        if status.state == "finished":
            return
        if asked or (status.state == "stopped" and not _killed(failures)):
            raise Stopped(status.reason or f"The run '{run.name}' was stopped.", exit_code=128 + asked if asked else 0)
        if status.state == "failed" and any(failure["code"] == 1 for failure in failures):
            raise RunError(status.reason)  # a fault of its own, which would come again
        sentence = _sentence(run, options, failures)
        with hold_lock(run.folder):
            events = EventWriter(run.events)
            events.emit("run", state="failed", reason=sentence)
            if again < options.restarts:
                message = f"All workers are started again ({again + 1} of {options.restarts})."
                events.emit("warning", code="workers_restarted", message=f"{sentence} {message}")
            renew_report(run.folder)
    raise RunError(sentence)


def _one_try(
    run: Run, options: WorkerOptions, watchers: list[Callable[[Event], None]]
) -> tuple[list[dict[str, Any]], int]:
    """Start all workers and show what they say until they end: (who failed first, the signal that came or 0)."""
    threads = {"OMP_NUM_THREADS": str(threads_of_each(options.workers or 1))}
    with tempfile.TemporaryDirectory() as aside, (run.folder / "run.log").open("ab") as log:
        word = Path(aside) / "word.json"
        inner = ["resume", str(run.folder), *replace(options, restarts=0).arguments()]
        command = [sys.executable, "-P", "-m", "tunebook.workers.agent", str(options.workers), str(word), *inner]
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
            with suppress(OSError):  # whoever watched is gone; the run goes on
                watch(event)


@contextmanager
def _pass_on_signals(run: Run, child: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM goes to the first worker, which stops all after their step; the second ends all."""
    asked: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        owner = writer_of(run.folder)
        if asked or owner is None:
            child.terminate()
        else:
            os.kill(owner.pid, number)
        asked.append(number)

    with handled_by(pass_on):
        yield asked


def _killed(failures: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The worker whose death ended the others, if a signal killed it; torchrun's own signals come later."""
    first = min((failure["time"] for failure in failures), default=0)
    for failure in failures:
        if failure["code"] < 0 and failure["code"] != -signal.SIGTERM and failure["time"] < first + _SOON:
            return failure
    return None


def _sentence(run: Run, options: WorkerOptions, failures: list[dict[str, Any]]) -> str:
    """What ended the workers, what was kept, what to do."""
    said = [failure["message"] for failure in failures if failure["message"]]
    if killed := _killed(failures):
        name = signal.Signals(-killed["code"]).name
        last = (options.workers or 1) - 1
        what = f"Worker {killed['rank']} of 0 to {last} (process {killed['pid']}) was killed by {name}."
    elif said:
        return str(said[0])
    else:
        what = f"The workers ended without a word; {run.folder / 'run.log'} holds what they printed."
    kept = saved_at(max(steps_saved(run.checkpoints), default=0))
    return f"{what} {kept} Go on with `tunebook resume {run.name} --workers {options.workers}`, or another number."
