"""SIGINT and SIGTERM ask a run to end after its optimizer step; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tunebook.runs.stop import StopRequest
from tunebook.workflow.context import Context


@contextmanager
def listen(context: Context) -> Iterator[None]:
    """Turn signals into `context.stop` for the block."""

    def asked(number: int, _: FrameType | None) -> None:
        if context.stop:
            if context.workers.alone:  # a launcher of workers passes on what the terminal has sent them already
                os._exit(128 + number)
            return
        context.stop = StopRequest(signal.Signals(number).name, 128 + number)
        if context.state is None or context.engine is None:  # nothing is being trained: nothing to finish first
            raise context.stopped()

    if threading.current_thread() is not threading.main_thread():  # Ray Train works in a thread and stops it itself
        yield
        return
    with handled_by(asked):
        yield


@contextmanager
def handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGINT and SIGTERM go to `handler` for the block; SIGHUP is ignored: closing a terminal changes nothing."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    if hasattr(signal, "SIGHUP"):
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
