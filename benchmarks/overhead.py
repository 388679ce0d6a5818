"""What watching a run costs: telling a step with every metric but BLEU, and saving a checkpoint, beside the step.

    python benchmarks/overhead.py [--method lora|full] [--data FILE] [--batch 8] [--steps 4]

A checkpoint's share is reckoned for the plan's default, one every 50 optimizer steps.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from train import DEMO, Case, settings_of
from train_ours import job_of
from tunebook.model.sources import model_folder
from tunebook.runs.events import EventWriter
from tunebook.train.checkpoint import save_checkpoint
from tunebook.train.loop import _tell_step, optimizer_step
from tunebook.train.optim import optimizer_tensors
from tunebook.train.state import TrainState
from tunebook.workflow.memory import MICRO_BATCH_TOKENS

TOLD, SAVED = 200, 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", type=Path, default=DEMO)
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    model = str(model_folder(options.model, Path.cwd()))
    case = Case(model, str(options.data), options.method, options.batch, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(settings_of(case), EventWriter(Path(folder) / "events.jsonl").emit)
        state, steps = TrainState(MICRO_BATCH_TOKENS["cpu"]), []
        for _ in range(job.steps):
            started = time.perf_counter()
            values = optimizer_step(job, state)
            steps.append(time.perf_counter() - started)
            state.step += 1

        def save(number: int) -> None:
            tensors = optimizer_tensors(job.optimizer, job.parameters)
            save_checkpoint(Path(folder) / "checkpoints", number, job.parameters, tensors, state.to_json())

        step = statistics.median(steps[1:])
        told = statistics.median(_seconds(lambda: _tell_step(job, state, dict(values), step)) for _ in range(TOLD))
        saved = statistics.median(_seconds(lambda number=number: save(number)) for number in range(SAVED))
    every = job.plan.checkpoints.every
    print(f"{case.name}: an optimizer step takes {step:.2f} s")
    print(f"telling it takes {1e3 * told:.2f} ms, {told / step:.3%} of it")
    print(f"a checkpoint takes {saved:.2f} s, {saved / (every * step):.2%} of the {every} steps that it comes after")


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
