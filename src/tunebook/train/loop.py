"""The training loop, top to bottom.

It takes a model behind its engine, examples, a plan and a state; it emits events and asks for evaluations and
checkpoints. One optimizer step is `plan.training.batch_size` examples, however many micro-batches they make and however
many workers share them: each adds the gradient of its summed loss divided by the trained tokens of the whole step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tunebook.errors import Stopped, TrainingError
from tunebook.plan import when
from tunebook.plan.schema import Plan
from tunebook.train.batches import Row, rows_of_step, steps_per_epoch, trained_tokens
from tunebook.train.forward import Engine
from tunebook.train.hands import NOTHING, Hand, hands_of
from tunebook.train.memory import memory_taken
from tunebook.train.optim import clip_gradients, set_learning_rate
from tunebook.train.state import TrainState, seed_step
from tunebook.train.stopping import STEP_METRICS, Moment, Stopper
from tunebook.train.watch import unusual
from tunebook.workers.group import ALONE, Workers


@dataclass(slots=True)
class Job:
    """What a run trains, and whom it tells. `rows` are the indices into `examples` that are trained on."""

    plan: Plan
    engine: Engine
    parameters: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    examples: Sequence[Row]
    rows: np.ndarray
    emit: Callable[..., Any]
    evaluate: Callable[[TrainState], dict[str, float]]
    save: Callable[[TrainState], None]
    asked_to_stop: Callable[[], bool] = lambda: False
    time_left: Callable[[TrainState], float | None] = lambda state: None
    workers: Workers = ALONE

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(len(self.rows), self.plan.training.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole schedule."""
        limit = self.plan.training.epochs.max * self.steps_per_epoch
        return min(limit, self.plan.training.max_steps or limit)


def train(job: Job, state: TrainState) -> str:
    """Take optimizer steps from `state` until the schedule, a rule or a request ends them; returns the reason.

    An evaluation that a request to stop put off is made up for first. Raises TrainingError, before the update and with
    the state unchanged, when loss or gradient is not finite; Stopped, after saving, when asked to in an evaluation.
    """
    plan, schedule = job.plan, when.parse(job.plan.evaluation.schedule)
    stopper = Stopper(plan.stopping.rules, plan.training.epochs.min, state.stopper)
    job.engine.parts.seconds = state.parts
    job.engine.model.train()
    while True:
        if state.owes_evaluation:
            try:
                state.ended = job.workers.same(_evaluate(job, state, stopper) or state.ended)
            except Stopped:  # asked in the middle of it: the next try measures again
                _save(job, state)
                raise
            state.owes_evaluation = False
            _save(job, state)
            if job.asked_to_stop():
                break
        if state.ended or state.step >= job.steps:
            break
        started = time.perf_counter()
        values = optimizer_step(job, state)
        state.step += 1
        state.seconds += time.perf_counter() - started
        _tell_step(job, state, values, time.perf_counter() - started)
        last = state.step == job.steps
        state.ended = stopper.after_step(_moment(job, state, _for_rules(values))) or (
            "the planned steps are done" if last else ""
        )
        minutes = (state.seconds - state.evaluated_at) / 60
        due = schedule.due(state.step, job.steps_per_epoch, minutes)
        state.owes_evaluation = bool(state.ended) or due  # should a worker be lost in the next line
        # clocks differ: the first worker decides for all
        state.ended, due, asked = job.workers.same((state.ended, due, job.asked_to_stop()))
        state.owes_evaluation = bool(state.ended) or due
        if asked:  # an evaluation may take longer than whoever asked will wait: the next try makes it up
            _save(job, state)
            break
        if not state.owes_evaluation and state.step % plan.checkpoints.every == 0:
            _save(job, state)
    job.emit("parts", parts=_rounded(state.parts))
    return "asked to stop" if state.owes_evaluation or not state.ended else state.ended


def _save(job: Job, state: TrainState) -> None:
    """Save a checkpoint, its time booked."""
    started = time.perf_counter()
    job.save(state)
    state.seconds += job.engine.parts.add("checkpoint", started) - started


