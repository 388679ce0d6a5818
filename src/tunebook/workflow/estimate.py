"""Time, memory and disk of a run before it starts: a few moments are measured, the rest is reckoned from them.

    start         a process, its libraries, the data and the model
    base          the base on held-out data, its answers, its general ability
    training      training tokens x seconds a token, as measured over real optimizer steps
    evaluations   those that the schedule asks for, each with held-out data and, where a metric asks, answers
    checkpoints   those that are saved, by their bytes
    result        the chosen checkpoint measured like the base; the report
    export, test  fresh processes that load what was written, compare it and answer

Each part is then corrected by what finished runs on this machine took (workflow/timings.py). The band widens with the
noise of the measured steps and with how far earlier estimates were off. The page's own hours stand beside it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from tunebook.model.sources import loaded_bytes, read_config
from tunebook.plan import when
from tunebook.plan.schema import Plan
from tunebook.workflow import timings
from tunebook.workflow.hardware import has_gpu, keep_memory, threads_of_each
from tunebook.workflow.measure import Measured
from tunebook.workflow.memory import MICRO_BATCH_TOKENS, Shape, check_memory

USUAL = {"small": "30 minutes to 2 hours", "medium": "2 to 8 hours", "large": "8 to 24 hours"}
BAND = 1.8  # standard deviations to either side: some 93 of 100 runs
_PROCESS = 6.0  # seconds to start Python and load the libraries, where that was not seen
_DISK = 3e8  # bytes a second, hashed and synced
_REPORT = 1.0
_LOOPBACK = 1e9  # bytes a second that two gloo workers on one machine sum


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
    """Measure a few moments of `plan` (absolute paths) on this machine and reckon the whole run from them."""
    keep_memory()
    if not has_gpu():  # before the weights are read
        shape = Shape.of(read_config(plan.model.name), loaded_bytes(plan.model.name))
        check_memory(plan, shape, longest=0, per_step=0, usual=MICRO_BATCH_TOKENS["cpu"])
    factors = Measured(plan).factors()
    counts = _counts(plan, factors)
    reckoned = reckon(plan, factors | counts)
    seen = timings.pairs(plan.model.name)
    parts = timings.corrected(reckoned, seen)
    expected = sum(parts.values())
    timings.remember_estimate(plan, reckoned, expected)
    # half of the steps' noise: some of it averages out over a run, some is the machine's own and stays
    off = BAND * math.hypot(timings.spread(seen), factors["noise"] / 2)
    kept = plan.checkpoints.keep + 2  # the newest, the best, and the one being written
    return Estimate(
        size_of(factors["examples"]),
        USUAL[size_of(factors["examples"])],
        factors["optimizer_steps"],
        {"low": expected * math.exp(-off), "expected": expected, "high": expected * math.exp(off)},
        factors.pop("memory_bytes"),
        round(kept * counts["checkpoint_bytes"] + _exported_bytes(plan, factors)),
        {
            **factors,
            **counts,
            "runs_learned_from": len(seen),
            "parts": {name: round(value, 1) for name, value in parts.items()},
        },
    )


def _exported_bytes(plan: Plan, factors: Mapping[str, Any]) -> float:
    """What the exports take: the adapter by itself, else the weights in float32; all GGUF files together about that."""
    adapter = 4 * factors["trainable_parameters"]
    return float(sum(adapter if each == "adapter" else factors["weights_bytes"] for each in plan.export.formats))


def estimate_on_workers(plan: Plan, workers: int) -> Estimate:
    """The plan on `workers` of this machine's processes: steps are measured with the threads that each will have."""
    if workers == 1:
        return make_estimate(plan)
    torch.set_num_threads(threads_of_each(workers))
    found = make_estimate(plan)
    parts = dict(found.factors["parts"])
    before = sum(parts.values())
    gradient_bytes = 4 * found.factors["trainable_parameters"]
    parts["training"] /= workers
    parts["communication"] = found.optimizer_steps * 2 * (workers - 1) / workers * gradient_bytes / _LOOPBACK
    parts["evaluations"] /= workers
    ratio = sum(parts.values()) / before
    return replace(
        found,
        seconds={name: value * ratio for name, value in found.seconds.items()},
        memory_bytes=workers * found.memory_bytes,
        factors={
            **found.factors,
            "workers": workers,
            "parts": {name: round(value, 1) for name, value in parts.items()},
        },
    )


def reckon(plan: Plan, factors: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each part from `factors`, before any correction; of one evaluation and save where none are counted."""
    known = defaultdict(float, {"evaluations": 1, "saves": 1, **factors})
    answers_each_time = bool({"bleu", "response_length"} & set(plan.metrics))
    held_out, answers, ability = (known[f"{name}_seconds"] for name in ("held_out", "answer", "retention"))
    formats, load = len(plan.export.formats), known["load_seconds"]
    fresh = (known["process_seconds"] or _PROCESS) + load
    return {
        "start": fresh + 2 * known["data_seconds"] + known["weights_bytes"] / 1e9,
        "base": held_out + answers + ability,
        "training": known["training_tokens"] * known["seconds_per_token"],
        "evaluations": known["evaluations"] * (held_out + answers * answers_each_time),
        "checkpoints": known["saves"] * (0.02 + known["checkpoint_bytes"] / _DISK),
        "result": answers * (not answers_each_time) + ability + _REPORT,
        "export": formats * (fresh + load + 2 * known["weights_bytes"] / _DISK),
        "test": (fresh + answers + _REPORT) * bool(formats),
    }


def evaluation_steps(plan: Plan, steps: int, steps_per_epoch: int) -> set[int]:
    """Optimizer steps that an evaluation follows, by the schedule; those by the clock are not among them."""
    schedule = when.parse(plan.evaluation.schedule)
    by_steps = set() if schedule.minutes else {n for n in range(1, steps + 1) if schedule.due(n, steps_per_epoch, 0.0)}
    return by_steps | {steps}


def checkpoint_steps(plan: Plan, steps: int, evaluated: set[int]) -> set[int]:
    """Optimizer steps that a checkpoint follows."""
    return evaluated | set(range(plan.checkpoints.every, steps + 1, plan.checkpoints.every))


def _counts(plan: Plan, factors: Mapping[str, Any]) -> dict[str, int]:
    """How often the run will evaluate and save, and how much; minutes are counted from the reckoned training time."""
    steps = factors["optimizer_steps"]
    evaluated = evaluation_steps(plan, steps, factors["steps_per_epoch"])
    minutes = when.parse(plan.evaluation.schedule).minutes
    seconds = factors["training_tokens"] * factors["seconds_per_token"]
    return {
        "evaluations": int(seconds / 60 / minutes) + 1 if minutes else len(evaluated),
        "saves": len(checkpoint_steps(plan, steps, evaluated)),
        "checkpoint_bytes": 12 * factors["trainable_parameters"],  # float32: the weights and two moments
    }
