"""Is the time told before a run the time that it takes? Different plans, each estimated, run, and timed from outside.

    python benchmarks/estimate.py --keep build/estimate              # 24 plans, some 10 minutes on a quiet machine
    python benchmarks/estimate.py --keep build/estimate --minutes 7  # goes on where it was, and ends after a while

What is asked: of the plans that count, 80 % take within 20 % of the time told, and 90 % lie inside the band told. A
plan counts when the machine's own speed, a fixed matrix product before and after, moved by less than 10 %; the others
are listed. The plans are drawn by a fixed seed from models of four sizes, three data sets, both methods, and all that
changes how long a run is. Nothing is known of this machine at first: what a run teaches counts for those after it.

The data sets and stories260K come from the folder `shared` beside the repository (or --data). Exit code 1 when a share
is not kept or fewer than 20 plans count.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from judgement import SHARED, _banking, _bash, _instructions, _stories

PLANS = 24
COUNTED = 20
SIZES = {"stories": None, "wide": (128, 4), "wider": (192, 6), "deep": (96, 10)}  # hidden size, layers


def main() -> int:
    """Estimate and run what is not there yet, then judge all."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--keep", type=Path, required=True, help="a folder for models, runs and results")
    options.add_argument("--plans", type=int, default=PLANS, help=f"how many [{PLANS}]")
    options.add_argument("--minutes", type=float, default=600, help="begin no further plan after so long")
    options.add_argument("--data", type=Path, default=SHARED, help="where the data sets lie")
    given = options.parse_args()
    folder = given.keep.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    started, results = time.monotonic(), folder / "results.jsonl"
    done = _read(results)
    for number in range(len(done), given.plans):
        if time.monotonic() - started > 60 * given.minutes:
            print(f"{number} of {given.plans} plans are done; call again to go on")
            return 1
        result = _measure(number, folder, given.data)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        done.append(result)
        print(_line(result), flush=True)
    return _judge(done)


def _measure(number: int, folder: Path, data: Path) -> dict[str, Any]:
    """Estimate plan `number`, then run it between two looks at the machine's speed."""
    name = f"plan-{number}"
    told, path = _plan(random.Random(f"plan {number}"), number, folder, data)
    environment = os.environ | {"TUNEBOOK_CACHE": str(folder / "cache"), "TUNEBOOK_RUNS": str(folder / "runs")}
    shutil.rmtree(folder / "runs" / name, ignore_errors=True)  # of a call that was cut short
    command = [sys.executable, "-m", "tunebook"]
    estimate = subprocess.run([*command, "estimate", path, "--json"], env=environment, capture_output=True, check=True)
    before = _speed()
    started = time.monotonic()
    subprocess.run([*command, "run", path, "--name", name], env=environment, capture_output=True, check=True)
    seconds = time.monotonic() - started
    found = json.loads(estimate.stdout)
    return {
        "plan": told,
        "told": found["seconds"],
        "parts": found["factors"]["parts"],
        "noise": found["factors"]["noise"],
        "seconds": seconds,
        "moved": abs(_speed() / before - 1),
    }


def _plan(draw: random.Random, number: int, folder: Path, data: Path) -> tuple[str, str]:
    """A plan in a few words, and its file."""
    size, rows = draw.choice(list(SIZES)), draw.choice((_bash, _banking, _instructions))
    full, schedule = draw.random() < 0.5, draw.choice(("every epoch", "every 20 steps", "at 5, 15, then every 40"))
    count, batch, epochs = draw.randint(40, 120), draw.choice((4, 8, 16)), draw.randint(1, 2)
    answers, formats = draw.random() < 0.6, ["safetensors"] if draw.random() < 0.2 else []
    path = folder / f"plan-{number}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in draw.sample(rows(data), count)), encoding="utf-8")
    plan = {
        "format": 1,
        "model": {"name": str(_model(size, folder, data))},
        "data": {"path": str(path), "max_length": draw.choice((128, 256)), "validation_share": 0.15},
        "training": {
            "method": "full" if full else "lora",
            "learning_rate": draw.choice((3e-4, 1e-3)),
            "batch_size": batch,
            "epochs": {"min": 1, "max": epochs},
        },
        "lora": {"rank": draw.choice((4, 16))},
        "evaluation": {
            "schedule": schedule,
            "prompts": draw.choice((4, 8, 12)),
            "max_new_tokens": draw.choice((16, 32, 48)),
            "retention": draw.random() < 0.5,
        },
        "checkpoints": {"every": draw.choice((10, 50))},
        "metrics": ["training_loss", "validation_loss", *(["response_length"] if answers else [])],
        "export": {"formats": formats},
    }
    file = folder / f"plan-{number}.yaml"
    file.write_text(json.dumps(plan), encoding="utf-8")  # JSON is YAML
    words = (
        f"{size} {plan['training']['method']}, {count} of {rows.__name__[1:]}, batch {batch}, {epochs} epochs, "
        f"{schedule}{', answers' if answers else ''}{', export' if formats else ''}"
    )
    return words, str(file)


def _model(size: str, folder: Path, data: Path) -> Path:
    """stories260K, or a model of another shape with its tokenizer and random weights."""
    stories = _stories(data, folder)
    if SIZES[size] is None or (folder / size / "config.json").exists():
        return stories if SIZES[size] is None else folder / size
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    width, layers = SIZES[size]
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(stories)
    config.update(
        {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers, "head_dim": width // 8}
    )
    LlamaForCausalLM(config).save_pretrained(folder / size)
    AutoTokenizer.from_pretrained(stories).save_pretrained(folder / size)
    return folder / size


def _speed() -> float:
    """Seconds of a fixed matrix product, the middle of 15."""
    import torch

    one = torch.rand(1200, 1200, generator=torch.Generator().manual_seed(0))
    taken = []
    for _ in range(15):
        started = time.perf_counter()
        one @ one
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _judge(done: list[dict[str, Any]]) -> int:
    """Print the shares over the plans that count, and those that do not."""
    counted = [one for one in done if one["moved"] < 0.1]
    for one in done:
        if one not in counted:
            print(f"not counted, the machine's speed moved by {one['moved']:.0%}: {_line(one)}")
    if len(counted) < COUNTED:
        print(f"{len(counted)} plans count, {COUNTED} are needed; raise --plans")
        return 1
    near = [abs(one["seconds"] / one["told"]["expected"] - 1) <= 0.2 for one in counted]
    inside = [one["told"]["low"] <= one["seconds"] <= one["told"]["high"] for one in counted]
    for name, hits, least in (("within 20 %", near, 0.8), ("inside its band", inside, 0.9)):
        print(f"{name}: {sum(hits)} of {len(hits)} ({statistics.fmean(hits):.0%}; asked {least:.0%})")
    return 0 if statistics.fmean(near) >= 0.8 and statistics.fmean(inside) >= 0.9 else 1


def _line(one: dict[str, Any]) -> str:
    told, off = one["told"], one["seconds"] / one["told"]["expected"] - 1
    band = f"{told['low']:.0f} to {told['high']:.0f}"
    return f"told {told['expected']:5.1f} s ({band}), took {one['seconds']:5.1f} s, {off:+4.0%}: {one['plan']}"


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
