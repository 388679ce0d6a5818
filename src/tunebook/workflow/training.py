"""The train step: measure the base, run the loop from where it stands, record what it says."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from tunebook.errors import CheckpointError, RunError, WorkerLost
from tunebook.files import read_json
from tunebook.runs.checkpoints import damage, newest_good, recover, rotate, saved_at, steps_saved
from tunebook.train.checkpoint import load_checkpoint, save_checkpoint
from tunebook.train.loop import Job, train
from tunebook.train.optim import load_optimizer_tensors, optimizer_tensors
from tunebook.train.state import TrainState
from tunebook.workers.sharding import fill
from tunebook.workflow.context import Context
from tunebook.workflow.evaluation import evaluate, measure_base
from tunebook.workflow.out_of_memory import rehearse_longest
from tunebook.workflow.prepare import settle_totals
from tunebook.workflow.time_left import TimeLeft


def run_training(context: Context) -> dict[str, Any]:
    """Train to the end of the schedule, a rule or a request. Raises Stopped after saving when asked to stop."""
    plan = context.plan
    settle_totals(context)
    _continue_from_checkpoint(context)
    job = Job(
        plan=plan,
        engine=context.engine,
        parameters=context.parameters,
        optimizer=context.optimizer,
        examples=context.examples,
        rows=context.train_rows,
        emit=context.emit,
        evaluate=lambda state: evaluate(context, state.step),
        save=lambda state: save(context, state),
        asked_to_stop=context.asked_to_stop,
        workers=context.workers,
    )
    looked: dict[str, float] = {}
    if context.state.step == 0:
        rehearse_longest(context, job)
        looked = measure_base(context)
    job.time_left = TimeLeft(context.run, plan, job.steps, job.steps_per_epoch, looked)
    try:
        reason = train(job, context.state)
    except WorkerLost as error:
        raise _saved_after_loss(context, error) from error
    if context.asked_to_stop():
        raise context.stopped()
    context.best_step = context.state.best_step or context.state.step
    context.emit("log", message=f"Training ended: {reason}.")
    return {
        "ended": reason,
        "optimizer_steps": context.state.step,
        "best_step": context.best_step,
        "trained_tokens": context.state.trained_tokens,
        "seconds": round(context.state.seconds, 1),
    }


def save(context: Context, state: TrainState) -> None:
    """Save a checkpoint and rotate older ones away; a save that fails is told, and training goes on.

    Events are synced first: after a power cut there is no checkpoint of steps that the events do not know.
    """
    if context.stop and not context.stop.save:
        return
    started, folder = time.perf_counter(), context.path("checkpoints")
    weights = context.workers.whole(context.parameters)
    optimizer = context.workers.whole(optimizer_tensors(context.optimizer, context.parameters))
    if not context.workers.first:
        return
    try:
        if context.events:
            with suppress(OSError):
                context.events.sync()
        size = save_checkpoint(folder, state.step, weights, optimizer, state.to_json())
    except CheckpointError as error:
        context.emit("checkpoint", step=state.step, ok=False, best=False, message=str(error))
        return
    context.saved_step = state.step
    removed = rotate(folder, context.plan.checkpoints.keep, {best_saved(context)})
    context.emit(
        "checkpoint",
        step=state.step,
        ok=True,
        best=state.best_step == state.step,
        bytes=size,
        seconds=time.perf_counter() - started,
        removed=removed,
    )


def best_saved(context: Context) -> int:
    """The best step on held-out data; where its save failed, the best of those that have a checkpoint; 0 for none."""
    saved = steps_saved(context.path("checkpoints"))
    if context.state.best_step in saved:
        return int(context.state.best_step)
    measured = {step: (held_out_file(context, step) or {}).get("loss") for step in saved}
    losses = {step: loss for step, loss in measured.items() if loss is not None}
    return min(losses, key=losses.__getitem__, default=0)


def load_weights(context: Context, step: int) -> None:
    """Put the trained weights of the checkpoint of `step` into the model."""
    fill(context.parameters, load_checkpoint(context.path("checkpoints"), step).weights)


def _saved_after_loss(context: Context, error: WorkerLost) -> WorkerLost:
    """`error`, with what was kept: the last whole optimizer step is saved where this worker holds all of it.

    Lost in the middle of an evaluation: the state owes it, and the next try measures again.
    """
    workers, step, folder = context.workers, context.state.step, context.path("checkpoints")
    if workers.first and not workers.sharded and step and step not in steps_saved(folder):
        save(context, context.state)
    return WorkerLost(
        error.what,
        kept=saved_at(max(steps_saved(folder), default=0)),
        do=f"Go on with `tunebook resume {context.run.name}` on any number of workers.",
    )


def _continue_from_checkpoint(context: Context) -> None:
    """Restore the newest good checkpoint, if there is one; damaged ones are named and passed over."""
    folder = context.path("checkpoints")
    if context.workers.first:
        recover(folder)
    for step, wrong in context.workers.same(list(newest_good(folder))):
        if wrong:
            context.emit("warning", code="damaged_checkpoint", message=f"Checkpoint {step} is passed over: {wrong}.")
            continue
        saved = load_checkpoint(folder, step)
        load_weights(context, step)
        load_optimizer_tensors(context.optimizer, context.parameters, saved.optimizer)
        context.state, context.saved_step = TrainState.from_json(saved.state), step
        best = context.state.best_step
        if best and best != step and damage(folder, best):
            message = f"The best checkpoint ({best}) is damaged or gone; the best of what follows is taken."
            context.emit("warning", code="best_lost", message=message)
            context.state.best_step = context.state.best_loss = None
        context.emit("run", state="resumed", step=step, reason="")
        return
    if context.again:
        context.emit("run", state="resumed", step=0, reason="no good checkpoint was found")


def best_checkpoint(context: Context) -> int:
    """The step whose weights are the run's result: the best on held-out data where the plan keeps it, else the last."""
    saved = steps_saved(context.path("checkpoints"))
    wanted = [context.best_step, best_saved(context)] if context.plan.stopping.keep_best else [context.state.step]
    for step in [*wanted, *saved]:
        if step in saved and not damage(context.path("checkpoints"), step):
            return step
    raise RunError(
        f"The run '{context.run.name}' has no good checkpoint to take its result from.",
        do="Free space in the run's folder and run it again.",
    )


def held_out_file(context: Context, step: int) -> Any:
    """The held-out measurement of `step`, or None where there is none or it is damaged."""
    try:
        return read_json(context.path("evaluation", f"heldout-step-{step}.json"))
    except (OSError, ValueError):
        return None
