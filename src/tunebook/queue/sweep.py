"""A sweep: one plan with each combination of a few values, every one a run of the queue."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tunebook.errors import Fault, PlanError
from tunebook.plan.schema import Plan
from tunebook.plan.text import load_yaml
from tunebook.queue.entries import enqueue, take_back
from tunebook.runs.store import Run, check_free, check_name, free_name
from tunebook.workflow.start import prepare_run, read_plan

MOST = 100  # runs of one sweep


@dataclass(frozen=True, slots=True)
class Variant:
    """One plan of a sweep, and the values that tell it from the others, by path, as they were written."""

    plan: Plan
    values: dict[str, str]


def variants(path: Path, settings: Sequence[str], read: Callable[[Path, list[str]], Plan] = read_plan) -> list[Variant]:
    """The plan at `path` with each combination of `settings` (`path=[a, b]`); the last one named varies fastest.

    `read` is given the path and one combination. PlanError with every fault when any of them cannot be used, or there
    are more than 100.
    """
    tried = [_values(setting) for setting in settings]
    count = 1
    for values in tried:
        count *= len(values)
    if count > MOST:
        raise PlanError(f"That makes {count:,} runs; a sweep has {MOST} at most.", do="Try fewer values.")
    found, faults = [], dict[Fault, None]()
    for chosen in itertools.product(*tried):
        try:
            made = read(path, list(chosen))
        except PlanError as error:
            if not error.faults:
                raise
            faults |= dict.fromkeys(error.faults)
            continue
        found.append(Variant(made, dict(_halves(setting) for setting in chosen)))
    if faults:
        raise PlanError(
            f"{count - len(found)} of the {count} plans of this sweep cannot be used.",
            kept="No run was made.",
            faults=list(faults),
        )
    return found


def add_sweep(path: Path, settings: Sequence[str], name: str | None, runs: Path) -> list[Run]:
    """Put a run for each variant into the queue, all of them or none. They are called `NAME-1`, `NAME-2` and so on.

    When one cannot be queued, a run that a worker has begun meanwhile stays.
    """
    planned = variants(path, settings)
    if name:
        for number in range(1, len(planned) + 1):
            check_free(check_name(f"{name}-{number}"), runs)
    made: list[Run] = []
    try:
        for number, variant in enumerate(planned, 1):
            called = f"{name}-{number}" if name else free_name(Path(variant.plan.data.path).stem, runs)
            made.append(prepare_run(variant.plan, called, runs))
        for run, variant in zip(made, planned, strict=True):
            enqueue(run, name or made[0].name, variant.values)
    except BaseException:
        for run in reversed(made):  # those that no worker knows of go first, and make room on a full disk
            take_back(run)
        raise
    return made


def _values(setting: str) -> list[str]:
    """`path=[a, b]` as `path=a` and `path=b`. A value that is a list itself stands in a list: `path=[[a, b], [c]]`.

    What is not of that form is left to the plan, which says what is wrong with it.
    """
    path, text = _halves(setting)
    try:
        value = load_yaml(text)
    except yaml.YAMLError:
        return [setting]
    if not isinstance(value, list) or not value:
        return [setting]
    return [f"{path}={json.dumps(item, ensure_ascii=False, default=str)}" for item in value]


def _halves(setting: str) -> tuple[str, str]:
    path, _, text = setting.partition("=")
    return path.strip(), text
