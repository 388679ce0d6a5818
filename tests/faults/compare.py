"""Two runs of one plan, file by file and number by number: everything must be equal but times and memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from tunebook.files import read_json
from tunebook.runs.checkpoints import damage, steps_saved
from tunebook.runs.metrics import metric_rows
from tunebook.runs.store import Run

_TIMES = ("seq", "time", "minutes", "parts", "eta_seconds", "throughput", "seconds", "evaluated_at", "base_seconds")
_TIMES += ("memory", "memory_peak", "memory_device")


def differences(straight: Run, other: Run) -> list[str]:
    """Each thing in which `other` differs from `straight`, in a few words; empty when they are equal to the bit."""
    return [
        *_checkpoints(straight, other),
        *_files(straight, other),
        *_metrics(straight, other),
        *_rows(straight, other),
    ]


def timeless(value: Any) -> Any:
    """`value` without what a clock or the machine's memory decides, at any depth."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in _TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def _checkpoints(straight: Run, other: Run) -> list[str]:
    """Weights, moments and state at the end, at the best step, and wherever both have a checkpoint."""
    steps = {run: set(steps_saved(run.checkpoints)) for run in (straight, other)}
    must = {max(steps[straight]), read_json(straight.folder / "evaluation" / "result.json")["step"]}
    found = [f"checkpoint {step} is missing" for step in sorted(must - steps[other])]
    for step in sorted(steps[straight] & steps[other]):
        places = [run.checkpoints / f"step-{step}" for run in (straight, other)]
        if wrong := damage(other.checkpoints, step):
            found.append(f"checkpoint {step}: {wrong}")
            continue
        for name in ("weights.safetensors", "optimizer.safetensors"):
            if places[0].joinpath(name).read_bytes() != places[1].joinpath(name).read_bytes():
                found.append(f"checkpoint {step}: {_tensors(*(place / name for place in places))} in {name}")
        one, two = (timeless(read_json(place / "state.json")) for place in places)
        found += [f"checkpoint {step}: state {key}" for key in one if one[key] != two.get(key)]
    return found


def _tensors(one: Path, two: Path) -> str:
    first, second = load_file(one), load_file(two)
    unequal = [name for name in first if name not in second or (first[name] != second[name]).any()]
    return f"{len(unequal)} of {len(first)} tensors differ"


def _files(straight: Run, other: Run) -> list[str]:
    """What was measured and answered on the way, and the split."""
    found = []
    for folder in ("evaluation", "samples", "data"):
        for path in sorted(straight.folder.joinpath(folder).glob("*.json")):
            twin = other.folder / folder / path.name
            if _read(path) != _read(twin):
                found.append(f"{folder}/{path.name}")
    return found


def _read(path: Path) -> Any:
    """What stands in a JSON file, times left out; the fault where it cannot be read."""
    try:
        return timeless(read_json(path))
    except (OSError, ValueError) as error:
        return repr(error)


def _metrics(straight: Run, other: Run) -> list[str]:
    """Every number of every step and evaluation, stopping counters included."""
    one, two = (timeless(metric_rows(run)) for run in (straight, other))
    if len(one) != len(two):
        return [f"{len(two)} rows of metrics instead of {len(one)}"]
    return [f"{a['kind']} of step {a['step']}" for a, b in zip(one, two, strict=True) if a != b]


def _rows(straight: Run, other: Run) -> list[str]:
    """The examples of every optimizer step that was taken after the cut, and again, where a hook recorded them."""
    one, two = (_recorded(run) for run in (straight, other))
    due = [step for step in sorted(one) if two and step >= min(two)]
    return [f"examples of step {step}" for step in due if any(rows != one[step][0] for rows in two.get(step, [None]))]


def _recorded(run: Run) -> dict[int, list[Any]]:
    """Step -> what was trained in it, each time that it was taken."""
    taken: dict[int, list[Any]] = {}
    path = run.folder.parent / f"{run.name}.rows"
    for line in path.read_text().splitlines() if path.is_file() else []:
        step, rows = json.loads(line)
        taken.setdefault(step, []).append(rows)
    return taken