def optimizer_step(job: Job, state: TrainState) -> dict[str, float]:
    """One update from the examples of step `state.step`; returns the step's numbers. Loss is in nats per token."""
    parts, started = job.engine.parts, time.perf_counter()
    training, workers = job.plan.training, job.workers
    workers.mark(f"optimizer step {state.step + 1}")
    picked = job.rows[rows_of_step(state.step, len(job.rows), training.batch_size, training.seed)]
    rows = [job.examples[int(index)] for index in picked]
    tokens, trained = sum(len(row.ids) for row in rows), trained_tokens(rows)
    parts.add("data", started)

    summed = _gradients(job, state, rows, max(1, trained))
    started = time.perf_counter()
    summed = workers.sum_gradients(job.parameters.values(), summed)
    if not workers.alone:
        parts.add("communication", started)
    norms = clip_gradients(job.parameters, training.max_grad_norm, workers)
    loss, norm = summed / max(1, trained), norms["gradient_norm"]
    if not (math.isfinite(loss) and math.isfinite(norm)):
        job.optimizer.zero_grad(set_to_none=True)
        raise TrainingError(
            f"The loss ({loss}) or its gradient ({norm}) was not finite at optimizer step {state.step + 1}, "
            f"in the rows of lines {', '.join(str(getattr(row, 'line', '?')) for row in rows)}.",
            kept="The weights were not updated; the last good checkpoint is kept.",
            do="Lower training.learning_rate, lengthen the warmup, or look at those rows.",
        )
    started = time.perf_counter()
    rate = set_learning_rate(job.optimizer, training, state.step, job.steps)
    job.optimizer.step()
    job.optimizer.zero_grad(set_to_none=True)
    parts.add("optimizer", started)
    state.tokens += tokens
    state.trained_tokens += trained
    return {
        "training_loss": loss,
        "learning_rate": rate,
        **norms,
        "tokens": tokens,
        "trained_tokens": trained,
    }


def rehearse(job: Job, state: TrainState, longest: Sequence[Row]) -> None:
    """Forward and backward over the longest examples without an update: what does not fit is found before step 1."""
    job.engine.model.train()
    moments = _room_for_moments(job, state, longest)
    _gradients(job, state, longest, max(1, trained_tokens(longest)))
    job.optimizer.zero_grad(set_to_none=True)
    del moments


def _room_for_moments(job: Job, state: TrainState, longest: Sequence[Row]) -> list[torch.Tensor]:
    """As much memory as AdamW will take in its first step, unless it has taken it."""
    missing = 0 if job.optimizer.state else 2
    try:
        return [torch.empty_like(parameter) for parameter in job.parameters.values() for _ in range(missing)]
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise _too_little_memory(state, max(len(row.ids) for row in longest)) from error


