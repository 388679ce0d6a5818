"""The train step: measure the base, run the loop from where it stands, record what it says."""

from __future__ import annotations

from typing import Any

from tunebook.errors import WorkerLost
from tunebook.plan.rules.types import Gap
from tunebook.plan.schema import Plan
from tunebook.runs.checkpoints import saved_at, steps_saved
from tunebook.train.loop import Job, train
from tunebook.train.stopping import STEP_METRICS, describe
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
    for words in unwatched(plan, held_out=bool(len(context.validation_rows))):
        context.emit("warning", code="rule_not_watched", message=words)
    if context.state.step == 0:
        rehearse_longest(context, job)
        context.state.base_seconds = measure_base(context)
    job.time_left = TimeLeft(context.run, plan, job.steps, job.steps_per_epoch, context.state.base_seconds)
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


def unwatched(plan: Plan, *, held_out: bool) -> list[str]:
    """A sentence for each stopping rule whose numbers this run will not measure."""
    found = []
    for rule in plan.stopping.rules:
        metric = "validation_loss" if isinstance(rule, Gap) else getattr(rule, "metric", None)
        if metric and (why := _unmeasured(metric, plan, held_out)):
            found.append(f"The stopping rule '{describe(rule)}' cannot stop this run: {why}.")
    return found


def _unmeasured(metric: str, plan: Plan, held_out: bool) -> str:
    """Why this run will not measure `metric`; empty when it will."""
    if metric in STEP_METRICS:
        return ""
    if not held_out:
        return "nothing is held out to measure on"
    if metric not in ("validation_loss", *plan.metrics):
        return f"{metric} is not among the metrics of the plan"
    if metric in ("bleu", "response_length") and not plan.evaluation.prompts:
        return "no held-out prompt is answered (evaluation.prompts is 0)"
    return ""


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
