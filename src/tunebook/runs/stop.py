"""A run is asked to end from outside its process: by a `stop.json` in its folder, read between optimizer steps."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.errors import TunebookError
from tunebook.files import read_json, write_json
from tunebook.runs.lock import writer_of
from tunebook.runs.store import Run


@dataclass(slots=True)
class StopRequest:
    """Who wants the run to end after the optimizer step under way, and the exit code of a process that ends so."""

    who: str
    exit_code: int
    save: bool = True


def ask_to_stop(run: Run, *, discard: bool) -> bool:
    """Ask the process that writes the run to end after its optimizer step; False when there is none."""
    if writer_of(run.folder) is None:
        return False
    try:
        request_stop(run, discard=discard)
    except OSError as error:
        raise TunebookError(f"The run folder {run.folder} cannot be written ({error.strerror}).") from error
    return True


def request_stop(run: Run, *, discard: bool) -> None:
    """Leave the request in the run folder, whether or not a process is there to find it."""
    write_json(_place(run), {"discard": discard})


def read_request(run: Run) -> StopRequest | None:
    """The request in the run folder; a damaged one asks to stop and save."""
    if not _place(run).exists():
        return None
    request: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):
        request = dict(read_json(_place(run)))
    return StopRequest("tunebook stop", 0, save=not request.get("discard", False))


def drop_request(run: Run) -> None:
    """Forget a request that was left for an earlier process."""
    _place(run).unlink(missing_ok=True)


def _place(run: Run) -> Path:
    return run.folder / "stop.json"
