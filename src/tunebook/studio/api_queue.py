"""`/api/queue`: runs that are taken one after another, and sweeps; what `tunebook queue` does, by its own command."""

from __future__ import annotations

import re
import time

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from tunebook.errors import PlanError
from tunebook.queue.entries import Entry, dequeue, entries, row, worker
from tunebook.queue.worker import end_worker, start_worker
from tunebook.runs.status import Status
from tunebook.runs.store import check_name
from tunebook.studio.api_runs import text_of
from tunebook.studio.command import call, failure
from tunebook.studio.given import Given, Here, Nothing
from tunebook.studio.reads import check_sweep
from tunebook.studio.reply import Json

routes = APIRouter(prefix="/api")
_DAY = 86_400
_LAST = 2000  # bytes of a log


class Added(Given):
    """A plan below the working folder; `settings` are `path=[a, b]`, every combination of them a run."""

    plan: str = Field(max_length=1000)
    settings: list[str] = Field([], max_length=20)
    name: str = Field("", max_length=64)


@routes.get("/queue")
def queue(place: Here) -> Response:
    """Runs of the queue in their order, those that finished in the last day among them, and the plans there are."""
    known, working = {status.name: status for status in place.statuses()}, worker(place.runs) is not None
    rows = [
        row(entry, known[entry.run.name]) | ({} if working else _not_begun(entry, known[entry.run.name]))
        for entry in entries(place.runs)
        if entry.run.name in known
    ]
    recent = time.time() - _DAY
    shown = [item for item in rows if item["state"] != "finished" or (known[item["name"]].updated or 0) > recent]
    return Json({"runs": shown, "working": working, "plans": place.plan_files()})


def _not_begun(entry: Entry, status: Status) -> dict[str, str]:
    """Why a run still waits whose process ended without beginning it: the last sentence of its log, with its faults."""
    said = "" if status.begun else text_of(entry.run.folder / "run.log", last=_LAST).strip()
    sentence = re.split(r"\n(?=\S)", said)[-1]
    return {"reason": " ".join(sentence.split())} if said else {}


@routes.post("/queue", status_code=201)
def add(added: Added, place: Here) -> Response:
    """Check the plan and put its runs at the end of the queue, all of them or none; answers with their names."""
    if added.plan not in place.plan_files():
        raise PlanError(f"There is no plan '{added.plan[:200]}' below {place.folder}.", do="Choose one of the list.")
    if added.name:
        check_name(added.name)
    file = place.folder / added.plan
    check_sweep(file, added.settings, place)
    words = ["--runs", str(place.runs), *(f"--set={setting}" for setting in added.settings)]
    words += [f"--name={added.name}"] if added.name else []
    command = "sweep" if added.settings else "add"
    done = call(["queue", command, *words, "--", str(file)], place.folder)
    if done.returncode:
        raise failure(done)
    return Json({"added": done.stdout.split()}, 201)


@routes.post("/queue/run", status_code=202)
def run(_: Nothing, place: Here) -> Response:
    """Take the runs one after another, in a process of its own; where one does so already, nothing happens."""
    if worker(place.runs) is None:
        start_worker(place.runs)
    return Json({"working": True}, 202)


@routes.post("/queue/stop")
def stop(_: Nothing, place: Here) -> Response:
    """Take no further run. The one under way goes on."""
    return Json({"ended": end_worker(place.runs)})


@routes.delete("/queue/{name}")
def remove(name: str, place: Here) -> Response:
    """Take a run out of the queue. One that has not begun is removed whole."""
    gone = dequeue([place.run(name).name], place.runs)[name]
    if gone:
        place.forget(name)
    return Json({"removed": gone})
