"""What runs took on this machine, kept so that the next estimate is better: `timings.jsonl` in the cache.

    {"kind": "estimate", "plan", "machine", "parts": {part: seconds, as reckoned}, "expected": seconds, as told}
    {"kind": "run", "plan", "machine", "model", "parts": {part: seconds, as taken}}

A finished run is laid beside the last estimate of its plan. How far each part was off, in the middle of the runs that
are remembered, corrects the next estimate; how far totals were off widens or narrows its band.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tunebook.files import to_json, write_text
from tunebook.model.sources import cache_folder
from tunebook.plan.schema import Plan
from tunebook.runs.events import read_events
from tunebook.runs.store import Run
from tunebook.workflow.hardware import pick_device

PARTS = ("start", "base", "training", "evaluations", "checkpoints", "result", "export", "test")
REMEMBERED = 12  # runs that count, the newest
ALIKE = 3  # so many runs of the same model, and others no longer count
_LINES = 400  # the file is cut to half of them when it has more
_FIRST = 0.12  # how far off totals are taken to be before any run was seen, as a share; counts as four runs
_WORTH = 0.02  # seconds below which a part says nothing


@dataclass(frozen=True, slots=True)
class Pair:
    """One finished run beside the estimate that was made of it, in seconds."""

    model: str
    reckoned: Mapping[str, float]
    told: float
    taken: Mapping[str, float]


def remember_estimate(plan: Plan, parts: Mapping[str, float], expected: float) -> None:
    """Keep what was reckoned for `plan`, for the run that may follow."""
    _append({"kind": "estimate", "plan": _key(plan), "parts": dict(parts), "expected": expected})


def remember_run(run: Run) -> None:
    """Keep what `run`, just finished by this process in one go, took part by part. What cannot be kept is let go."""
    with suppress(OSError, KeyError, TypeError, ValueError, StopIteration):
        parts = parts_taken(run, psutil.Process().create_time())
        if parts:
            plan = run.plan()
            _append({"kind": "run", "plan": _key(plan), "model": plan.model.name, "parts": parts})


def parts_taken(run: Run, started: float) -> dict[str, float] | None:
    """Seconds of each part of a run whose process `started` then (seconds since 1970); None when it was resumed.

    A run that ended early says nothing about training and evaluations as they were planned.
    """
    events = list(read_events(run.events))
    if sum(event["kind"] == "run" and event["state"] == "started" for event in events) != 1:
        return None
    steps = {event["id"]: event for event in events if event["kind"] == "step" and event["state"] != "running"}
    began = next(event["time"] for event in events if event["kind"] == "step" and event["id"] == "train")
    spent = next(event["parts"] for event in reversed(events) if event["kind"] == "parts")
    planned = next(event["optimizer_steps"] for event in events if event["kind"] == "totals")
    loop = steps["train"]["evidence"]["seconds"]
    taken = {
        "start": began - started,
        "base": steps["train"]["seconds"] - loop,
        "training": loop - spent.get("validation", 0.0) - spent.get("checkpoint", 0.0),
        "evaluations": spent.get("validation", 0.0),
        "checkpoints": spent.get("checkpoint", 0.0),
        "result": steps["monitor"]["seconds"],
        "export": steps["export"]["seconds"],
        "test": steps["deploy"]["seconds"],
    }
    early = steps["train"]["evidence"]["optimizer_steps"] < planned
    return {name: seconds for name, seconds in taken.items() if not (early and name in ("training", "evaluations"))}


def pairs(model: str) -> list[Pair]:
    """Finished runs of this machine beside their estimates, newest last; of `model` alone where those are enough."""
    found, estimates = [], {}
    for line in _lines():
        if line["machine"] == _machine() and line["kind"] == "estimate":
            estimates[line["plan"]] = line
        elif line["machine"] == _machine() and (said := estimates.get(line["plan"])):
            found.append(Pair(line["model"], said["parts"], said["expected"], line["parts"]))
    alike = [pair for pair in found if pair.model == model]
    return (alike if len(alike) >= ALIKE else found)[-REMEMBERED:]


def corrections(seen: Sequence[Pair]) -> dict[str, float]:
    """Factor for each part: the middle of taken / reckoned, drawn towards 1 where few runs were seen."""
    found = {}
    for name in PARTS:
        logs = [
            math.log(pair.taken[name] / pair.reckoned[name])
            for pair in seen
            if pair.taken.get(name, 0.0) > _WORTH and pair.reckoned.get(name, 0.0) > _WORTH
        ]
        found[name] = math.exp(statistics.median(logs) * len(logs) / (len(logs) + 1)) if logs else 1.0
    return found


def corrected(parts: Mapping[str, float], seen: Sequence[Pair]) -> dict[str, float]:
    """`parts`, in seconds as reckoned, by how far those of finished runs were off."""
    factors = corrections(seen)
    return {name: seconds * factors[name] for name, seconds in parts.items()}


def spread(seen: Sequence[Pair]) -> float:
    """How far off totals are to be expected, as a standard deviation of their logarithm."""
    errors = [math.log(sum(pair.taken.values()) / pair.told) for pair in seen if set(PARTS) <= set(pair.taken)]
    return math.sqrt((4 * _FIRST**2 + sum(error**2 for error in errors)) / (4 + len(errors)))


def _key(plan: Plan) -> str:
    """The plan's hash, without what changes nothing that a run does."""
    value = plan.model_dump(mode="json", exclude={"origins", "notes", "not_understood"})
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _machine() -> str:
    import torch

    return f"{platform.node()} {pick_device()} {torch.get_num_threads()} threads"


def _file() -> Path:
    return cache_folder() / "timings.jsonl"


def _append(line: Mapping[str, Any]) -> None:
    """Add a line; a cache that cannot be written costs only what would have been learned."""
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        with _file().open("a", encoding="utf-8") as file:
            file.write(to_json({**line, "machine": _machine(), "time": time.time()}) + "\n")
        lines = _file().read_text(encoding="utf-8").splitlines(keepends=True)
        if len(lines) > _LINES:
            write_text(_file(), "".join(lines[-_LINES // 2 :]))


def _lines() -> list[dict[str, Any]]:
    """What can be read of the file; damaged lines are passed over."""
    try:
        text = _file().read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            value = json.loads(line)
            if {"machine", "plan", "parts", "kind"} <= set(value):
                found.append(value)
    return found
