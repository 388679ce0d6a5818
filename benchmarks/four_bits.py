"""What a base in 4 bits saves and costs: the same LoRA steps on whole and on rounded weights, in turns.

    python benchmarks/four_bits.py [--data FILE] [--batch 4 16] [--pairs 5]

Each run is a fresh process, as in `train.py`. Losses differ, since the weights do: both are told.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from train import DATA, DEMO, Case, as_file, measure
from tunebook.model.sources import model_folder


def main() -> None:
    """Alternate, and print a row for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", type=Path, default=next((path for path in DATA if path.exists()), DEMO))
    parser.add_argument("--batch", nargs="+", type=int, default=[4, 16])
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    model = str(model_folder(options.model, Path.cwd()))
    print("| batch | whole, tokens/s | 4 bits, tokens/s | ratio | whole, GB | 4 bits, GB | losses |")
    print("|---" * 7 + "|")
    for batch in options.batch:
        whole = Case(model, str(as_file(options.data)), "lora", batch, max(1, 12 // batch))
        pairs = []
        for number in range(options.pairs):
            sides = [whole, replace(whole, quantization="nf4")]
            found = {side: measure(side, "tunebook", "fused") for side in (sides if number % 2 else sides[::-1])}
            pairs.append([found[side] for side in sides])
        speeds, peaks = (
            [statistics.median(run[what] for run in side) for side in zip(*pairs, strict=True)]
            for what in ("speed", "peak")
        )
        ratios = [other["speed"] / one["speed"] for one, other in pairs]
        losses = " / ".join(f"{run['losses'][0]:.3f}" for run in pairs[0])
        print(
            f"| {batch} | {speeds[0]:.0f} | {speeds[1]:.0f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {peaks[0] / 1e9:.2f} | {peaks[1] / 1e9:.2f} | {losses} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