def _gradients(job: Job, state: TrainState, rows: Sequence[Row], trained: int) -> float:
    """Gradients of the step's loss over this worker's micro-batches; returns its part of the summed loss.

    When memory runs out on any worker, all halve the micro-batch and begin the step again.
    """
    while True:
        seed_step(job.plan.training.seed, state.step, job.workers.rank)
        hand = hands_of(rows, state.micro_batch_tokens, job.workers, alone=bool(job.engine.why_plain))
        summed, failed = _one_try(job, hand, trained)
        if job.workers.sharded and failed:
            raise _too_little_memory(state, max(len(row.ids) for row in rows)) from failed  # others are in mid-layer
        if not job.workers.any(failed is not None):
            return summed
        job.optimizer.zero_grad(set_to_none=True)
        longest = max(len(row.ids) for row in rows)
        if state.micro_batch_tokens <= longest:
            raise _too_little_memory(state, longest) from failed
        state.micro_batch_tokens = max(longest, state.micro_batch_tokens // 2)
        words = f"Memory ran out; micro-batches are at most {state.micro_batch_tokens} tokens now."
        job.emit("warning", code="out_of_memory", message=words, micro_batch_tokens=state.micro_batch_tokens)


def _one_try(job: Job, hand: Hand, trained: int) -> tuple[float, BaseException | None]:
    """The summed loss of this worker's micro-batches, or why memory did not do for them."""
    summed = 0.0
    try:
        for group, counts in hand:
            loss = job.engine.forward_backward(job.engine.join(group), trained if counts else NOTHING)
            summed += loss if counts else 0.0
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return 0.0, error.with_traceback(None)  # whose frames would keep the step's tensors
    return summed, None


def _too_little_memory(state: TrainState, longest: int) -> TrainingError:
    return TrainingError(
        f"Memory ran out at optimizer step {state.step + 1}; its longest example has {longest} tokens.",
        kept="The last good checkpoint is kept.",
        do="Lower data.max_length or training.micro_batch_tokens, use training.method lora, or a smaller model.",
    )


def _evaluate(job: Job, state: TrainState, stopper: Stopper) -> str:
    """Measure held-out data, note whether it is the best so far, ask the rules; returns why the run ends, or ''."""
    started = time.perf_counter()
    job.workers.mark(f"the evaluation at step {state.step}")
    job.engine.model.eval()
    measured = job.evaluate(state)
    job.engine.model.train()
    seen = {name: total / count for name, (total, count, _) in state.since_evaluation.items()}
    if "memory" in seen:
        seen["memory"] = state.since_evaluation["memory"][2]
    state.since_evaluation = {}
    loss = measured.get("validation_loss")
    best = loss is not None and (state.best_loss is None or loss < state.best_loss)
    if best or loss is None:
        state.best_step, state.best_loss = state.step, loss
    state.seconds += job.engine.parts.add("validation", started) - started
    state.evaluated_at = state.seconds
    state.evaluations += 1
    reason = stopper.after_evaluation(_moment(job, state, {**seen, **measured}))
    statuses = [{"rule": s.rule, "text": s.text, "count": s.count, "of": s.of} for s in stopper.statuses()]
    job.emit(
        "evaluation",
        **_place(job, state),
        values=measured,
        best=best,
        stopping=statuses,
    )
    return reason


def _tell_step(job: Job, state: TrainState, values: dict[str, float], seconds: float) -> None:
    values["throughput"] = values["tokens"] / seconds
    values |= memory_taken()
    for name, value in _for_rules(values).items():
        total, count, highest = state.since_evaluation.get(name, (0.0, 0, value))
        state.since_evaluation[name] = (total + value, count + 1, max(highest, value))
    hidden = tuple(set(STEP_METRICS) - set(job.plan.metrics))
    shown = {name: value for name, value in values.items() if not name.startswith(hidden)}
    job.emit(
        "metrics",
        **_place(job, state),
        values=shown,
        parts=_rounded(state.parts),
        eta_seconds=job.time_left(state),
    )
    for code, words in unusual(state.recent, values):
        job.emit("warning", code=code, message=f"Optimizer step {state.step}: {words}.", step=state.step)


def _place(job: Job, state: TrainState) -> dict[str, float]:
    """Where the run stands, as its events say it."""
    epoch = state.step / job.steps_per_epoch
    return {"step": state.step, "epoch": epoch, "minutes": state.seconds / 60, "seen_tokens": state.tokens}


def _for_rules(values: Mapping[str, float]) -> dict[str, float]:
    """The step's metrics as rules name them, memory in GB."""
    seen = {name: values[name] for name in STEP_METRICS if name in values}
    if "memory" in seen:
        seen["memory"] /= 1e9
    return seen


def _moment(job: Job, state: TrainState, values: Mapping[str, float]) -> Moment:
    place = _place(job, state)
    return Moment(state.step, place["epoch"], place["minutes"], state.tokens, state.evaluations, values)


def _rounded(parts: Mapping[str, float]) -> dict[str, float]:
    return {part: round(spent, 3) for part, spent in parts.items()}


def out_of_memory(error: BaseException) -> bool:
    """Is this what torch or Python raise when memory runs out?"""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error) or "out of memory" in str(error)
