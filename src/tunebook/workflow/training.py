"""The train step: measure the base, run the loop from where it stands, record what it says."""

from __future__ import annotations

from typing import Any

from tunebook.errors import WorkerLost
from tunebook.runs.checkpoints import saved_at, steps_saved
from tunebook.train.loop import Job, train
from tunebook.workflow.checkpoints import continue_from_checkpoint, save
from tunebook.workflow.context import Context
from tunebook.workflow.evaluation import evaluate, measure_base
from tunebook.workflow.out_of_memory import rehearse_longest
from tunebook.workflow.prepare import settle_totals
from tunebook.workflow.time_left import TimeLeft


def run_training(context: Context) -> dict[str, Any]:
    """Train to the end of the schedule, a rule or a request. Raises Stopped after saving when asked to stop."""
    plan = context.plan
    settle_totals(context)
    continue_from_checkpoint(context)
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
