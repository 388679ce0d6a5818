"""One writer per run folder: a lock held by the system, with its owner's pid, start time and host to read."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tunebook.errors import RunError


@dataclass(frozen=True, slots=True)
class Owner:
    """Who writes to a run; `started` (seconds since the machine's start) tells it from a later process of that pid.

    Not since 1970: a clock that is set anew would make a living process a dead one.
    """

    pid: int
    started: float
    host: str

    def alive(self) -> bool:
        """Is that very process still there, on this host?"""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(_started(process) - self.started) < 2 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def this_process() -> Owner:
    """The owner that this process would be."""
    return Owner(os.getpid(), _started(psutil.Process()), socket.gethostname())


def _started(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()


def read_owner(folder: Path) -> Owner | None:
    """Who last took the lock of `folder`; None when nobody did or the file is damaged."""
    try:
        value = json.loads((folder / "lock.json").read_text())
        return Owner(int(value["pid"]), float(value["started"]), str(value["host"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def writer_of(folder: Path) -> Owner | None:
    """The process that writes to `folder` now, None when nobody does.

    Of one on another host the system's lock tells: it may be a container of before, whose name is gone with it.
    """
    owner = read_owner(folder)
    if owner is None or owner.alive():
        return owner
    return owner if owner.host != socket.gethostname() and _is_locked(folder) else None


def _is_locked(folder: Path) -> bool:
    try:
        with folder.joinpath("lock.json").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


@contextmanager
def hold_lock(folder: Path) -> Iterator[Owner | None]:
    """Hold the run's lock; yields the dead owner it was taken over from, if any. RunError when a live one has it."""
    try:
        file = folder.joinpath("lock.json").open("a+")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with file:
        before = read_owner(folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            who = f"process {before.pid} on {before.host}" if before else "another process"
            raise RunError(
                f"The run '{folder.name}' is being written by {who}.",
                kept="Nothing was touched.",
                do=f"Watch it with `tunebook status {folder.name}`, or end it with `tunebook stop {folder.name}`.",
            ) from error
        owner = this_process()
        try:
            file.truncate(0)
            file.write(json.dumps({"pid": owner.pid, "started": owner.started, "host": owner.host}))
            file.flush()
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            yield before
        finally:
            file.truncate(0)


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"The run folder {folder} cannot be written ({error.strerror}).",
        kept="Nothing was touched.",
        do="Free space or make it writable, or copy it to where it is.",
    )
