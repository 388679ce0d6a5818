"""Run folders: make one whole or not at all, open it, list them, remove one.

runs/NAME/ plan.yaml answers.yaml page.md environment.json data/ events.jsonl checkpoints/step-N/ samples/
           evaluation/ reviews.jsonl report.{json,md,html} export/ run.json run.log
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebook.errors import RunError
from tunebook.files import read_json, sync_folder, write_json, write_text

if TYPE_CHECKING:
    from tunebook.plan.schema import Plan

FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder. Nothing is read until it is asked for."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    def plan(self) -> Plan:
        """The plan that this run follows, with absolute paths."""
        from tunebook.plan.files import load_plan

        return load_plan(self.folder / "plan.yaml")


def runs_folder(given: str | Path | None = None) -> Path:
    """Where runs live: the folder given, else TUNEBOOK_RUNS, else `runs/` in the working folder."""
    return Path(given or os.environ.get("TUNEBOOK_RUNS") or "runs").absolute()


def check_name(name: str) -> str:
    """`name`, when it can be a run's; RunError otherwise."""
    if not _NAME.fullmatch(name):
        raise RunError(
            f"'{name}' cannot be the name of a run.",
            do="Use small letters, digits, '.', '_' and '-', beginning with a letter or digit, 64 at most.",
        )
    return name


def free_name(stem: str, runs: Path) -> str:
    """`stem`, made fit for a name, with the first number behind it that no run has."""
    clean = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:56] or "run"
    number = 1
    while (runs / f"{clean}-{number}").exists():
        number += 1
    return f"{clean}-{number}"


def check_free(name: str, runs: Path) -> None:
    """RunError when a run of that name exists or the folder for runs cannot be written."""
    folder = runs / check_name(name)
    if folder.exists() or folder.is_symlink():
        raise RunError(
            f"A run named '{name}' exists in {runs}.",
            kept="Nothing was touched.",
            do=f"Give another --name, go on with `tunebook resume {name}`, or remove it: `tunebook runs rm {name}`.",
        )
    place = next(parent for parent in [runs, *runs.parents] if parent.exists())
    if not place.is_dir() or not _writable(place):
        raise RunError(f"The folder {runs} cannot be written.", do="Give another one with --runs or TUNEBOOK_RUNS.")


def create_run(name: str, runs: Path, plan: Plan, texts: dict[str, str] | None = None) -> Run:
    """Make the run folder aside and rename it, so that it is whole or not there. `texts`: further files by name."""
    from tunebook.plan.files import dump_plan

    check_free(name, runs)
    aside = runs / f".new-{name}-{uuid.uuid4().hex[:8]}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        for file, text in {"plan.yaml": dump_plan(plan), **(texts or {})}.items():
            write_text(aside / file, text)
        write_json(aside / "run.json", {"format": FORMAT, "name": name, "order": plan.workflow.order})
        aside.rename(runs / name)
        sync_folder(runs)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise RunError(
            f"The run folder {runs / name} could not be made ({error.strerror or error}).",
            kept="Nothing is left of it.",
            do="Free space, or give another folder with --runs.",
        ) from error
    return Run(runs / name)


def is_run(name: str, runs: Path) -> bool:
    """Does `name` mean a run in `runs`, or the path of one? Something else may have that name, such as a model."""
    return ((Path(name) if "/" in name else runs / name) / "run.json").exists()


def open_run(name: str, runs: Path | None = None) -> Run:
    """The run called `name` (or at that path); RunError when there is none or its format is not ours."""
    runs = runs or runs_folder()
    folder = Path(name).absolute() if "/" in name else runs / check_name(name)
    try:
        value: Any = read_json(folder / "run.json")
        version = value["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        if not folder.is_dir():
            raise RunError(
                f"There is no run '{name}' in {runs}.", do="`tunebook runs` lists the runs there are."
            ) from error
        raise RunError(
            f"{folder} is not a whole run folder (run.json is missing or damaged).",
            kept="Nothing was touched.",
            do="Remove the folder, or restore run.json from a copy.",
        ) from error
    if version != FORMAT:
        raise RunError(
            f"The run '{name}' has format {version}; this Tunebook reads format {FORMAT}.",
            do="Use the version of Tunebook that made it.",
        )
    return Run(folder)


def list_runs(runs: Path) -> list[Run]:
    """Every run in `runs`, by name. Folders being made or removed begin with a dot and are not runs."""
    if not runs.is_dir():
        return []
    return [
        Run(folder) for folder in sorted(runs.iterdir()) if folder.name[0] != "." and (folder / "run.json").is_file()
    ]


def remove_run(run: Run) -> None:
    """Take the run out of sight with one rename, then delete it: a crash between leaves no half of it on view.

    What an earlier crash left is deleted with it.
    """
    trash = run.folder.with_name(f".trash-{run.name}-{uuid.uuid4().hex[:8]}")
    try:
        run.folder.rename(trash)
        for leftover in run.folder.parent.glob(".trash-*"):
            shutil.rmtree(leftover, ignore_errors=leftover != trash)
    except OSError as error:
        raise RunError(f"The run '{run.name}' could not be removed ({error.strerror or error}).") from error


def _writable(folder: Path) -> bool:
    probe = folder / f".tunebook-{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True
