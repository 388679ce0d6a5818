"""Can the success report be believed? Real runs of a small model, judged, and judged again with base and tuned swapped.

    python benchmarks/judgement.py                      # 20 runs of each kind, some 25 minutes on one core
    python benchmarks/judgement.py --runs 4 --swaps 100
    python benchmarks/judgement.py --keep build/judgement   # what is done there is not done again
    python benchmarks/judgement.py --keep build/judgement --kind forgot

What is asked, with the share that is allowed; the report's own level is 1 % (5 % for general ability):
    swapped   base and tuned of the runs with a gain, swapped at random pair by pair: "better" in at most 2 %
    still     runs at learning rate 0: answers "better" and training loss "falls" never
    gain      runs whose held-out loss fell by more than a third: answers "better" in at least 90 %
    forgot    a high learning rate on narrow data: general ability "no" in at least 90 %
    gentle    a very low learning rate: general ability "yes" in at least 90 %

The model is stories260K, the data nl2bash, banking77 and an instruction set, all from the folder `shared` beside the
repository (or --model, a folder, and --data). Exit code 1 when a share is not kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the model is so small that a second thread costs more than it gives

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
Row = dict[str, str]


@dataclass(frozen=True)
class Kind:
    """One kind of run: its plan's training section, where its data come from, and the share that is asked for."""

    training: dict[str, Any]
    rows: Callable[[Path, int], list[Row]]
    ask: str  # indicator=verdict
    least: float


def real_rows(data: Path, seed: int) -> list[Row]:
    """340 rows of one of three real data sets, another part for every seed."""
    sets = (_bash, _banking, _instructions)
    rows = sets[seed % 3](data)
    return random.Random(seed).sample(rows, 340)


def narrow_rows(data: Path, seed: int) -> list[Row]:
    """Hardly more than one answer, over and over."""
    word = random.Random(seed).choice(["beep", "tick", "zap", "plop"])
    return [{"prompt": f"Say {number}", "completion": f"{word} {number} {word}"} for number in range(80)]


FULL = {"method": "full", "batch_size": 8}
GAIN = FULL | {"learning_rate": 1e-3, "epochs": {"min": 1, "max": 3}}
KINDS = {
    "gain": Kind(GAIN, real_rows, "answers=yes", 0.9),
    "still": Kind(FULL | {"learning_rate": 0.0, "epochs": {"min": 1, "max": 1}}, real_rows, "answers=no", 1.0),
    "forgot": Kind(FULL | {"learning_rate": 1e-2, "epochs": {"min": 1, "max": 3}}, narrow_rows, "retention=no", 0.9),
    "gentle": Kind(FULL | {"learning_rate": 1e-6, "epochs": {"min": 1, "max": 1}}, real_rows, "retention=yes", 0.9),
}


def main() -> int:
    """Run everything, print a line a run and the shares at the end."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=20, help="runs of each kind [20]")
    options.add_argument("--kind", choices=KINDS, action="append", help="only this kind; may be repeated [all]")
    options.add_argument("--swaps", type=int, default=1000, help="swaps over all runs with a gain [1000]")
    options.add_argument("--model", type=Path, help="a model folder [stories260K, converted]")
    options.add_argument("--keep", type=Path, help="a folder in which the runs stay")
    options.add_argument("--data", type=Path, default=SHARED, help="where the data sets lie")
    given = options.parse_args()
    if not (given.data / "nl2bash").is_dir():
        sys.exit(f"There are no data sets in {given.data}; name their folder with --data.")
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.keep or Path(scratch)).absolute()
        model = given.model or _stories(given.data, folder)
        kinds = {name: KINDS[name] for name in given.kind or KINDS}
        runs = {
            name: [_run(name, kind, seed, model, given.data, folder) for seed in range(given.runs)]
            for name, kind in kinds.items()
        }
        kept = []
        for name, kind in kinds.items():
            found = [_judged(run) for run in runs[name]]
            kept.append(_told(name, kind, found))
            if name == "gain":
                gained = [one for one in found if one["gained"]]
                kept.append(_swapped(gained, given.swaps, folder / "swaps.txt"))
    return 0 if all(kept) else 1


def _run(name: str, kind: Kind, seed: int, model: Path, data: Path, folder: Path) -> Path:
    """Train one run, unless it is there already; returns its folder."""
    from tunebook.plan.files import make_plan
    from tunebook.runs.store import open_run, remove_run
    from tunebook.workflow.runner import run_steps
    from tunebook.workflow.start import prepare_run

    done = folder / "runs" / f"{name}-{seed}"
    if (done / "report.html").exists():
        return done
    if done.exists():
        remove_run(open_run(done.name, done.parent))
    file = folder / f"{name}-{seed}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in kind.rows(data, seed)), encoding="utf-8")
    ability = kind.ask.startswith("retention")
    plan = make_plan(
        {
            "model": {"name": str(model)},
            "data": {"path": str(file), "max_length": 256, "validation_share": 0.15},
            "training": kind.training | {"seed": seed},
            "evaluation": {"prompts": 4 if ability else 40, "max_new_tokens": 40, "retention": ability},
            "metrics": ["training_loss", "validation_loss"],
            "export": {"formats": []},
        }
    )
    run_steps(prepare_run(plan, done.name, done.parent))
    print(f"{done.name} is trained", flush=True)
    return done


def _judged(folder: Path) -> dict[str, Any]:
    """What the run's own report says, and whether its held-out loss fell by more than a third; printed."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    found = {one["id"]: one for one in report["indicators"]}
    loss, likeness = found["validation"]["numbers"], found["answers"]["numbers"]
    verdicts = {key: one["verdict"] for key, one in found.items()}
    print(
        f"{folder.name}: held-out loss {loss['base']:.3f} -> {loss['tuned']:.3f}, likeness {likeness['base']:.1f} -> "
        f"{likeness['tuned']:.1f}, {', '.join(f'{key} {verdict}' for key, verdict in verdicts.items())}",
        flush=True,
    )
    return {"folder": folder, "verdicts": verdicts, "gained": loss["tuned"] < loss["base"] * 2 / 3}


