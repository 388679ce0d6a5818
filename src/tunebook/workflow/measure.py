"""A few measured moments of a plan before it runs: optimizer steps, held-out passes, answers, general ability.

What is quick is measured whole; of the rest a piece is measured and the whole reckoned from it. Nothing is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tunebook.data.gate import Checked, check_data
from tunebook.data.split import split
from tunebook.evaluate.asked import asked
from tunebook.evaluate.generate import generate
from tunebook.evaluate.heldout import held_out_loss
from tunebook.evaluate.retention import Probes, load_probes, measure_retention
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.model.four_bits import weight_count
from tunebook.model.sources import cache_folder, load_model, load_tokenizer, loaded_bytes
from tunebook.plan.schema import Plan
from tunebook.train.batches import steps_per_epoch
from tunebook.train.forward import make_engine
from tunebook.train.loop import Job, optimizer_step
from tunebook.train.memory import memory_taken
from tunebook.train.optim import make_optimizer
from tunebook.train.state import TrainState
from tunebook.workflow.hardware import pick_device
from tunebook.workflow.memory import MICRO_BATCH_TOKENS, micro_batch_tokens

QUICK = 2.0  # seconds of work that is measured whole
LONG = 60.0  # seconds; a process that was up for longer did something else before
STEPS = range(4, 41)  # optimizer steps measured: at least, and at most; the first warms up and is not counted


class Measured:
    """The plan's model and data in memory, long enough to time a few moments. `plan` has absolute paths."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.process_seconds = time.time() - psutil.Process().create_time()  # Python and the libraries, so far
        self.tokenizer = load_tokenizer(plan.model.name)
        self._check_data()
        started = time.perf_counter()
        checked = self._check_data()  # as the run will find it: checked and kept
        self.data_seconds = time.perf_counter() - started
        self.examples = checked.examples
        other = checked.validation.examples if checked.validation else None
        parts = split(self.examples, plan.data, plan.training.seed, other)
        self.rows, self.held_out = parts.train_indices, parts.validation_indices
        self.validation = other or self.examples
        started = time.perf_counter()
        self.model = make_trainable(
            load_model(plan.model.name, quantization=plan.model.quantization).to(pick_device()), plan
        )
        self.load_seconds = time.perf_counter() - started
        training = plan.training
        self.parameters = trainable_parameters(self.model)
        self.engine = make_engine(
            self.model,
            smoothing=training.label_smoothing,
            noise_alpha=training.noise_alpha,
            precision=training.precision,
        )
        self.state = TrainState(micro_batch_tokens(plan, MICRO_BATCH_TOKENS[pick_device()]))

    def _check_data(self) -> Checked:
        return check_data(self.plan.data, Path.cwd(), self.tokenizer, cache_folder() / "data")

    def factors(self) -> dict[str, Any]:
        """Everything that the estimate is reckoned from, in seconds, bytes and counts."""
        held_out, answers = self._held_out_seconds(), self._answer_seconds()  # of the base: before any step is taken
        ability = self._ability_seconds()
        return {
            **self._training(),
            "process_seconds": self.process_seconds if self.process_seconds < LONG else 0.0,
            "data_seconds": self.data_seconds,
            "load_seconds": self.load_seconds,
            "held_out_tokens": int(self.validation.lengths[self.held_out].sum()),
            "held_out_seconds": held_out,
            "answer_seconds": answers,
            "retention_seconds": ability,
            "parameters": weight_count(self.model),
            "trainable_parameters": sum(p.numel() for p in self.parameters.values()),
            "weights_bytes": loaded_bytes(self.plan.model.name),
        }

    def _training(self) -> dict[str, Any]:
        """Optimizer steps: how many, and what a token takes. `noise` is their spread about a line over tokens."""
        plan, training = self.plan, self.plan.training
        optimizer = make_optimizer(self.parameters, training)
        job = Job(
            plan=plan,
            engine=self.engine,
            parameters=self.parameters,
            optimizer=optimizer,
            examples=self.examples,
            rows=self.rows,
            emit=_nothing,
            evaluate=_no_values,
            save=_nothing,
        )
        self.model.train()
        seconds: list[float] = []
        tokens: list[float] = []
        while len(seconds) < STEPS.start or (sum(seconds) < QUICK and len(seconds) < STEPS.stop):
            started = time.perf_counter()
            values = optimizer_step(job, self.state)
            self.state.step = (self.state.step + 1) % job.steps
            seconds.append(time.perf_counter() - started)
            tokens.append(values["tokens"])
        self.model.eval()
        lengths = self.examples.lengths[self.rows]
        return {
            "examples": len(self.rows) + (0 if plan.data.validation_path else len(self.held_out)),
            "optimizer_steps": job.steps,
            "steps_per_epoch": steps_per_epoch(len(self.rows), training.batch_size),
            "tokens_per_epoch": int(lengths.sum()),
            "training_tokens": int(lengths.sum() * job.steps / job.steps_per_epoch),
            "seconds_per_token": sum(seconds[1:]) / sum(tokens[1:]),
            "steps_measured": len(seconds) - 1,
            "noise": _spread(tokens[1:], seconds[1:]),
            "memory_bytes": memory_taken()["memory"],
        }

    def _held_out_seconds(self) -> float:
        def work(count: int) -> None:
            held_out_loss(self.engine, self.validation, self.held_out[:count].tolist(), self.state.micro_batch_tokens)

        return _seconds(work, 8, len(self.held_out))

    def _answer_seconds(self) -> float:
        """All prompts answered up to the limit; fewer tokens are asked for where that takes long."""
        rows = self.held_out[asked(len(self.held_out), self.plan.evaluation.prompts, self.plan.training.seed)]
        prompts = [self.validation[int(row)].prompt_ids.tolist() for row in rows]

        def work(tokens: int) -> None:
            generate(self.model, self.tokenizer, prompts, max_new_tokens=tokens)

        return _seconds(work, 16, self.plan.evaluation.max_new_tokens) if prompts else 0.0

    def _ability_seconds(self) -> float:
        if not self.plan.evaluation.retention:
            return 0.0
        whole = load_probes()

        def work(count: int) -> None:
            share = count / len(whole.questions)
            texts = whole.prose[: max(1, round(share * len(whole.prose)))]
            measure_retention(self.model, self.tokenizer, Probes(whole.questions[:count], texts))

        return _seconds(work, 8, len(whole.questions))


def _seconds(work: Callable[[int], None], few: int, whole: int) -> float:
    """What `work(whole)` takes: measured where that is quick, else reckoned from `work(few)`."""
    few = min(few, whole)
    if not few:
        return 0.0
    guess = _timed(work, few) * whole / few
    return _timed(work, whole) if guess <= QUICK else guess


def _timed(work: Callable[[int], None], amount: int) -> float:
    started = time.perf_counter()
    work(amount)
    return time.perf_counter() - started


def _spread(tokens: list[float], seconds: list[float]) -> float:
    """Standard deviation of `seconds` about a straight line over `tokens`, as a share of their mean."""
    x, y = np.asarray(tokens, float), np.asarray(seconds, float)
    degree = 1 if len(y) > 4 and np.ptp(x) else 0
    left = y - np.polyval(np.polyfit(x, y, degree), x)
    return float(np.sqrt((left**2).sum() / max(1, len(y) - degree - 1)) / y.mean())


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _no_values(*_: Any) -> dict[str, float]:
    return {}
