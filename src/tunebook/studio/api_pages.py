"""`/api/pages`, `/api/rules`, `/api/order`: pages, answers kept as they are given, and what is read from prose."""

from __future__ import annotations

from threading import Lock
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from tunebook.errors import PageError
from tunebook.files import read_json, write_json, write_text
from tunebook.pages.answers import check_answers, copy_answers, save_answers
from tunebook.pages.order import check_order, step_of
from tunebook.pages.parser import MAX_BYTES, parse_page
from tunebook.pages.parts import Answer
from tunebook.studio.answering import changed, kept, read_answers
from tunebook.studio.given import Given, Here
from tunebook.studio.place import Place
from tunebook.studio.reply import Json

routes = APIRouter(prefix="/api")
_writing = Lock()
_MOST_LINES = 5000  # shown of a page's source


class Changes(Given):
    """Answers by id, as given; an empty one takes an answer back."""

    changes: dict[str, str | list[str]] = Field(max_length=10_000)


class Tasks(Given):
    """The tasks that are ticked off, by their words."""

    done: list[str] = Field(max_length=1000)


class Source(Given):
    """A page's Markdown; with a name it is kept in `pages/`."""

    text: str = Field(max_length=MAX_BYTES)
    name: str = Field("", max_length=80)


class Prose(Given):
    """A text to read rules from."""

    text: str
    purpose: Literal["stopping", "overfitting", "quality"] = "stopping"


class Order(Given):
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
    """Keep answers, whole or not at all. One that does not fit is named in `faults`; the earlier one and the rest stay.

    Earlier ones that fit the page no more go out of the file; `before` names the copy that still holds them.
    """
    found = place.page(key).require()
    with _writing:
        before, old = kept(place, key, found)
        values, faults = changed(found, before, given.changes)
        _, missing = check_answers(found, values)
        copy = copy_answers(place.answers_file(key)).name if old else ""
        save_answers(place.answers_file(key), found, values, partial=bool(missing))
    wrong = [{"id": fault.where, "message": fault.message} for fault in faults]
    told = {"values": values, "faults": wrong, "missing": [fault.where for fault in missing], "before": copy}
    return Json(told)


@routes.get("/pages/{key}/tasks")
def tasks(key: str, place: Here) -> Response:
    """The tasks of a page that are ticked off."""
    place.page(key)
    return Json({"done": read_tasks(place, key)})


@routes.post("/pages/{key}/tasks")
def tick(key: str, given: Tasks, place: Here) -> Response:
    """Keep which tasks of a page are ticked off."""
    place.page(key)
    write_json(place.tasks_file(key), {"done": given.done})
    return Json({"done": given.done})


@routes.get("/pages/{key}/source")
def source(key: str, place: Here) -> Response:
    """A page of the user's own, line by line, with its faults as they are now."""
    stamp, data = place.page_source(key)
    return Json({"stamp": stamp} | checked(data))


@routes.post("/pages/check")
def check(given: Source) -> Response:
    """The faults of a Markdown text, by line."""
    return Json(checked(given.text.encode("utf-8", "replace")))


@routes.post("/pages", status_code=201)
def keep(given: Source, place: Here) -> Response:
    """Keep a Markdown text as a page in `pages/`. PageError when it has faults, or the name is taken."""
    data = given.text.encode("utf-8", "replace")
    parse_page(data, given.name).require()
    path = place.new_page_file(given.name)
    write_text(path, data.decode())
    return Json({"key": next((key for key, file in place.page_files().items() if file == path), "")}, 201)


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
    misplaced = [line for line in given.lines if step_of(line) in found.misplaced]
    told = {"sentences": found.sentences(), "misplaced": misplaced}
    return Json(found.to_json() | told)


def checked(data: bytes) -> dict[str, Any]:
    """A page's title, lines and problems."""
    found = parse_page(data, "page")
    problems = [{"line": one.line, "severity": one.severity, "message": one.message} for one in found.problems]
    lines = data[:MAX_BYTES].decode("utf-8", "replace").splitlines()[:_MOST_LINES]
    return {"ok": found.ok, "title": found.title, "asked": len(found.questions), "lines": lines, "problems": problems}


def read_tasks(place: Place, key: str) -> list[str]:
    """The tasks that are ticked off; none when the file is damaged."""
    try:
        return [str(task) for task in read_json(place.tasks_file(key))["done"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


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
