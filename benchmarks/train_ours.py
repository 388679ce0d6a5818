"""One side of `train.py`: optimizer steps of Tunebook on the case of a JSON file; prints what it measured as JSON.

Between two steps the roofline is measured where asked: the time that the matrix products of the step take alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roofline import seconds_of_attention, seconds_of_products
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.model.sources import load_model
from tunebook.plan.files import make_plan
from tunebook.plan.schema import Plan
from tunebook.train.batches import micro_batches, rows_of_step
from tunebook.train.forward import make_engine
from tunebook.train.loop import Job, optimizer_step
from tunebook.train.optim import make_optimizer
from tunebook.train.state import TrainState
from tunebook.workflow.hardware import keep_memory
from tunebook.workflow.memory import MICRO_BATCH_TOKENS


@dataclass
class Row:
    """An example as the engine takes it."""

    ids: list[int]
    trained: list[bool]


def plan_of(case: dict[str, Any]) -> Plan:
    """The plan that trains as the peer is told to."""
    training = {name: case[name] for name in ("method", "learning_rate", "batch_size", "seed", "precision")}
    training |= {"max_steps": case["steps"], "weight_decay": 0.0, "warmup": {"strategy": "none"}}
    lora = {"rank": case["rank"], "alpha": case["alpha"]}
    model = {"name": case["model"], "quantization": case.get("quantization")}
    return make_plan({"model": model, "data": {"path": "-"}, "training": training, "lora": lora})


def in_order(rows: list[dict[str, Any]], case: dict[str, Any]) -> list[Row]:
    """The examples, placed so that step after step takes them in the order given."""
    placed: list[Row] = [Row([], [])] * len(rows)
    steps = [rows_of_step(step, len(rows), case["batch_size"], case["seed"]) for step in range(case["steps"])]
    for place, row in zip(np.concatenate(steps), rows, strict=True):
        placed[place] = Row(row["input_ids"], [bool(mark) for mark in row["completion_mask"]])
    return placed


def job_of(case: dict[str, Any], emit: Callable[..., Any]) -> Job:
    """Model, engine, optimizer and examples of the case, ready to train."""
    keep_memory()
    plan = plan_of(case)
    model = make_trainable(load_model(case["model"], quantization=plan.model.quantization), plan).train()
    parameters = trainable_parameters(model)
    examples, nothing = in_order(case["rows"], case), lambda *_: {}
    return Job(
        plan=plan,
        engine=make_engine(model, way=case.get("way", "fused"), precision=case["precision"]),
        parameters=parameters,
        optimizer=make_optimizer(parameters, plan.training),
        examples=examples,
        rows=np.arange(len(examples)),
        emit=emit,
        evaluate=nothing,
        save=nothing,
    )


def products_of(job: Job, state: TrainState) -> tuple[float, float]:
    """Seconds that the matrix products of the step that `state` stands at take alone: of the layers, of attention."""
    case = job.plan.training
    rows = [job.examples[row] for row in rows_of_step(state.step, len(job.rows), case.batch_size, case.seed)]
    batches = [job.engine.join(group) for group in micro_batches(rows, state.micro_batch_tokens)]
    layers, attention = (
        sum(seconds(job.engine, batch) for batch in batches) for seconds in (seconds_of_products, seconds_of_attention)
    )
    return layers, attention


def main() -> None:
    """Take the steps, one of them to warm up."""
    case = json.loads(Path(sys.argv[1]).read_text())
    job, state = job_of(case, lambda *_, **__: None), TrainState(MICRO_BATCH_TOKENS["cpu"])
    found: dict[str, Any] = {"seconds": [], "cpu": [], "losses": [], "roofline": [], "attention": []}
    for _ in range(case["steps"]):
        started, cpu = time.perf_counter(), time.process_time()
        values = optimizer_step(job, state)
        found["seconds"].append(time.perf_counter() - started)
        found["cpu"].append(time.process_time() - cpu)
        found["losses"].append(values["training_loss"])
        if case["roofline"]:
            layers, attention = products_of(job, state)
            found["roofline"].append(layers)
            found["attention"].append(attention)
        state.step += 1
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
