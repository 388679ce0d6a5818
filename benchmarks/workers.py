"""How well workers share the work: evenness of the dealt tokens, and tokens per second of two workers against one.

    python benchmarks/workers.py DATA                       # evenness over an epoch of DATA at batch 16
    python benchmarks/workers.py DATA --runs 2 --steps 3    # and the speed: alternating runs, 1 core a worker
    python benchmarks/workers.py DATA --runs 1 --estimate   # and what `tunebook estimate` says of each beforehand

The model is smollm2-135m (LoRA of rank 16) unless --model names another; DATA is a file such as alpaca's.
Exit code 1 when the mean imbalance of a step's tokens is 3 % or more, or two workers reach less than 1.7 times one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from tunebook.data.gate import check_data
from tunebook.model.sources import cache_folder, load_tokenizer
from tunebook.plan.schema import DataPlan
from tunebook.runs.events import read_events
from tunebook.train.batches import rows_of_step, steps_per_epoch
from tunebook.workers.deal import costs_of, deal

BATCH = 16


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("data", type=Path)
    options.add_argument("--model", default="smollm2-135m")
    options.add_argument("--runs", type=int, default=0, help="runs of one and of two workers, taking turns")
    options.add_argument("--steps", type=int, default=3, help="optimizer steps a run; the first is not counted")
    options.add_argument("--estimate", action="store_true", help="estimate both before the runs")
    given = options.parse_args()
    kept = evenness(given.data, given.model)
    if given.runs:
        kept &= speed(given)
    return 0 if kept else 1


def evenness(data: Path, model: str) -> bool:
    """Imbalance of each step's tokens: the fullest worker's against the mean. Halves in order stand beside it."""
    plan = DataPlan(path=str(data.absolute()))
    examples = check_data(plan, Path.cwd(), load_tokenizer(model), cache_folder() / "data").examples
    tokens, trained = np.asarray(examples.lengths), np.asarray(examples.trained_counts)
    print(f"{data.name}: {len(tokens):,} examples, {tokens.mean():.0f} tokens each on average, batch {BATCH}")
    good = True
    for workers in (2, 4):
        ours, theirs, in_order = [], [], []
        for step in range(steps_per_epoch(len(tokens), BATCH)):
            rows = rows_of_step(step, len(tokens), BATCH, seed=42)
            if len(rows) < BATCH:
                continue
            hands = deal(costs_of(tokens[rows], trained[rows]), workers)
            ours.append(_imbalance([tokens[rows[hand]].sum() for hand in hands]))
            theirs.append(_imbalance([trained[rows[hand]].sum() for hand in hands]))
            in_order.append(_imbalance([tokens[cut].sum() for cut in np.array_split(rows, workers)]))
        print(
            f"  {workers} workers: tokens {_words(ours)}; trained tokens {_words(theirs)}; "
            f"cut in order, tokens {_words(in_order)}"
        )
        good &= workers > 2 or statistics.mean(ours) < 0.03
    return good


def _imbalance(sums: list[int]) -> float:
    return float(max(sums) / np.mean(sums) - 1)


def _words(shares: list[float]) -> str:
    return f"{100 * statistics.mean(shares):.2f} % (worst step {100 * max(shares):.1f} %)"


def speed(given: argparse.Namespace) -> bool:
    """Tokens per second of whole optimizer steps, one core a worker."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plan = {
            "model": {"name": given.model},
            "data": {"path": str(given.data.absolute()), "validation_share": 0.0},
            "training": {"batch_size": BATCH, "max_steps": given.steps, "learning_rate": 1e-4},
            "evaluation": {"prompts": 0, "retention": False},
            "export": {"formats": []},
        }
        (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
        for workers in (1, 2) if given.estimate else ():
            said = json.loads(_tunebook("estimate", str(folder / "plan.yaml"), "--workers", str(workers), "--json"))
            parts = said["factors"]["parts"]
            seconds = (parts["training"] + parts.get("communication", 0)) / said["optimizer_steps"]
            rate = said["factors"]["training_tokens"] / said["optimizer_steps"] / seconds
            print(f"  {workers} workers: {rate:.1f} tokens per second estimated", flush=True)
        for turn in range(given.runs):
            for workers in (1, 2):
                rates[workers].append(_run(folder, f"run-{turn}-{workers}", workers))
                print(f"  {workers} workers: {rates[workers][-1]:.1f} tokens per second", flush=True)
    ratio = statistics.median(rates[2]) / statistics.median(rates[1])
    print(f"two workers reach {ratio:.2f} times one (medians of {given.runs})")
    return ratio >= 1.7


def _tunebook(*words: str) -> str:
    command = [sys.executable, "-m", "tunebook", *words]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def _run(folder: Path, name: str, workers: int) -> float:
    runs = ["--runs", str(folder / "runs")]
    _tunebook("run", str(folder / "plan.yaml"), "--name", name, *runs, "--workers", str(workers))
    events = [event for event in read_events(folder / "runs" / name / "events.jsonl") if event["kind"] == "metrics"]
    tokens = sum(event["values"]["tokens"] for event in events[1:])
    return float(tokens / (60 * (events[-1]["minutes"] - events[0]["minutes"])))


if __name__ == "__main__":
    sys.exit(main())
