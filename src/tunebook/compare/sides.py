"""What is compared: a name is found out to be a run, one of its checkpoints, its base, a version, a model, an address.

demo-1             the result of a run         demo-1@base      the model that it began with
demo-1@16          its checkpoint of step 16   house, house@2   a version
smollm2-135m, a folder, a .gguf file, a hub id                  a bare model
http://127.0.0.1:8000/v1, ...#name                              a model behind an OpenAI-compatible address
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunebook.errors import ModelError, RunError, TunebookError
from tunebook.evaluate.address import Address
from tunebook.model.sources import find_model, load_model, load_tokenizer
from tunebook.runs.checkpoints import damage, steps_saved
from tunebook.runs.store import Run, is_run, open_run
from tunebook.versions.store import find_version
from tunebook.workflow.hardware import pick_device
from tunebook.workflow.result import load_tuned, result_step

KEY = "TUNEBOOK_API_KEY"
Kind = Literal["run", "checkpoint", "base", "version", "model", "address"]


@dataclass(frozen=True, slots=True)
class Side:
    """One side. `model` is what a bare model or a version is loaded by.

    `run` is the run that the side is, or came from; `step` the checkpoint whose weights it has.
    """

    name: str
    kind: Kind
    detail: str
    load: Callable[[], tuple[Any, Any]] | None = None  # (model, tokenizer)
    address: Address | None = None
    model: str = ""
    run: Run | None = None
    step: int | None = None


def find_side(name: str, runs: Path) -> Side:
    """What `name` means. ModelError or RunError when there is nothing of that name; nothing is loaded."""
    if re.match(r"[a-z]+://", name):
        url = name.partition("#")[0]
        return Side(name, "address", "", address=Address(url, "The model", "Start its server, or leave it out.", KEY))
    stem, _, which = name.partition("@")
    version = find_version(name, runs)
    if is_run(stem, runs):
        if version:
            raise RunError(
                f"'{name}' is a run's name and a version's.",
                do=f"Name the run by its folder, {runs / name}, or the version by its own, {version.folder}.",
            )
        return _of_run(name, open_run(stem, runs), which)
    if version:
        made_by = version.facts["run"]
        run = open_run(made_by, runs) if is_run(made_by, runs) else None
        detail = f"{version.title}, from the run {version.facts['run']}"
        place = str(version.folder)
        step = version.facts["step"]
        return Side(name, "version", detail, lambda: _load(place), model=place, run=run, step=step)
    try:
        source = find_model(name)
    except ModelError as error:
        raise ModelError(
            f"There is no run, no version and no model '{name}'.",
            do="`tunebook runs` and `tunebook versions list` show what there is; an address begins with http://.",
        ) from error
    return Side(name, "model", source.kind if source.kind != "folder" else "", lambda: _load(name), model=name)


def is_base_of(first: Side, side: Side) -> bool:
    """Is `first` the model that the run of `side` began with? No, where that one is no longer to be found."""
    if first.kind == "base" or side.run is None:
        return side.run is not None and first.run == side.run
    if not first.model:
        return False
    try:
        base = find_model(side.run.plan().model.name, side.run.folder)
        return Path(find_model(first.model).place).resolve() == Path(base.place).resolve()
    except TunebookError:
        return False


def _of_run(name: str, run: Run, which: str) -> Side:
    if which == "base":
        return Side(name, "base", f"base of {run.name}", lambda: _base_of(run), run=run, step=0)
    if not which:
        step = result_step(run)
        return Side(name, "run", f"step {step}", lambda: load_tuned(run, step), run=run, step=step)
    saved = [step for step in steps_saved(run.checkpoints) if not damage(run.checkpoints, step)]
    if not which.isdigit() or int(which) not in saved:
        there = ", ".join(f"{run.name}@{step}" for step in sorted(saved)) or "none"
        raise RunError(f"The run '{run.name}' has no good checkpoint '{which}'.", do=f"It has: {there}.")
    chosen = int(which)
    return Side(name, "checkpoint", f"step {chosen}", lambda: load_tuned(run, chosen), run=run, step=chosen)


def _base_of(run: Run) -> tuple[Any, Any]:
    """What the run began with: rounded to 4 bits where its plan says so."""
    model = run.plan().model
    base = load_model(model.name, run.folder, quantization=model.quantization)
    return base.to(pick_device()), load_tokenizer(model.name, run.folder)


def _load(name: str) -> tuple[Any, Any]:
    return load_model(name).to(pick_device()), load_tokenizer(name)
