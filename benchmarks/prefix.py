"""What sharing a common beginning gives, by its share of the tokens: the same steps with and without, in turns.

    python benchmarks/prefix.py [--method lora|full] [--examples 8] [--own 60] [--runs 3]

Every example begins with the same tokens (a system prompt, few-shot examples) and goes on with its own, the second half
of them trained. Tokens a second count each example's tokens in full on both sides.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from train import RATES
from train_ours import Row, job_of
from tunebook.model.sources import model_folder
from tunebook.train import batches
from tunebook.train.loop import Job, optimizer_step
from tunebook.train.state import TrainState

SHARES = (0.0, 0.25, 0.5, 0.75)


def examples(count: int, prefix: int, own: int) -> list[dict[str, list[int]]]:
    """Random tokens; the same for the same arguments."""
    draw = np.random.default_rng(0)
    common = draw.integers(10, 10_000, prefix).tolist()
    rows = [common + draw.integers(10, 10_000, own).tolist() for _ in range(count)]
    marks = [0] * (prefix + own // 2) + [1] * (own - own // 2)
    return [{"input_ids": row, "completion_mask": marks} for row in rows]


def seconds(job: Job, budget: int, shortest: int) -> float:
    """Seconds of one optimizer step; beginnings of fewer than `shortest` tokens are not shared."""
    batches.SHORTEST_PREFIX, usual = shortest, batches.SHORTEST_PREFIX
    started = time.perf_counter()
    optimizer_step(job, TrainState(budget))
    batches.SHORTEST_PREFIX = usual
    return time.perf_counter() - started


def main() -> None:
    """Measure each share and print a row of the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--examples", type=int, default=8)
    parser.add_argument("--own", type=int, default=60, help="tokens of an example that are its own")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    case = {"model": str(model_folder(options.model, Path.cwd())), "method": options.method, "steps": 1}
    case |= {"seed": 42, "precision": "float32", "rank": 16, "alpha": 32, "learning_rate": RATES[options.method]}
    job = job_of(case | {"batch_size": options.examples, "rows": examples(options.examples, 0, options.own)}, _nothing)
    print("| prefix's share | tokens a step | apart, tokens/s | shared, tokens/s | gain |\n|---|---|---|---|---|")
    for share in SHARES:
        prefix = round(options.own * share / (1 - share))
        rows = examples(options.examples, prefix, options.own)
        job.examples = [Row(row["input_ids"], [bool(mark) for mark in row["completion_mask"]]) for row in rows]
        tokens = options.examples * (prefix + options.own)
        seconds(job, tokens, 8)  # to warm up
        pairs = [(seconds(job, tokens, 2 * tokens), seconds(job, tokens, 8)) for _ in range(options.runs)]
        apart, shared = (statistics.median(side) for side in zip(*pairs, strict=True))
        gain = statistics.median(one / other for one, other in pairs)
        print(f"| {share:.0%} | {tokens} | {tokens / apart:.0f} | {tokens / shared:.0f} | {gain:.2f} |", flush=True)


def _nothing(*_: object, **__: object) -> None:
    return None


if __name__ == "__main__":
    main()
