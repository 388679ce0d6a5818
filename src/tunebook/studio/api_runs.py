"""`/api/runs`: list, look at, start, stop, resume and remove runs. Heavy work is the command line's."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, WebSocket
from starlette.responses import Response

from tunebook.errors import RunError
from tunebook.files import read_json
from tunebook.runs.lock import hold_lock
from tunebook.runs.stop import ask_to_stop
from tunebook.runs.store import Run, remove_run
from tunebook.studio.api_work import forget
from tunebook.studio.command import call_json
from tunebook.studio.feed import Feed
from tunebook.studio.given import Given, Here, Nothing
from tunebook.studio.place import stamp
from tunebook.studio.reply import Json
from tunebook.studio.rows import list_row, run_json
from tunebook.versions.uses import check_run_unused

routes = APIRouter(prefix="/api")
_LOG_BYTES = 64 * 1024
_SAMPLES = re.compile(r"step-(\d{1,9})\.json")


class Stop(Given):
    """How a run is to end."""

    discard: bool = False


@routes.get("/runs")
def runs(place: Here) -> Response:
    """Every run, the one that changed last first."""
    return Json({"runs": [list_row(status) for status in place.statuses()]})


@routes.get("/runs/{name}")
def run(name: str, place: Here) -> Response:
    """One run: `tunebook status --json`, each step with its title, and what else its folder holds."""
    live = place.live(name)
    folder = live.run.folder
    return Json(run_json(live.status()) | {"samples": _steps(folder), "report": live.run.report.is_file()})


@routes.get("/runs/{name}/metrics")
def metrics(name: str, place: Here, since: Annotated[int, Query(ge=0)] = 0) -> Response:
    """Metrics in columns, as `tunebook metrics --json` prints them, and the number of the last event."""
    last, table = place.live(name).table(since)
    return Json({"last": last, "metrics": table})


@routes.get("/runs/{name}/plan")
def plan(name: str, place: Here) -> Response:
    """The run's plan as it was written."""
    return Json({"text": text_of(place.run(name).folder / "plan.yaml")})


@routes.get("/runs/{name}/samples/{step}")
def samples(name: str, step: int, place: Here) -> Response:
    """The answers at an optimizer step (0 is the base)."""
    path = place.run(name).folder / "samples" / f"step-{step}.json"
    try:
        return Json(read_json(path))
    except (OSError, ValueError) as error:
        raise RunError(f"There is no readable file of answers at step {step} of the run '{name}'.") from error


@routes.get("/runs/{name}/log")
def log(name: str, place: Here) -> Response:
    """The last of what the run's process wrote."""
    return Json({"text": text_of(place.run(name).folder / "run.log", last=_LOG_BYTES)})


@routes.get("/runs/{name}/report")
def report(name: str, place: Here) -> Response:
    """The success report: the one in the run folder while nothing changed since, else made by `tunebook report`."""
    found = place.run(name)
    sources = ("events.jsonl", "reviews.jsonl", "export/export.json", "export/deployment.json")
    if stamp(found.report) >= max(1, *(stamp(found.folder / source) for source in sources)):
        with suppress(OSError, ValueError):
            return Json(read_json(found.report))
    return Json(call_json(["report", "--json", "--runs", str(place.runs), "--", found.name], place.folder, seconds=300))


@routes.post("/runs/{name}/stop")
def stop(name: str, how: Stop, place: Here) -> Response:
    """Ask the run to end after the optimizer step under way."""
    asked = ask_to_stop(place.run(name), discard=how.discard)
    return Json({"asked": asked})


@routes.post("/runs/{name}/resume", status_code=202)
def resume(name: str, _: Nothing, place: Here) -> Response:
    """Go on with a run that stopped, failed or was killed, in a process of its own.

    A plan that it cannot go on with is refused here: that process would end without a word in the run.
    """
    from tunebook.workflow.inputs import refuse_changed
    from tunebook.workflow.start import read_plan, start_detached

    found = place.run(name)
    state = place.live(name).status().state
    if state in ("running", "finished"):
        raise RunError(f"The run '{name}' is {state}; there is nothing to go on with.", kept="Nothing was changed.")
    refuse_changed(found, read_plan(found.folder / "plan.yaml", []))
    start_detached(found)
    return Json({"started": name}, 202)


@routes.delete("/runs/{name}")
def remove(name: str, place: Here) -> Response:
    """Remove a run and everything in its folder; refused when it is being written, or a version or run needs it."""
    found = place.run(name)
    with hold_lock(found.folder):
        check_run_unused(found)
        remove_run(found)
    forget(found)
    place.forget(name)
    return Json({"removed": name})


@routes.websocket("/feed")
async def feed(socket: WebSocket) -> None:
    """What `feed.py` says."""
    await Feed(socket, socket.app.state.place).run()


def _steps(folder: Path) -> list[int]:
    places = folder / "samples"
    names = (_SAMPLES.fullmatch(path.name) for path in (places.iterdir() if places.is_dir() else ()))
    return sorted(int(match[1]) for match in names if match)


def text_of(path: Path, last: int = 2_000_000) -> str:
    """The last bytes of a file as text; nothing where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - last))
            return file.read(last).decode("utf-8", "replace")
    except OSError:
        return ""


def about(run: Run) -> dict[str, Any]:
    """What the plan says in a line; empty where it cannot be read."""
    try:
        made = run.plan()
    except Exception:  # a damaged plan must not hide the run
        return {}
    return {"model": made.model.name, "data": made.data.path, "method": made.training.method}
