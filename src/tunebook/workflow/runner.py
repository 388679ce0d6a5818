"""Walks the ten steps in the plan's order. Every step's start, end, time and evidence is an event."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tunebook.errors import RunError, Stopped, TunebookError
from tunebook.evaluate.report import renew_report
from tunebook.runs.checkpoints import saved_at
from tunebook.runs.events import Event, EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.status import read_status
from tunebook.runs.stop import drop_request
from tunebook.runs.store import Run
from tunebook.workers.group import ALONE, Workers
from tunebook.workflow import finish, prepare, training
from tunebook.workflow.context import Context, Skip
from tunebook.workflow.inputs import check_settings
from tunebook.workflow.signals import listen
from tunebook.workflow.timings import remember_run

STEP_FUNCTIONS: Mapping[str, Callable[[Context], dict[str, Any] | Skip]] = {
    "initialize": prepare.initialize,
    "validate": prepare.validate,
    "split": prepare.split,
    "load": prepare.load,
    "configure": prepare.configure,
    "logging": prepare.logging,
    "train": training.run_training,
    "monitor": finish.monitor,
    "export": finish.export,
    "deploy": finish.deploy,
}

ALONE_STEPS = ("export", "deploy")  # what the first worker does by itself, while the others are done


def run_steps(run: Run, watchers: list[Callable[[Event], None]] | None = None, workers: Workers = ALONE) -> None:
    """Take the run through its ten steps, from its newest checkpoint if it has one.

    Raises what ended it: Stopped after saving, or the TunebookError of the step that failed; both are events first.
    """
    if workers.first:
        try:
            _lead(run, list(watchers or []), workers)
        except BaseException as error:
            workers.report(error)
            raise
    else:
        _follow(run, workers)


def _follow(run: Run, workers: Workers) -> None:
    """A further worker's part: the same steps, nothing written. What ends it reaches the first worker's events."""
    context = Context(run, run.plan(), None, workers=workers)
    try:
        with listen(context):
            for step in context.plan.workflow.order:
                if step not in ALONE_STEPS:
                    STEP_FUNCTIONS[step](context)
    except BaseException as error:
        workers.report(error)
        raise


def _lead(run: Run, watchers: list[Callable[[Event], None]], workers: Workers) -> None:
    """The whole of a run with one worker, the first worker's part with several."""
    with hold_lock(run.folder) as dead:
        drop_request(run)
        again = run.events.exists() and read_status(run).begun
        context = Context(run, run.plan(), EventWriter(run.events), watchers, workers=workers, again=again)
        context.emit("run", state="started", again=again, reason="")
        if dead:
            message = f"The lock of process {dead.pid} on {dead.host}, which is gone, was taken over."
            context.emit("warning", code="lock_taken_over", message=message)
        try:
            check_settings(context)
            with listen(context), context.closing:
                for step in context.plan.workflow.order:
                    _run_step(context, step)
        except Stopped as error:
            _end(context, "stopped", str(error))
            raise
        except TunebookError as error:
            _end(context, "failed", str(error))
            raise
        except OSError as error:
            failed = _could_not_go_on(context, error)
            _end(context, "failed", str(failed))
            raise failed from error
        except BaseException as error:
            _end(context, "failed", f"Tunebook met a fault of its own: {type(error).__name__}: {error}")
            raise
        _end(context, "finished")
        if workers.alone:  # how long steps take on several says nothing about one
            remember_run(run)


def _could_not_go_on(context: Context, error: OSError) -> RunError:
    place = f": {error.filename}" if error.filename else ""
    return RunError(
        f"The run '{context.run.name}' could not go on ({error.strerror or error}{place}).",
        kept=saved_at(context.saved_step),
        do=f"Mend that, then go on with `tunebook resume {context.run.name}`.",
    )


def _end(context: Context, state: str, reason: str = "") -> None:
    """Tell how the run ended, in its events and in a report that was written before."""
    context.emit("run", state=state, reason=reason)
    renew_report(context.run.folder)


def _run_step(context: Context, step: str) -> None:
    """Run one step and say how it went."""
    if context.workers.alone and context.asked_to_stop():
        raise context.stopped()
    context.emit("step", id=step, state="running")
    started = time.perf_counter()
    try:
        done = STEP_FUNCTIONS[step](context)
    except BaseException as error:
        state = "waiting" if isinstance(error, Stopped) else "failed"
        context.emit("step", id=step, state=state, seconds=time.perf_counter() - started, reason=str(error))
        raise
    seconds = time.perf_counter() - started
    if isinstance(done, Skip):
        context.emit("step", id=step, state="skipped", seconds=seconds, reason=done.reason)
    else:
        context.emit("step", id=step, state="done", seconds=seconds, evidence=done)
