"""The files that a plan reads lie below the working folder, whatever answers, settings or a plan file say.

A model may lie elsewhere: its folder is named by whoever holds the key.
"""

from __future__ import annotations

from pathlib import Path

from tunebook.errors import Fault, PlanError
from tunebook.plan.schema import Plan, is_task_file
from tunebook.queue.sweep import variants
from tunebook.studio.place import Place
from tunebook.workflow.start import files_of, plan_as_set


def check_reads(plan: Plan, place: Place, base: Path) -> None:
    """PlanError that names each file of `plan` outside the working folder, links followed; paths count from `base`.

    Whether there is such a file is not said, nor looked for.
    """
    named = [
        (path, file)
        for path, files in files_of(plan, base).items()
        for file in ([files] if isinstance(files, str) else filter(is_task_file, files))
    ]
    faults = [
        Fault(path, f"{file[:200]} is not below {place.folder}") for path, file in named if not place.inside(Path(file))
    ]
    if faults:
        raise PlanError(
            "A plan may read no file outside the studio's folder.",
            kept="No run was made.",
            do="Put the file there, or take the plan with `tunebook run` or `tunebook queue`.",
            faults=faults,
        )


def check_sweep(file: Path, settings: list[str], place: Place) -> None:
    """The same for the plan in `file` with each combination of `settings`, as the queue's command will read them."""
    for variant in variants(file, settings, plan_as_set):
        check_reads(variant.plan, place, file.parent)
