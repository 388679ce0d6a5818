"""`/api/runs/NAME/review`: the blind queue and verdicts, on the code of `tunebook review`.

Which answer is the tuned model's is told only with a verdict, so that nothing on the page can give it away.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from tunebook.errors import DataError, RunError
from tunebook.evaluate.review import (
    Item,
    Policy,
    default_reviewer,
    judge_answer,
    judge_checkpoint,
    queue,
    read_reviews,
    summary,
    waiting,
)
from tunebook.studio.api_data import put
from tunebook.studio.command import call, failure
from tunebook.studio.given import Given, Here, Nothing
from tunebook.studio.place import Place, stamp
from tunebook.studio.reply import Json

routes = APIRouter(prefix="/api/runs/{name}/review")
_AT_ONCE = 20  # items sent before they are asked for
_KEPT = 8  # queues, the last ones made
_judging = Lock()
_queues: dict[tuple[Path, Policy | None], tuple[tuple[int, int], list[Item]]] = {}


class Verdict(Given):
    """What a reviewer says of one pair; `chosen` is the better answer as shown, `fixed` goes with the action fix.

    `again`: they know that they judged it before, and this counts instead.
    """

    step: int
    id: str = Field(max_length=1000)
    chosen: Literal["a", "b", "same"]
    action: Literal["keep", "fix", "reject"] = "keep"
    fixed: str = Field("", max_length=1_000_000)
    note: str = Field("", max_length=10_000)
    again: bool = False
    policy: Policy | None = None


class Checkpoint(Given):
    """A checkpoint that is rejected, or taken back in."""

    step: int
    rejected: bool = True
    note: str = Field("", max_length=10_000)


@routes.get("")
def review(name: str, place: Here, policy: Annotated[Policy | None, Query()] = None) -> Response:
    """How far the queue is judged, the next pairs in blind order, and what the report says of the verdicts."""
    folder, reviewer = place.run(name).folder, default_reviewer()
    items = _queue(folder, policy)
    left = waiting(items, read_reviews(folder), reviewer)
    shown = [_blind(item, reviewer) for item in left[:_AT_ONCE]]
    return Json({"reviewer": reviewer, "total": len(items), "left": len(left), "items": shown} | _said(folder))


@routes.post("")
def judge(name: str, given: Verdict, place: Here) -> Response:
    """Keep a verdict, in `reviews.jsonl`; one given `again` counts instead. Says which answer was whose."""
    folder, reviewer = place.run(name).folder, default_reviewer()
    item = next((item for item in _queue(folder, given.policy) if (item.step, item.id) == (given.step, given.id)), None)
    if item is None:
        raise RunError(f"There is no answer '{given.id}' at step {given.step} in the review queue of '{name}'.")
    if (given.action == "fix") != bool(given.fixed.strip()):
        raise RunError("A fixed answer goes with the action fix, and with no other.", kept="Nothing was written.")
    verdict = item.verdict(reviewer, given.chosen)
    with _judging:
        if not given.again and not waiting([item], read_reviews(folder), reviewer):
            raise RunError(
                "This pair was judged meanwhile.", kept="That verdict counts.", do="Go on with what is left."
            )
        judge_answer(folder, item, reviewer, verdict, given.action, given.fixed.strip() or None, given.note)
    left = waiting(_queue(folder, given.policy), read_reviews(folder), reviewer)
    told = {"tuned": item.tuned_place(reviewer), "verdict": verdict, "action": given.action, "left": len(left)}
    return Json(told | _said(folder))


@routes.post("/checkpoint")
def checkpoint(name: str, given: Checkpoint, place: Here) -> Response:
    """Reject a checkpoint as a whole, or take it back in."""
    folder = place.run(name).folder
    judge_checkpoint(folder, given.step, default_reviewer(), given.rejected, given.note)
    return Json(_said(folder))


@routes.post("/export")
def export(name: str, _: Nothing, place: Here) -> Response:
    """Write the fixed answers as training rows into the working folder, as `tunebook review export` does.

    A file that holds other rows, edited by hand or of fewer fixes, stays: the rows get a name that is free.
    """
    run = place.run(name)
    part = place.folder / f".{secrets.token_hex(8)}.part"
    try:
        done = call(["review", "export", f"--runs={place.runs}", f"--to={part}", "--", run.name], place.folder)
        if done.returncode:
            raise failure(done)
        target = _put_rows(part, f"{run.name}-fixed.jsonl", place)
    except OSError as error:
        raise DataError(f"The rows could not be written ({error.strerror or error}).", do="Free space.") from error
    finally:
        part.unlink(missing_ok=True)
    return Json({"file": target.name, "said": done.stderr.strip().replace(str(part), target.name)})


def _put_rows(part: Path, name: str, place: Place) -> Path:
    """Move a file to that name, or the next one that is free; a file that holds the same bytes is left in its place."""
    rows = part.read_bytes()
    for target in place.new_data_files(name):
        if not target.exists():
            break
        if place.inside(target) and target.is_file() and target.read_bytes() == rows:
            return target
    return put(part, place.new_data_files(name))


def _queue(folder: Path, policy: Policy | None) -> list[Item]:
    """The queue of a run, made anew once there are answers or measurements that it did not know."""
    stamps = (stamp(folder / "samples"), stamp(folder / "evaluation"))
    kept = _queues.get((folder, policy))
    if kept is None or kept[0] != stamps:
        kept = _queues[folder, policy] = (stamps, queue(folder, policy))
        if len(_queues) > _KEPT:
            _queues.pop(next(iter(_queues)), None)
    return kept[1]


def _blind(item: Item, reviewer: str) -> dict[str, Any]:
    a, b = item.blind(reviewer)
    return {"step": item.step, "id": item.id, "prompt": item.prompt, "reference": item.reference, "a": a, "b": b}


def _said(folder: Path) -> dict[str, Any]:
    return {"reviews": summary(folder)}
