"""The worker: takes the runs of the queue one after another until none waits. There is one in a folder for runs.

Each run is a process in a session of its own, as `tunebook run --detach` starts it. Ending the worker therefore ends no
run; the next worker waits for the one under way, goes on with one whose process was killed, and takes the rest.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tunebook.errors import RunError
from tunebook.queue.entries import Entry, entries, home, worker
from tunebook.runs.lock import hold_lock, read_owner
from tunebook.runs.status import Status, read_status

_TO_DO = ("waiting", "killed")


def work(runs: Path, say: Callable[[str], None]) -> list[Status]:
    """Take runs until none waits, each once; returns how they ended. RunError when another worker is at it.

    A run that fails ends only itself. What is added meanwhile is taken, too.
    """
    ended: dict[str, Status] = {}
    with _alone(runs):
        while (entry := _next(runs, set(ended))) is not None:
            name = entry.run.name
            say(f"'{name}' begins{_told(entry)}.")
            _finish(entry)
            ended[name] = read_status(entry.run)
            say(f"'{name}' is {_how(ended[name])}.")
    return list(ended.values())


def start_worker(runs: Path) -> int:
    """Start `tunebook queue run` in a session of its own, its words going to the queue's log; returns its pid."""
    home(runs).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "tunebook", "queue", "run", "--runs", str(runs)]
    with (home(runs) / "queue.log").open("ab") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    return child.pid


def end_worker(runs: Path) -> bool:
    """End the worker, and no run; False when there is none."""
    owner = worker(runs)
    if owner is None:
        return False
    if owner.host != socket.gethostname():
        raise RunError(f"The queue's worker is process {owner.pid} on {owner.host}.", do="End it there.")
    os.kill(owner.pid, signal.SIGTERM)
    return True


def _next(runs: Path, done: set[str]) -> Entry | None:
    """The run to see to now: one under way, else one whose process was killed, else the first that waits."""
    found = [(entry, entry.status().state) for entry in entries(runs) if entry.run.name not in done]
    for wanted in ("running", *reversed(_TO_DO)):
        for entry, state in found:
            if state == wanted and (state != "running" or _is_here(entry)):
                return entry
    return None


def _finish(entry: Entry) -> None:
    """Start the run if nothing works on it, and wait until its process is gone."""
    from tunebook.workflow.start import start_detached

    if read_status(entry.run).state != "running":
        with suppress(FileNotFoundError):  # removed a moment ago
            _wait(start_detached(entry.run))
    elif owner := read_owner(entry.run.folder):
        _wait(owner.pid)


def _wait(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()


def _is_here(entry: Entry) -> bool:
    owner = read_owner(entry.run.folder)
    return owner is not None and owner.host == socket.gethostname()


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    home(runs).mkdir(parents=True, exist_ok=True)
    if owner := worker(runs):
        raise RunError(
            f"Process {owner.pid} on {owner.host} is taking the runs of this queue.",
            kept="Nothing was touched.",
            do="What you add it takes, too; `tunebook queue stop` ends it.",
        )
    with hold_lock(home(runs)):
        yield


def _told(entry: Entry) -> str:
    values = ", ".join(f"{path} {value}" for path, value in entry.values.items())
    return f" with {values}" if values else ""


def _how(status: Status) -> str:
    if status.state == "finished":
        loss = status.result_loss
        return "finished" + (f", validation loss {loss:.4f}" if loss is not None else "")
    if not status.begun:
        return f"not begun; {status.folder}/run.log says why"
    return f"{status.state}. {status.reason}".removesuffix(".")
