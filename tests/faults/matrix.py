"""The resume matrix: plans that differ in everything that a resume could get wrong, cut at every optimizer step.

A cell is a plan and a cut: killed right after a step, killed right after a checkpoint, or asked to stop (SIGTERM). The
plans are drawn from the axes below with a fixed seed, so that every value and most pairs of values are met.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.compare import differences
from tests.faults.farm import Farm, Hook
from tunebook.plan.files import make_plan, save_plan
from tunebook.runs.events import read_events
from tunebook.runs.store import Run

PLANS = 24
PLATEAU = {"kind": "plateau", "metric": "validation_loss", "patience": 2, "unit": "evaluations", "source": "matrix"}
AXES: dict[str, list[dict[str, Any]]] = {
    "method": [{}, {"training.method": "full", "training.learning_rate": 1e-3}],
    "model": [{}, {"model.name": "plain"}],  # a model that the fast way does not know
    "dropout": [{}, {"training.dropout": 0.3}],
    "noise": [{}, {"training.noise_alpha": 5.0}],
    "smoothing": [{}, {"training.label_smoothing": 0.1}],
    "precision": [{}, {"training.precision": "bfloat16"}],
    "micro_batch": [{"training.micro_batch_tokens": 4096}, {"training.micro_batch_tokens": 60}],
    "batch": [{"training.batch_size": 8}, {"training.batch_size": 5}, {"training.batch_size": 32}],
    "warmup": [{}, {"training.warmup": {"strategy": "cosine", "share": 0.4}}],
    "clipping": [{}, {"training.max_grad_norm": 0.05}],
    "evaluations": [
        {"evaluation.schedule": "every 3 steps"},
        {"evaluation.schedule": "every epoch"},
        {"evaluation.schedule": "at 1, 4, then every 2"},
    ],
    "checkpoints": [
        {"checkpoints.every": 2},
        {"checkpoints.every": 1},
        {"checkpoints.every": 3, "checkpoints.keep": 1},
    ],
    "stopping": [
        {},
        {"stopping.rules": [PLATEAU | {"min_delta": 0.5}]},  # ends it early, once an epoch is over
        {"stopping.rules": [PLATEAU | {"metric": "training_loss", "unit": "steps", "patience": 4, "min_delta": 5.0}]},
    ],
    "result": [{}, {"stopping.keep_best": False}],
    "metrics": [{"metrics": ["validation_loss"]}, {"metrics": ["validation_loss", "bleu", "response_length"]}],
    "held_out": [{}, {"data.validation_share": 0.0}, {"data.validation_path": "held_out.jsonl"}],
    "lengths": [{}, {"data.max_length": 44, "data.too_long": "cut"}],
    "quantization": [{}, {"model.quantization": "nf4"}],
}


@dataclass(frozen=True)
class Cell:
    """Plan number `plan` with its settings, cut right after the event `kind` of optimizer step `step`.

    A cut by SIGKILL leaves the run folder as it is at that moment, so a copy of the folder stands for it. SIGTERM lets
    the run save first, so that one is sent.
    """

    plan: int
    settings: dict[str, Any]
    kind: str
    step: int
    term: bool = False

    def __str__(self) -> str:
        return (
            f"plan {self.plan}, {'asked to stop' if self.term else 'killed'} after the {self.kind} of step {self.step}"
        )


def plans(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Settings of `count` plans, by path. Each axis is dealt like shuffled cards: its values come equally often."""
    pick = random.Random(seed)
    hands = {}
    for name, values in AXES.items():
        hand = [values[i % len(values)] for i in range(count)]
        pick.shuffle(hand)
        hands[name] = hand
    made = []
    for i in range(count):
        settings: dict[str, Any] = {}
        for hand in hands.values():
            settings |= hand[i]
        if settings.get("training.method") == "full":
            settings.pop("model.quantization", None)  # 4 bits are never trained
        made.append(settings)
    return made


def straight(farm: Farm, plan: int, settings: dict[str, Any]) -> Run:
    """Run a plan from start to end, with a copy of its folder at every cut."""
    name = f"plan-{plan}"
    save_plan(make_plan(_values(farm.home, settings)), farm.home / f"{name}.yaml")
    done = farm.run(
        *("run", f"{name}.yaml", "--name", name),
        hooks=[_record(farm, name), ("snapshot", "metrics", "evaluation", "checkpoint")],
    )
    if done.code:
        raise RuntimeError(f"plan {plan} ended with {done.code}: {done.err}")
    return Run(farm.home / "runs" / name)


def cells(run: Run, plan: int, settings: dict[str, Any]) -> Iterator[Cell]:
    """Every cut of a straight run: killed after any of its metrics, evaluations and checkpoints; some stops."""
    for event in read_events(run.events):
        if event["kind"] in ("metrics", "evaluation", "checkpoint"):
            yield Cell(plan, settings, event["kind"], event["step"])
        if event["kind"] == "metrics" and event["step"] % 3 == plan % 3:
            yield Cell(plan, settings, "metrics", event["step"], term=True)


def take(farm: Farm, run: Run, cell: Cell, control: Sequence[Hook] = ()) -> list[str]:
    """Cut the cell's run, resume it, and compare with the straight `run`. `control`: a fault put into the resume."""
    name = f"{run.name}-{cell.kind}-{cell.step}"
    if cell.term:
        name += "-term"
        cut = farm.run(
            *("run", f"{run.name}.yaml", "--name", name),
            hooks=[_record(farm, name), ("kill_at", cell.kind, cell.step, signal.SIGTERM)],
        )
        if cut.code != 143:
            return [f"the stopped run ended with {cut.code}: {cut.err[-500:]}"]
    done = farm.run("resume", name, hooks=[_record(farm, name), *control])
    if done.code:
        return [f"the resume ended with {done.code}: {done.err[-500:]}"]
    other = Run(run.folder.with_name(name))
    found = differences(run, other)
    shutil.rmtree(other.folder)
    return found


def _record(farm: Farm, name: str) -> Hook:
    return ("record_rows", str(farm.home / "runs" / f"{name}.rows"))


def _values(home: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """A plan's plain values: those that every cell shares, and `settings` by path."""
    values: dict[str, Any] = {
        "model": {"name": str(home / "fast")},
        "data": {"path": str(home / "rows.jsonl"), "validation_share": 0.2, "max_length": 128},
        "training": {"learning_rate": 3e-3, "batch_size": 8, "epochs": {"min": 1, "max": 2}},
        "lora": {"rank": 4},
        "evaluation": {"prompts": 2, "max_new_tokens": 6, "retention": False},
        "checkpoints": {"every": 2, "keep": 2},
        "stopping": {},
        "export": {"formats": []},  # a fresh process costs seconds
    }
    for path, value in settings.items():
        section, _, key = path.partition(".")
        if not key:
            values[section] = value
        elif path in ("model.name", "data.validation_path"):
            values[section][key] = str(home / value)
        else:
            values[section][key] = value
    return values
