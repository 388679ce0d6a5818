"""The train step: measure the base, run the loop from where it stands, record what it says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tunebook.errors import CheckpointError, RunError, WorkerLost
from tunebook.evaluate.generate import Answer, generate
from tunebook.evaluate.heldout import HeldOut, held_out_loss
from tunebook.evaluate.retention import Probes, Question, Retention, load_probes, measure_retention
from tunebook.evaluate.scores import corpus_scores
from tunebook.files import read_json
from tunebook.train.checkpoint import damage, load_checkpoint, newest_good, rotate, save_checkpoint, steps_saved
from tunebook.train.loop import EVALUATION, Job, train
from tunebook.train.optim import load_optimizer_tensors, optimizer_tensors
from tunebook.train.state import TrainState
from tunebook.workers.sharding import fill
from tunebook.workflow.context import Context
from tunebook.workflow.prepare import settle_totals
from tunebook.workflow.signals import asked_to_stop, stopped
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
        asked_to_stop=lambda: asked_to_stop(context),
        workers=context.workers,
    )
    looked = {} if context.state.step else _measure_base(context)
    job.time_left = TimeLeft(context.run, plan, job.steps, job.steps_per_epoch, looked)
    try:
        reason = train(job, context.state)
    except WorkerLost as error:
        raise _saved_after_loss(context, error) from error
    if asked_to_stop(context):
        raise stopped(context)
    context.best_step = context.state.best_step or context.state.step
    context.emit("log", message=f"Training ended: {reason}.")
    return {
        "ended": reason,
        "optimizer_steps": context.state.step,
        "best_step": context.best_step,
        "trained_tokens": context.state.trained_tokens,
        "seconds": round(context.state.seconds, 1),
    }


def evaluate(context: Context, step: int) -> dict[str, float]:
    """Held-out loss, and answers where a chosen metric needs them; files go to `evaluation/` and `samples/`."""
    values = _held_out(context, step)
    if {"bleu", "response_length"} & set(context.plan.metrics):
        values |= answer_prompts(context, step)
    return values


def _held_out(context: Context, step: int) -> dict[str, float]:
    """Measure held-out loss as the model stands and write it down; nothing where nothing is held out."""
    values: dict[str, float] = {}
    if len(context.validation_rows):
        held_out = measure_held_out(context)
        name = "heldout-base.json" if step == 0 else f"heldout-step-{step}.json"
        context.write(held_out.to_json(step), "evaluation", name)
        values["validation_loss"] = held_out.loss
        if "perplexity" in context.plan.metrics:
            values["perplexity"] = held_out.perplexity
    return values


def measure_held_out(context: Context) -> HeldOut:
    """Held-out loss as the model stands; each worker reads its share of the examples."""

    def read(rows: Sequence[int]) -> Sequence[tuple[str, float, int]]:
        tell = context.progress("held-out loss")
        tokens = context.state.micro_batch_tokens
        return held_out_loss(context.engine, context.validation_examples, rows, tokens, tell).per_example

    rows = [int(row) for row in context.validation_rows]
    return HeldOut.of(context.workers.share(rows, context.validation_examples.lengths[rows].tolist(), read))


def answer_prompts(context: Context, step: int) -> dict[str, float]:
    """Answer the held-out prompts as the model stands, write them down, and score them where the plan asks."""
    plan = context.plan
    rows = context.validation_rows[: plan.evaluation.prompts]
    if not len(rows):
        return {}
    examples = [context.validation_examples[int(row)] for row in rows]
    prompts = [[int(token) for token in example.ids[: example.prompt_length]] for example in examples]

    def answer(mine: Sequence[list[int]]) -> list[Answer]:
        return generate(
            context.model,
            context.tokenizer,
            mine,
            max_new_tokens=plan.evaluation.max_new_tokens,
            on_progress=context.progress("answers to held-out prompts"),
        )

    answers = context.workers.share(prompts, [1] * len(prompts), answer)  # how long answers get is not known
    kept = [
        {
            "id": example.id,
            "prompt": context.tokenizer.decode(prompt, skip_special_tokens=False),
            "prompt_ids": prompt,
            "reference": example.reference,
            "answer": answer.text,
            "tokens": len(answer.ids),
            "ended": answer.ended,
        }
        for example, prompt, answer in zip(examples, prompts, answers, strict=True)
    ]
    path = f"samples/step-{step}.json"
    context.write({"format": 1, "step": step, "answers": kept}, path)
    context.emit("samples", step=step, path=path)
    values: dict[str, float] = {}
    if "response_length" in plan.metrics:
        values["response_length"] = sum(len(answer.ids) for answer in answers) / len(answers)
        values["response_ended"] = sum(answer.ended for answer in answers) / len(answers)
    if "bleu" in plan.metrics:
        values |= corpus_scores([answer.text for answer in answers], [example.reference for example in examples])
    return values


def save(context: Context, state: TrainState) -> None:
    """Save a checkpoint and rotate older ones away; a save that fails is told, and training goes on."""
    if context.stop and not context.stop.save:
        return
    started, folder = time.perf_counter(), context.path("checkpoints")
    weights = context.workers.whole(context.parameters)
    optimizer = context.workers.whole(optimizer_tensors(context.optimizer, context.parameters))
    if not context.workers.first:
        return
    try:
        size = save_checkpoint(folder, state.step, weights, optimizer, state.to_json())
    except CheckpointError as error:
        context.emit("checkpoint", step=state.step, ok=False, best=False, message=str(error))
        return
    best = state.best_step
    removed = rotate(folder, context.plan.checkpoints.keep, {best} if best else set())
    context.emit(
        "checkpoint",
        step=state.step,
        ok=True,
        best=best == state.step,
        bytes=size,
        seconds=time.perf_counter() - started,
        removed=removed,
    )


def load_weights(context: Context, step: int) -> None:
    """Put the trained weights of the checkpoint of `step` into the model."""
    fill(context.parameters, load_checkpoint(context.path("checkpoints"), step).weights)


def measure_retention_of(context: Context, name: str) -> None:
    """Measure general ability as the model stands and write `evaluation/retention-<name>.json`."""
    if not context.plan.evaluation.retention:
        return
    probes, tell = load_probes(), context.progress("general ability")

    def ask(mine: Sequence[Question | str]) -> list[tuple[float, float]]:
        questions = tuple(each for each in mine if isinstance(each, Question))
        prose = tuple(each for each in mine if isinstance(each, str))
        part = measure_retention(context.model, context.tokenizer, Probes(questions, prose), tell)
        return [*zip(part.correct, part.weight, strict=True), *part.prose]

    items: list[Question | str] = [*probes.questions, *probes.prose]
    letters = [len(each) if isinstance(each, str) else len(each.query + "".join(each.choices)) for each in items]
    measured = context.workers.share(items, letters, ask)
    answers, prose = measured[: len(probes.questions)], measured[len(probes.questions) :]
    found = Retention(
        tuple(bool(correct) for correct, _ in answers),
        tuple(weight for _, weight in answers),
        tuple((nats, int(tokens)) for nats, tokens in prose),
    )
    if context.plan.evaluation.tasks:
        from tunebook.evaluate.harness import measure_tasks

        asked = context.plan.evaluation
        found = replace(found, tasks=measure_tasks(context.model, context.tokenizer, asked.tasks, asked.task_limit))
    context.write(found.to_json(), "evaluation", f"retention-{name}.json")


def _measure_base(context: Context) -> dict[str, float]:
    """What the base answers and loses on held-out data, and in how many seconds each.

    LoRA begins as the base, so the model in memory is it.
    """
    context.engine.model.eval()
    clock = [time.perf_counter()]
    values = _held_out(context, 0)
    clock.append(time.perf_counter())
    values |= answer_prompts(context, 0)
    clock.append(time.perf_counter())
    context.emit("evaluation", step=0, epoch=0.0, minutes=0.0, seen_tokens=0, values=values, best=False, stopping=[])
    measure_retention_of(context, "base")
    clock.append(time.perf_counter())
    names = ("held_out_seconds", "answer_seconds", "retention_seconds")
    return {name: after - before for name, before, after in zip(names, clock, clock[1:], strict=False)}


def _saved_after_loss(context: Context, error: WorkerLost) -> WorkerLost:
    """`error`, with what was kept: the last whole optimizer step is saved where this worker holds all of it."""
    workers, step, folder = context.workers, context.state.step, context.path("checkpoints")
    whole = workers.doing != EVALUATION  # what was lost in mid-evaluation is done again from the checkpoint before
    if workers.first and not workers.sharded and whole and step and step not in steps_saved(folder):
        save(context, context.state)
    saved = steps_saved(folder)
    kept = f"It is saved at optimizer step {saved[0]}." if saved else "No optimizer step was saved yet."
    return WorkerLost(
        error.what, kept=kept, do=f"Go on with `tunebook resume {context.run.name}` on any number of workers."
    )


def _continue_from_checkpoint(context: Context) -> None:
    """Restore the newest good checkpoint, if there is one; damaged ones are named and passed over."""
    folder = context.path("checkpoints")
    if not context.workers.same(steps_saved(folder)):
        return
    for step, wrong in context.workers.same(list(newest_good(folder))):
        if wrong:
            context.emit("warning", code="damaged_checkpoint", message=f"Checkpoint {step} is passed over: {wrong}.")
            continue
        saved = load_checkpoint(folder, step)
        load_weights(context, step)
        load_optimizer_tensors(context.optimizer, context.parameters, saved.optimizer)
        context.state = TrainState.from_json(saved.state)
        best = context.state.best_step
        if best and best != step and damage(folder, best):
            message = f"The best checkpoint ({best}) is damaged or gone; the best of what follows is taken."
            context.emit("warning", code="best_lost", message=message)
            context.state.best_step = context.state.best_loss = None
        context.emit("run", state="resumed", step=step, reason="")
        return
    context.emit("run", state="resumed", step=0, reason="no good checkpoint was found")


def best_checkpoint(context: Context) -> int:
    """The step whose weights are the run's result: the best on held-out data where the plan keeps it, else the last."""
    saved = steps_saved(context.path("checkpoints"))
    wanted = context.best_step if context.plan.stopping.keep_best else context.state.step
    for step in [wanted, *saved]:
        if step in saved and not damage(context.path("checkpoints"), step):
            return step
    raise RunError(
        f"The run '{context.run.name}' has no good checkpoint to take its result from.",
        do="Free space in the run's folder and run it again.",
    )


def held_out_file(context: Context, step: int) -> Any:
    """The held-out measurement of `step`, or None."""
    path = context.path("evaluation", f"heldout-step-{step}.json")
    return read_json(path) if path.exists() else None
