"""The files that a plan reads lie below the working folder, whatever answers, settings or a plan file say.

A model may lie elsewhere: its folder is named by whoever holds the key.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tunebook.data.mix import is_mix, open_mix
from tunebook.errors import DataError, Fault, PlanError
from tunebook.plan.schema import Plan, is_task_file
from tunebook.queue.sweep import variants
from tunebook.studio.place import Place
from tunebook.workflow.start import files_of, plan_as_set


def check_reads(plan: Plan, place: Place, base: Path) -> None:
    """PlanError that names each file of `plan` outside the working folder, links followed; paths count from `base`.

    Whether there is such a file is not said, nor looked for.
    """
    named = [
        (path, Path(file))
        for path, files in files_of(plan, base).items()
        for file in ([files] if isinstance(files, str) else filter(is_task_file, files))
    ]
    named += [(path, part) for path, file in named if path.startswith("data.") for part in _parts(file, place)]
    faults = [
        Fault(path, f"{str(file)[:200]} is not below {place.folder}") for path, file in named if not place.inside(file)
    ]
    if faults:
        raise PlanError(
            "A plan may read no file outside the studio's folder.",
            kept="No run was made.",
            do="Put the file there, or take the plan with `tunebook run` or `tunebook queue`.",
            faults=faults,
        )


def _parts(file: Path, place: Place) -> list[Path]:
    """The data sets that a mix file names; none of a file that is no mix or not whole, which its reader will say."""
    found: list[Path] = []
    if is_mix(file) and place.inside(file):
        with suppress(DataError, OSError):
            open_mix(file, lambda part, *_: found.append(part))
    return found


def check_sweep(file: Path, settings: list[str], place: Place) -> None:
    """The same for the plan in `file` with each combination of `settings`, as the queue's command will read them."""
    for variant in variants(file, settings, plan_as_set):
        check_reads(variant.plan, place, file.parent)
