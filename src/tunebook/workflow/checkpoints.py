"""A run's checkpoints: saved on the way, gone on from, and the one chosen that is the result."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from tunebook.errors import CheckpointError, RunError
from tunebook.files import read_json
from tunebook.runs.checkpoints import damage, newest_good, outlived, recover, remove, steps_saved
from tunebook.train.checkpoint import load_checkpoint, save_checkpoint
from tunebook.train.optim import load_optimizer_tensors, optimizer_tensors
from tunebook.train.state import TrainState
from tunebook.workers.sharding import fill
from tunebook.workflow.context import Context


def save(context: Context, state: TrainState) -> None:
    """Save a checkpoint and rotate older ones away; a save that fails is told, and training goes on.

    Whatever cuts it short, the events know every step that has a checkpoint, and name no checkpoint as kept that is
    not there: they are synced before one is put in place, and again before those that they call removed are.
    """
    if context.stop and not context.stop.save:
        return
    started, folder = time.perf_counter(), context.path("checkpoints")
    weights = context.workers.whole(context.parameters)
    optimizer = context.workers.whole(optimizer_tensors(context.optimizer, context.parameters))
    if not context.workers.first:
        return
    try:
        _sync_events(context)
        size = save_checkpoint(folder, state.step, weights, optimizer, state.to_json())
    except CheckpointError as error:
        context.emit("checkpoint", step=state.step, ok=False, best=False, message=str(error))
        return
    context.saved_step = state.step
    removed = outlived(folder, state.step, context.plan.checkpoints.keep, {best_saved(context)})
    context.emit(
        "checkpoint",
        step=state.step,
        ok=True,
        best=state.best_step == state.step,
        bytes=size,
        seconds=time.perf_counter() - started,
        removed=removed,
    )
    _sync_events(context)
    remove(folder, removed)


def _sync_events(context: Context) -> None:
    if context.events:
        with suppress(OSError):
            context.events.sync()


def continue_from_checkpoint(context: Context) -> None:
    """Restore the newest good checkpoint, if there is one; damaged ones are named and passed over."""
    folder = context.path("checkpoints")
    if context.workers.first:
        recover(folder)
    for step, wrong in context.workers.same(list(newest_good(folder))):
        if wrong:
            context.emit("warning", code="damaged_checkpoint", message=f"Checkpoint {step} is passed over: {wrong}.")
            continue
        saved = load_checkpoint(folder, step)
        fill(context.parameters, saved.weights)
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


def load_weights(context: Context, step: int) -> None:
    """Put the trained weights of the checkpoint of `step` into the model."""
    fill(context.parameters, load_checkpoint(context.path("checkpoints"), step).weights)


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


def best_saved(context: Context) -> int:
    """The best step on held-out data; where its save failed, the best of those that have a checkpoint; 0 for none."""
    saved = steps_saved(context.path("checkpoints"))
    if context.state.best_step in saved:
        return int(context.state.best_step)
    measured = {step: (held_out_file(context, step) or {}).get("loss") for step in saved}
    losses = {step: loss for step, loss in measured.items() if loss is not None}
    return min(losses, key=losses.__getitem__, default=0)


def held_out_file(context: Context, step: int) -> Any:
    """The held-out measurement of `step`, or None where there is none or it is damaged."""
    try:
        return read_json(context.path("evaluation", f"heldout-step-{step}.json"))
    except (OSError, ValueError):
        return None
