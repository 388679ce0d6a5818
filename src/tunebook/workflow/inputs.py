"""What a run was started with, by hash. A resumed run whose inputs changed is refused, with what changed."""

from __future__ import annotations

from tunebook.errors import RunError
from tunebook.files import read_json
from tunebook.workflow.context import Context


def remember_input(context: Context, name: str, digest: str, what: str) -> None:
    """Note the hash of an input the first time; RunError when a later try of the same run finds another one."""
    path = context.path("data", "inputs.json")
    known = read_json(path) if path.exists() else {}
    before = known.setdefault(name, digest)
    if before != digest:
        raise RunError(
            f"The run '{context.run.name}' cannot go on: {what} changed since it was started "
            f"({before[:12]}... then, {digest[:12]}... now).",
            kept="Its checkpoints are untouched.",
            do="Put the old input back, or start a new run.",
        )
    context.write(known, "data", "inputs.json")
