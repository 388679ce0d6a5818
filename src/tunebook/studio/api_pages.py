"""`/api/pages`, `/api/rules`, `/api/order`: pages, answers kept as they are given, and what is read from prose."""

from __future__ import annotations

from threading import Lock
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from tunebook.errors import PageError
from tunebook.pages.answers import check_answers, kept_answers, save_answers
from tunebook.pages.order import check_order
from tunebook.pages.page import Page
from tunebook.pages.parts import Answer
from tunebook.studio.api_runs import Here, Nothing
from tunebook.studio.place import Place
from tunebook.studio.reply import Json

routes = APIRouter(prefix="/api")
_writing = Lock()


class Changes(Nothing):
    """Answers by id, as given; an empty one takes an answer back."""

    changes: dict[str, str | list[str]] = Field(max_length=10_000)


class Prose(Nothing):
    """A text to read rules from."""

    text: str
    purpose: Literal["stopping", "overfitting", "quality"] = "stopping"


class Order(Nothing):
    """Lines in the order that a reader gave them."""

    lines: list[str] = Field(max_length=1000)


@routes.get("/pages")
def pages(place: Here) -> Response:
    """Every page that can be answered here, with how much of it is."""
    return Json({"pages": [page_row(place, key) for key in place.page_files()]})


@routes.get("/pages/{key}")
def page(key: str, place: Here) -> Response:
    """One page, as `tunebook page check --json` prints it."""
    return Json(place.page(key).to_json())


@routes.get("/pages/{key}/answers")
def answers(key: str, place: Here) -> Response:
    """The answers kept for a page, and what is wrong with them."""
    found = place.page(key)
    values, faults = read_answers(place, key, found)
    return Json({"values": values, "faults": faults})


@routes.post("/pages/{key}/answers")
def answer(key: str, given: Changes, place: Here) -> Response:
    """Keep answers, whole or not at all. One that does not fit is named in `faults` and the rest is kept."""
    found = place.page(key).require()
    with _writing:
        values, old = _kept(place, key, found)
        merged = {name: value for name, value in {**values, **given.changes}.items() if value not in ("", [])}
        for question in found.questions:  # a follow-up goes with the option that asked it
            if question.id in given.changes and f"{question.id}.custom" not in given.changes:
                chosen = merged.get(question.id, "")
                if not any(item.custom and item.text == chosen for item in question.choices):
                    merged.pop(f"{question.id}.custom", None)
        kept, faults = check_answers(found, merged, finished=False)
        _, missing = check_answers(found, kept)
        save_answers(place.answers_file(key), found, kept, partial=bool(missing))
    wrong = [{"id": fault.where, "message": fault.message} for fault in faults]
    return Json({"values": kept, "faults": wrong, "missing": [fault.where for fault in missing], "dropped": len(old)})


@routes.post("/rules")
def rules(given: Prose) -> Response:
    """What Tunebook reads in a text: rules and settings, each with its words, and the pieces it did not understand."""
    from tunebook.plan.rules.describe import describe
    from tunebook.plan.rules.reader import read_rules

    found = read_rules(given.text, given.purpose)
    settings = [setting.model_dump(mode="json") for setting in found.settings]
    return Json(
        {
            "rules": [rule.model_dump(mode="json") | {"says": describe(rule)} for rule in found.rules],
            "settings": settings,
            "not_understood": list(found.not_understood),
        }
    )


@routes.post("/order")
def order(given: Order) -> Response:
    """Judge an order of the ten steps, as `tunebook order check --json` does, with a sentence for each fault."""
    found = check_order(given.lines)
    return Json(found.to_json() | {"sentences": found.sentences(), "misplaced": list(found.misplaced)})


def page_row(place: Place, key: str) -> dict[str, Any]:
    """A page for the list on the home view."""
    try:
        found = place.page(key)
    except PageError as error:
        return {"key": key, "title": key, "subtitle": str(error), "phase": None, "asked": 0, "answered": 0, "faults": 1}
    values: dict[str, Answer] = {}
    if found.ok:
        values, _ = read_answers(place, key, found)
    return {
        "key": key,
        "title": found.title,
        "subtitle": found.subtitle,
        "phase": found.phase,
        "asked": len(found.questions),
        "answered": sum(question.id in values for question in found.questions),
        "faults": sum(problem.severity == "error" for problem in found.problems),
    }


def read_answers(place: Place, key: str, found: Page) -> tuple[dict[str, Answer], list[dict[str, str]]]:
    """The answers kept for a page that still fit it, and the faults of those that do not; nothing is raised."""
    try:
        return _kept(place, key, found)
    except PageError as error:
        return {}, [{"id": "", "message": str(error)}]


def _kept(place: Place, key: str, found: Page) -> tuple[dict[str, Answer], list[dict[str, str]]]:
    """The same; PageError when the file holds something else, so that nobody writes over it."""
    path = place.answers_file(key)
    if not found.ok or not path.exists():
        return {}, []
    kept, faults = kept_answers(path, found)
    return dict(kept.values), [{"id": fault.where, "message": fault.message} for fault in faults]
