"""`/api/runs/NAME/work`: export, deployment test and promotion, each by the command line in a process of its own.

What such a process says goes to the run's `run.log`, and what it finds to the run folder, so that it goes on and is
found again when the studio ends meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from tunebook.errors import RunError
from tunebook.files import read_json
from tunebook.runs.lock import writer_of
from tunebook.runs.store import Run
from tunebook.studio.given import Given, Here
from tunebook.studio.reply import Json

routes = APIRouter(prefix="/api/runs/{name}/work")
_LINES = 8  # the last ones of what a process said


@dataclass(slots=True)
class Work:
    """A process that this studio started, and where its words begin in the run's log."""

    what: str
    process: subprocess.Popen[bytes]
    begin: int


class Job(Given):
    """What is to be done: a format for `export`; for `promote` the version's name and why, either may be empty."""

    what: Literal["export", "deploy-test", "promote"]
    format: Literal["safetensors", "adapter", "gguf"] = "safetensors"
    version: str = Field("", max_length=64)
    reason: str = Field("", max_length=2000)

    def arguments(self, run: Run) -> list[str]:
        """The command line's words for it."""
        known = [f"--runs={run.folder.parent}", "--", run.name]
        if self.what == "export":
            return ["export", f"--format={self.format}", *known]
        if self.what == "deploy-test":
            return ["deploy-test", *known]
        return [
            "versions",
            "promote",
            f"--reason={self.reason}",
            *([f"--as={self.version}"] * bool(self.version)),
            *known,
        ]


_started: dict[str, Work] = {}  # by run folder


def forget(run: Run) -> None:
    """Let go of what was done with a run that is removed: its name may be another's next."""
    _started.pop(str(run.folder), None)


@routes.get("")
def work(name: str, place: Here) -> Response:
    """What is being done with the run's result, what was said of it last, and which files there are."""
    run = place.run(name)
    return Json({"work": _work(run), "export": _kept(run, "export"), "deployment": _kept(run, "deployment")})


@routes.post("", status_code=202)
def begin(name: str, job: Job, place: Here) -> Response:
    """Begin it. RunError while something else writes the run."""
    run = place.run(name)
    now = _work(run)
    if now and now["state"] == "running":
        raise RunError(
            f"The run '{name}' is being worked on.", kept="Nothing was begun.", do="Wait until that is done."
        )
    command = [sys.executable, "-P", "-m", "tunebook", *job.arguments(run)]
    try:
        with (run.folder / "run.log").open("ab") as log:
            begun = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=place.folder
            )
            _started[str(run.folder)] = Work(job.what, begun, log.tell())
    except (OSError, ValueError) as error:  # ValueError: a NUL in what was given
        raise RunError(f"It could not be begun ({error}).", kept="Nothing was changed.") from error
    return Json({"work": _work(run)}, 202)


def _work(run: Run) -> dict[str, Any] | None:
    """The newest work of this studio; that of an earlier one, or of a terminal, is known by the run's lock alone."""
    mine = _started.get(str(run.folder))
    if (mine is None or mine.process.poll() is not None) and writer_of(run.folder):
        return {"what": "other", "state": "running", "said": []}
    if mine is None:
        return None
    code = mine.process.poll()
    said = b""
    with suppress(OSError), (run.folder / "run.log").open("rb") as file:
        file.seek(mine.begin)
        said = file.read()
    lines = [line.rsplit("\r", 1)[-1] for line in said.decode("utf-8", "replace").split("\n") if line.strip()]
    state = "running" if code is None else "failed" if code else "done"
    return {"what": mine.what, "state": state, "said": lines[-_LINES:]}


def _kept(run: Run, name: str) -> Any:
    with suppress(OSError, ValueError):
        return read_json(run.folder / "export" / f"{name}.json")
    return None
