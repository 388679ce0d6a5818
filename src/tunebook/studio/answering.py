"""The answers to a page as the studio keeps them: those that fit stay, and none goes without a word."""

from __future__ import annotations

from collections.abc import Mapping

from tunebook.errors import Fault, PageError
from tunebook.pages.answers import CUSTOM, asks_more, check_answers, kept_answers
from tunebook.pages.page import Page
from tunebook.pages.parts import Answer
from tunebook.studio.place import Place


def read_answers(place: Place, key: str, found: Page) -> tuple[dict[str, Answer], list[dict[str, str]]]:
    """The answers kept for a page that still fit it, and the faults of those that do not; nothing is raised."""
    try:
        return kept(place, key, found)
    except PageError as error:
        return {}, [{"id": "", "message": str(error)}]


def kept(place: Place, key: str, found: Page) -> tuple[dict[str, Answer], list[dict[str, str]]]:
    """The same; PageError when the file holds something else, so that nobody writes over it."""
    path = place.answers_file(key)
    if not found.ok or not path.exists():
        return {}, []
    fitting, lost = kept_answers(path, found)
    return dict(fitting.values), [{"id": fault.where, "message": fault.message} for fault in lost]


def changed(
    found: Page, values: Mapping[str, Answer], changes: Mapping[str, Answer]
) -> tuple[dict[str, Answer], list[Fault]]:
    """`values` with those changes made that fit the page, and the faults of the others."""
    refused: dict[str, Fault] = {}
    while True:
        fitting = {name: value for name, value in changes.items() if name not in refused}
        merged, faults = check_answers(found, _merged(found, values, fitting), finished=False)
        new = {fault.where: fault for fault in faults if fault.where in fitting}
        if not new:
            return merged, [*refused.values(), *faults]
        refused |= new


def _merged(found: Page, values: Mapping[str, Answer], changes: Mapping[str, Answer]) -> dict[str, Answer]:
    """`values` with the changes made: an empty one takes an answer back, and a follow-up goes with its option."""
    merged = {name: value for name, value in {**values, **changes}.items() if value not in ("", [])}
    for question in found.questions:
        changed_alone = question.id in changes and question.id + CUSTOM not in changes
        if changed_alone and not asks_more(question, merged.get(question.id)):
            merged.pop(question.id + CUSTOM, None)
    return merged
