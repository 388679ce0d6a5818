"""Who still needs a run or a version: neither can be removed while another one points to it."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from tunebook.errors import Fault, RunError, TunebookError
from tunebook.runs.store import Run, list_runs
from tunebook.versions.store import Version, changing, list_versions, open_version, read_line, write_line


def check_run_unused(run: Run) -> None:
    """RunError when a version is this run's result, or another run began with a model that lies in its folder."""
    runs = run.folder.parent
    versions = [version.title for version in list_versions(runs) if version.facts["run"] == run.name]
    faults = [Fault(title, "is its result") for title in versions]
    faults += [Fault(f"run {name}", "began with the model that it exported") for name in _begun_with(run.folder, runs)]
    if faults:
        do = (
            f"Remove the version first: `tunebook versions rm {versions[0]}`." if versions else "Remove that run first."
        )
        raise RunError(f"The run '{run.name}' is still needed.", kept="Nothing was removed.", do=do, faults=faults)


def remove_version(text: str, runs: Path) -> Version:
    """Remove one version, named with its number. RunError when it is current beside others, or something needs it."""
    with changing(runs) as place:
        version = open_version(text, runs)
        others = list_versions(runs)
        siblings = [other for other in others if other.name == version.name and other != version]
        if "@" not in text or (version.current and siblings):
            raise RunError(
                f"{version.title} is the current version of '{version.name}'.",
                kept="Nothing was removed.",
                do=f"Make another one current (`tunebook versions rollback {version.name}`), then name it: "
                f"`tunebook versions rm {version.title}`.",
            )
        faults = [Fault(o.title, "came from it") for o in others if o.facts["parent"]["version"] == version.title]
        faults += [Fault(f"run {name}", "began with it") for name in _begun_with(version.folder, runs)]
        if faults:
            raise RunError(f"{version.title} is still needed.", kept="Nothing was removed.", faults=faults)
        version.folder.rename(place / f".trash-{uuid.uuid4().hex[:8]}")
        for trash in place.glob(
            ".trash-*"
        ):  # also what a crash left; first, for a full disk has room for the line then
            shutil.rmtree(trash)
        line = [number for number in read_line(place, version.name)["line"] if number != version.number]
        write_line(place, version.name, line, "remove", version.number, "")
    return version


def _begun_with(folder: Path, runs: Path) -> list[str]:
    """Names of the other runs whose base model lies in `folder`."""
    found = []
    for run in list_runs(runs):
        try:
            if folder.name.encode() not in (run.folder / "plan.yaml").read_bytes():
                continue  # a thousand plans are looked at in the time that reading a few takes
            model = Path(run.plan().model.name)
        except (OSError, TunebookError):  # a damaged plan points nowhere
            continue
        if run.folder != folder and model.is_absolute() and model.resolve().is_relative_to(folder.resolve()):
            found.append(run.name)
    return found
