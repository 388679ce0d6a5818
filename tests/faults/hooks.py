"""What is done to a forked process before its command: faults at a chosen place, and records of what it did."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunebook.runs import checkpoints as kept
from tunebook.train import loop
from tunebook.workflow import checkpoints, context, training

HOOKS: dict[str, Callable[..., None]] = {}


def hook(function: Callable[..., None]) -> Callable[..., None]:
    HOOKS[function.__name__] = function
    return function


def after_event(do: Callable[[Any, str, Any], object]) -> None:
    """Call `do(run folder, kind, optimizer step)` right after each event was written."""
    emit = context.Context.emit

    def emitting(self: Any, kind: str, **fields: Any) -> Any:
        event = emit(self, kind, **fields)
        do(self.run.folder, kind, fields.get("step"))
        return event

    context.Context.emit = emitting  # type: ignore[method-assign]


def at_event(kind: str, step: int, do: Callable[[], object]) -> None:
    """Call `do` right after the event of that kind and optimizer step was written."""
    after_event(lambda _, name, at: do() if (name, at) == (kind, step) else None)


@hook
def kill_at(kind: str, step: int, number: int = signal.SIGKILL) -> None:
    """A signal to itself after the event of that kind at that step: SIGKILL ends it there and then."""
    at_event(kind, step, lambda: os.kill(os.getpid(), number))


@hook
def kill_after_removal() -> None:
    """SIGKILL right after the first checkpoint was rotated away."""
    discard = kept._discard

    def killed(place: Any) -> None:
        discard(place)
        os.kill(os.getpid(), signal.SIGKILL)

    kept._discard = killed


@hook
def snapshot(*kinds: str) -> None:
    """After each event of these kinds, copy the run folder to `NAME-KIND-STEP` beside it: as SIGKILL would leave it."""

    def copy(folder: Any, kind: str, step: Any) -> None:
        if kind in kinds:
            shutil.copytree(folder, folder.with_name(f"{folder.name}-{kind}-{step}"))

    after_event(copy)


@hook
def record_rows(path: str) -> None:
    """Append `[step, [[id, token ids], ...]]` for each optimizer step that is taken."""
    step, gradients, taking = loop.optimizer_step, loop._gradients, []

    def recording(job: Any, state: Any, rows: Any, trained: int) -> float:
        if taking:  # and not rehearsing
            with open(path, "a") as file:  # noqa: PTH123
                file.write(json.dumps([state.step + 1, [[row.id, row.ids.tolist()] for row in rows]]) + "\n")
        return gradients(job, state, rows, trained)

    def stepping(job: Any, state: Any) -> dict[str, float]:
        taking.append(state.step)
        try:
            return step(job, state)
        finally:
            taking.clear()

    loop._gradients, loop.optimizer_step = recording, stepping


@hook
def pause_before_save(step: int) -> None:
    """Stop (SIGSTOP) before the save of `step`."""
    _around_save(step, lambda: os.kill(os.getpid(), signal.SIGSTOP), lambda: None)


@hook
def hold_around_save(step: int, before: str, after: str) -> None:
    """Wait before the save of `step`, and after it, until someone has opened and closed the pipe of that path.

    A stop signal would do for one who looks on; a tracer that comes and goes meanwhile loses signals.
    """
    _around_save(step, lambda: Path(before).read_bytes(), lambda: Path(after).read_bytes())


def _around_save(step: int, before: Callable[[], object], after: Callable[[], object]) -> None:
    save = training.save

    def saving(its: Any, state: Any) -> None:
        at = state.step == step
        if at:
            before()
        save(its, state)
        if at:
            after()

    training.save = saving


@hook
def forget_optimizer() -> None:
    """A negative control: go on with fresh moments, as if the optimizer's file had not been read."""
    checkpoints.load_optimizer_tensors = lambda *_: None


@hook
def forget_seed() -> None:
    """A negative control: dropout and noise are drawn from whatever state the generators are in."""
    loop.seed_step = lambda *_: None


@hook
def shift_rows() -> None:
    """A negative control: train on the examples of the step after the one that is due."""
    rows = loop.rows_of_step
    loop.rows_of_step = lambda step, *rest: rows(step + 1, *rest)


@hook
def limit_file_size(kind: str, step: int, size: int) -> None:
    """From that event on, no file may grow beyond `size` bytes: a disk that is full."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    at_event(kind, step, limit)


@hook
def unlimit_file_size(kind: str, step: int) -> None:
    """From that event on the disk has room again."""
    free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    at_event(kind, step, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, free))


@hook
def set_clock_back(at_step: int, seconds: float) -> None:
    """From the end of that optimizer step the clock says `seconds` less."""
    now = time.time

    def back() -> None:
        time.time = lambda: now() - seconds

    at_event("metrics", at_step, back)


@hook
def respect_modes() -> None:
    """Root, too, may no longer write what its mode forbids (it gives up CAP_DAC_OVERRIDE, bit 1)."""
    libc = ctypes.CDLL(None)
    head, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(head, data)
    data[0] &= ~(1 << 1)
    libc.capset(head, data)


@hook
def fail_fsync(first: int, last: int) -> None:
    """From the end of optimizer step `first` to that of `last`, nothing can be synced: the disk has I/O errors."""
    fsync = os.fsync

    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    at_event("metrics", first, lambda: setattr(os, "fsync", failing))
    at_event("metrics", last, lambda: setattr(os, "fsync", fsync))


@hook
def record_syncs(path: str) -> None:
    """Append a line for each file that is synced and each folder that is renamed."""
    fsync, rename = os.fsync, os.rename

    def say(what: str) -> None:
        with open(path, "a") as file:  # noqa: PTH123
            file.write(what + "\n")

    def syncing(handle: int) -> None:
        fsync(handle)
        say(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")

    def renaming(source: Any, target: Any) -> None:
        rename(source, target)
        say(f"rename {Path(target).name}")

    os.fsync, os.rename = syncing, renaming


@hook
def lose_sight(step: int) -> None:
    """The loss of that optimizer step is NaN."""
    gradients = loop._gradients

    def blind(job: Any, state: Any, rows: Any, trained: int) -> float:
        return gradients(job, state, rows, trained) if state.step + 1 != step else float("nan")

    loop._gradients = blind


@hook
def furnish(home: str) -> None:
    """Put the models and data that the matrix's plans name into `home`."""
    from tests.tiny import save_tiny
    from tests.workflow.conftest import write_rows

    save_tiny(Path(home) / "fast")
    save_tiny(Path(home) / "plain", logits_scaling=2.0)  # Llama ignores it; the engine cannot know that
    write_rows(Path(home) / "rows.jsonl")
    write_rows(Path(home) / "held_out.jsonl", 6, first=100)


@hook
def change_weights(folder: str) -> None:
    """Another model of the same shape."""
    from tests.tiny import save_tiny

    save_tiny(Path(folder), seed=5)
