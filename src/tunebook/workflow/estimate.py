"""Time, memory and disk of a run before it starts: a few optimizer steps are measured, the rest is reckoned.

    seconds = training tokens x seconds per token                     (measured on real rows, after a warm-up step)
            + evaluations x (held-out tokens + answers)               (measured forward passes and generated tokens)
            + base and result measured once more, checkpoints, export, deployment test

The band comes from the spread of the measured steps. The page's own hours for a data set of that size stand beside it.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from tunebook.data.gate import check_data
from tunebook.data.split import split
from tunebook.evaluate.generate import generate
from tunebook.evaluate.heldout import held_out_loss
from tunebook.evaluate.retention import load_probes
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.model.sources import cache_folder, load_model, load_tokenizer, weights_bytes
from tunebook.plan import when
from tunebook.plan.schema import Plan
from tunebook.train.batches import steps_per_epoch
from tunebook.train.forward import make_engine
from tunebook.train.loop import Job, optimizer_step
from tunebook.train.optim import make_optimizer
from tunebook.train.state import TrainState
from tunebook.workflow.hardware import keep_memory, pick_device
from tunebook.workflow.memory import MICRO_BATCH_TOKENS, micro_batch_tokens

PROBE_STEPS = 4  # the first warms up and is not counted
USUAL = {"small": "30 minutes to 2 hours", "medium": "2 to 8 hours", "large": "8 to 24 hours"}
_FRESH_PROCESS = 8.0  # seconds to start Python, load the libraries and the model once more


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take. `seconds` holds low, expected and high; `factors` what it was reckoned from."""

    size: str
    usual: str
    optimizer_steps: int
    seconds: dict[str, float]
    memory_bytes: int
    disk_bytes: int
    factors: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As `tunebook estimate --json` prints it."""
        return asdict(self)


def size_of(examples: int) -> str:
    """`small` (under 1,000 examples), `medium` (under 10,000) or `large`."""
    return "small" if examples < 1_000 else "medium" if examples < 10_000 else "large"


def make_estimate(plan: Plan) -> Estimate:
    """Measure a few steps of `plan` (absolute paths) on this machine and reckon the whole run from them."""
    keep_memory()
    probe = _Probe(plan)
    factors = probe.measure()
    schedule = _evaluations(plan, factors)
    per_evaluation = factors["held_out_tokens"] * factors["seconds_per_held_out_token"]
    if {"bleu", "response_length"} & set(plan.metrics):
        per_evaluation += factors["answer_seconds"]
    parts = {
        "training": factors["training_tokens"] * factors["seconds_per_token"],
        "evaluations": schedule * per_evaluation,
        "base_and_result": per_evaluation + factors["answer_seconds"] + 2 * factors["retention_seconds"],
        "checkpoints": factors["saves"] * factors["checkpoint_bytes"] / 3e8,
        "export_and_test": len(plan.export.formats) * (2 * _FRESH_PROCESS + factors["weights_bytes"] / 1e8)
        + (factors["answer_seconds"] if plan.export.formats else 0.0),
        "start": factors["load_seconds"],
    }
    expected = sum(parts.values())
    low, high = factors["fastest"] * 0.9, factors["slowest"] * 1.15
    kept = plan.checkpoints.keep + 2  # the newest, the best, and the one being written
    return Estimate(
        size_of(factors["examples"]),
        USUAL[size_of(factors["examples"])],
        factors["optimizer_steps"],
        {"low": expected * low, "expected": expected, "high": expected * high},
        factors.pop("memory_bytes"),
        round(kept * factors["checkpoint_bytes"] + len(plan.export.formats) * factors["weights_bytes"]),
        {**factors, "evaluations": schedule, "parts": {name: round(value, 1) for name, value in parts.items()}},
    )


class _Probe:
    """The plan's model and data in memory, long enough to time a few steps."""

    def __init__(self, plan: Plan) -> None:
        started = time.perf_counter()
        self.plan = plan
        self.tokenizer = load_tokenizer(plan.model.name)
        self.examples = self._examples(plan.data.path)
        other = self._examples(plan.data.validation_path) if plan.data.validation_path else None
        parts = split(self.examples, plan.data, plan.training.seed, other)
        self.rows, self.held_out = parts.train_indices, parts.validation_indices
        self.validation = other or self.examples
        self.model = make_trainable(load_model(plan.model.name).to(pick_device()), plan)
        self.load_seconds = time.perf_counter() - started

    def _examples(self, path: str) -> Any:
        from pathlib import Path

        data = self.plan.data.model_copy(update={"path": path, "validation_path": None})
        return check_data(data, Path.cwd(), self.tokenizer, cache_folder() / "data").examples

    def measure(self) -> dict[str, Any]:
        """Everything the estimate is reckoned from."""
        plan, training = self.plan, self.plan.training
        parameters = trainable_parameters(self.model)
        optimizer = make_optimizer(parameters, training)
        engine = make_engine(self.model, smoothing=training.label_smoothing, noise_alpha=training.noise_alpha)
        state = TrainState(micro_batch_tokens(plan, MICRO_BATCH_TOKENS[pick_device()]))
        job = Job(plan, engine, parameters, optimizer, self.examples, self.rows, _nothing, _no_values, _nothing)
        self.model.train()
        rates = []
        for _ in range(PROBE_STEPS):
            started = time.perf_counter()
            values = optimizer_step(job, state)
            state.step = (state.step + 1) % job.steps
            rates.append((time.perf_counter() - started) / values["tokens"])
        memory = psutil.Process().memory_info().rss
        self.model.eval()
        per_token = statistics.median(rates[1:])
        lengths = self.examples.lengths[self.rows]
        trained_bytes = sum(p.numel() * p.element_size() for p in parameters.values())
        return {
            "examples": len(self.rows) + (0 if plan.data.validation_path else len(self.held_out)),
            "optimizer_steps": job.steps,
            "tokens_per_epoch": int(lengths.sum()),
            "training_tokens": int(lengths.sum() * job.steps / job.steps_per_epoch),
            "steps_per_epoch": steps_per_epoch(len(self.rows), training.batch_size),
            "seconds_per_token": per_token,
            "fastest": min(rates[1:]) / per_token,
            "slowest": max(rates[1:]) / per_token,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "trainable_parameters": sum(p.numel() for p in parameters.values()),
            "weights_bytes": weights_bytes(plan.model.name),
            "checkpoint_bytes": 3 * trained_bytes,
            "saves": -(-job.steps // plan.checkpoints.every) + 1,
            "memory_bytes": memory,
            "load_seconds": self.load_seconds,
            **self._evaluation(engine, state),
        }

    def _evaluation(self, engine: Any, state: TrainState) -> dict[str, Any]:
        """Times of forward passes and of generated tokens, from a few rows."""
        plan = self.plan
        if not len(self.held_out):
            nothing = ("held_out_tokens", "seconds_per_held_out_token", "answer_seconds")
            return dict.fromkeys(nothing, 0.0) | {"retention_seconds": 0.0}
        few = self.held_out[:8]
        started = time.perf_counter()
        held_out_loss(engine, self.validation, few.tolist(), state.micro_batch_tokens)
        per_token = (time.perf_counter() - started) / int(self.validation.lengths[few].sum())
        asked = [self.validation[int(row)] for row in self.held_out[: min(8, plan.evaluation.prompts)]]
        prompts = [[int(token) for token in example.prompt_ids] for example in asked]
        new, answered = min(24, plan.evaluation.max_new_tokens), min(len(self.held_out), plan.evaluation.prompts)
        answer_seconds = 0.0
        if prompts:
            started = time.perf_counter()
            generate(self.model, self.tokenizer, prompts, max_new_tokens=new)
            once = time.perf_counter() - started
            answer_seconds = once * answered / len(prompts) * plan.evaluation.max_new_tokens / new
        probes = load_probes() if plan.evaluation.retention else None
        tokens = 0
        if probes:
            texts = [*probes.prose, *(q.query + " " + " ".join(q.choices) for q in probes.questions)]
            tokens = sum(len(ids) for ids in self.tokenizer(texts)["input_ids"])
        return {
            "held_out_tokens": int(self.validation.lengths[self.held_out].sum()),
            "seconds_per_held_out_token": per_token,
            "answer_seconds": answer_seconds,
            "retention_seconds": tokens * per_token,
        }


def _evaluations(plan: Plan, factors: dict[str, Any]) -> int:
    """How often the run will evaluate, by its schedule; minutes are counted from the reckoned training time."""
    schedule = when.parse(plan.evaluation.schedule)
    steps, per_epoch = factors["optimizer_steps"], factors["steps_per_epoch"]
    minutes = factors["training_tokens"] * factors["seconds_per_token"] / 60
    if schedule.minutes:
        return int(minutes / schedule.minutes) + 1
    last = steps
    return sum(schedule.due(step, per_epoch, 0.0) or step == last for step in range(1, steps + 1))


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _no_values(*_: Any) -> dict[str, float]:
    return {}