def _told(name: str, kind: Kind, found: list[dict[str, Any]]) -> bool:
    """Print the share of runs that came to the verdict asked for; is it enough?"""
    indicator, verdict = kind.ask.split("=")
    counted = [one for one in found if name != "gain" or one["gained"]]
    hits = sum(one["verdicts"][indicator] == verdict for one in counted)
    share = hits / len(counted) if counted else 0.0
    ok = share >= kind.least
    if name == "still":
        falls = sum(one["verdicts"]["training_loss"] == "yes" for one in found)
        print(f"== still: training loss said to fall in {falls} of {len(found)}")
        ok = ok and not falls
    print(
        f"== {name}: {indicator} {verdict} in {hits} of {len(counted)} ({share:.0%}; asked {kind.least:.0%})",
        flush=True,
    )
    return ok


def _swapped(found: list[dict[str, Any]], swaps: int, kept: Path) -> bool:
    """Swap base and tuned pair by pair, and count how often the answers are then called better."""
    from tunebook.evaluate.indicators import answers
    from tunebook.evaluate.record import read_record

    records = [read_record(one["folder"]) for one in found]
    verdicts = kept.read_text(encoding="utf-8").split() if kept.exists() else []
    with kept.open("a", encoding="utf-8") as file:
        for number in range(len(verdicts), swaps if records else 0):
            record, chance = records[number % len(records)], random.Random(number)
            verdicts.append(answers(_swap(record.answers, chance), _swap(record.held_out, chance)).verdict)
            file.write(verdicts[-1] + "\n")
            file.flush()
    hits = verdicts[:swaps].count("yes")
    print(f"== swapped: better in {hits} of {swaps} ({hits / max(1, swaps):.1%}; allowed 2 %)", flush=True)
    return bool(records) and hits <= 0.02 * swaps


def _swap(pairs: Any, chance: random.Random) -> Any:
    mixed = [pair if chance.random() < 0.5 else pair[::-1] for pair in zip(*pairs, strict=True)]
    return tuple(list(side) for side in zip(*mixed, strict=True))


def _stories(data: Path, folder: Path) -> Path:
    """stories260K as a model folder."""
    out = folder / "stories260K"
    if (out / "config.json").exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, str(data / "stories260K" / "convert.py"), str(out)], check=True, capture_output=True
    )
    return out


def _bash(data: Path) -> list[Row]:
    texts = [(data / "nl2bash" / name).read_text(encoding="utf-8").splitlines() for name in ("all.nl", "all.cm")]
    return [{"prompt": prompt, "completion": command} for prompt, command in zip(*texts, strict=True)]


def _banking(data: Path) -> list[Row]:
    with (data / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        return [
            {"prompt": row["text"], "completion": row["category"].replace("_", " ")} for row in csv.DictReader(file)
        ]


def _instructions(data: Path) -> list[Row]:
    rows = json.loads((data / "llms_from_scratch" / "instruction-data.json").read_text(encoding="utf-8"))
    return [{"prompt": f"{row['instruction']}\n{row['input']}".strip(), "completion": row["output"]} for row in rows]


if __name__ == "__main__":
    sys.exit(main())
