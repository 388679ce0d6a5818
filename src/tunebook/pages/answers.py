"""`answers.yaml`: what a reader answered to one page.

    {format: 1, page: ID, answers: {id: text or list}}

with the ids of `page check`; `<id>.custom` says more about an option that begins with Custom. Two further keys are
written where they are needed: `file` (the page's path from the answers' folder, for a page that is not built in) and
`partial: true` (the reader stopped before the last question).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from tunebook.errors import Fault, PageError
from tunebook.files import copy_aside, write_text
from tunebook.pages.catalog import find_page, load_page
from tunebook.pages.names import nearest, shown
from tunebook.pages.page import Page
from tunebook.pages.parts import Answer, Part
from tunebook.pages.safe_yaml import YamlFault, read

MAX_BYTES = 4_000_000
CUSTOM = ".custom"
_ODD_BREAK = re.compile("[\r\x85\u2028\u2029]")  # line ends that YAML would not give back as they were
_KEYS = ("format", "page", "answers", "file", "partial")


@dataclass(frozen=True)
class Answers:
    """Answers that fit their page. `values` holds what was answered, by id, each as the page writes it."""

    page: Page
    values: dict[str, Answer]
    partial: bool = False


def load_answers(path: Path, page: Page | None = None) -> Answers:
    """Read an answers file and check it against its page: `page`, or the one that the file names.

    PageError holds every fault at once: an unknown key, an answer that is not among the options, another page's
    answers, a required answer that is missing, answers that are unfinished.
    """
    document, faults = _read(path)
    if page is None:
        page = _page_of(document, path, faults)
    else:
        faults += _other_page(document, page)
    values, found = check_answers(page, document["answers"])
    faults += found
    if document.get("partial") == "true":
        said = "the reader stopped before the last question; go on with page play, or take this line out"
        faults.append(Fault("partial", said))
    if faults:
        raise PageError(
            f"The answers in {path} do not fit the page '{page.title}'.",
            do=f"Mend them, or answer again with `tunebook page play {quote(page.name)} --answers {quote(str(path))}`.",
            faults=faults,
        )
    return Answers(page, values)


def kept_answers(path: Path, page: Page) -> tuple[Answers, list[Fault]]:
    """What an earlier, perhaps partial, answers file still says about `page`, and which of its answers fit no more.

    A question that is gone and had no answer is no fault here.
    PageError when the file cannot be read or belongs to another page, so that nobody writes over it.
    """
    document, faults = _read(path)
    faults += _other_page(document, page)
    if faults:
        raise PageError(f"{path} holds something else, and it was left as it is.", do=_ELSEWHERE, faults=faults)
    values, found = check_answers(page, document["answers"], finished=False)
    lost = [fault for fault in found if _plain(document["answers"].get(fault.where)) not in ("", [])]
    return Answers(page, values, document.get("partial") == "true"), lost


def copy_answers(path: Path) -> Path:
    """Copy an answers file beside itself, before what fits no more is written over. PageError when the disk refuses."""
    try:
        return copy_aside(path)
    except OSError as error:
        raise PageError(
            f"Earlier answers that fit the page no more could not be copied ({error.strerror or error}).",
            kept="The answers stay as they were.",
            do="Free space or make the folder writable.",
        ) from error


_ELSEWHERE = "Make room there, or answer into another file with `tunebook page play PAGE --answers FILE`."


def check_answers(
    page: Page, given: Mapping[str, Any], *, finished: bool = True
) -> tuple[dict[str, Answer], list[Fault]]:
    """The answers in `given` that fit `page`, as it writes them, and every fault of the others.

    An option may be given by its label or in another case. Empty text, an empty list and None are no answer. When not
    `finished`, answers that are still missing are no fault.
    """
    page.require()
    values: dict[str, Answer] = {}
    faults: list[Fault] = []
    keys = dict.fromkeys(answer_keys(page))
    for key in given:
        if key not in keys:
            faults.append(Fault(key, f"the page asks nothing of this name{nearest(key, keys)}"))
    for question in page.questions:
        for key in (question.id, question.id + CUSTOM):
            answer = _plain(given.get(key))
            if answer in ("", []) or key not in keys:
                continue
            try:
                values[key] = question.accept(answer) if key == question.id else _follow_up(answer)
            except ValueError as fault:
                faults.append(Fault(key, str(fault)))
        faults += _follow_up_faults(question, values, finished)
        if finished and question.required and question.id not in values and not _plain(given.get(question.id)):
            faults.append(Fault(question.id, f"{shown(question.question)} is required and has no answer"))
    return values, faults


def answer_keys(page: Page) -> list[str]:
    """Every key that an answers file for `page` may hold, in the order of the page."""
    keys = []
    for question in page.questions:
        keys += [question.id] + [question.id + CUSTOM] * any(item.custom for item in question.choices)
    return keys


def asks_more(question: Part, answer: Answer | None) -> bool:
    """Did `answer` choose an option that begins with Custom?"""
    chosen = [answer] if isinstance(answer, str) else answer or []
    return question.asks != "order" and any(item.custom and item.text in chosen for item in question.choices)


def default_answers(page: Page) -> dict[str, Answer]:
    """What `--defaults` answers to each question; empty text for what only the reader can say."""
    return {question.id: question.default() for question in page.questions}


def dump_answers(page: Page, values: Mapping[str, Answer], *, file: str = "", partial: bool = False) -> str:
    """The text of an answers file; every question stands in it, the unanswered ones empty."""
    document: dict[str, Any] = {"format": 1, "page": page.id}
    document |= {"file": file} if file else {}
    document |= {"partial": True} if partial else {}
    keys = answer_keys(page)
    document["answers"] = {key: values.get(key, "") for key in keys if key in values or not key.endswith(CUSTOM)}
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def save_answers(path: Path, page: Page, values: Mapping[str, Answer], *, partial: bool = False) -> None:
    """Write an answers file, whole or not at all. PageError when the place cannot be written."""
    try:
        file = "" if _is_built_in(page) else os.path.relpath(Path(page.name).resolve(), path.parent.resolve())
        write_text(path, dump_answers(page, values, file=file, partial=partial))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PageError(f"The answers could not be written to {path} ({reason}).", do=_ELSEWHERE) from error


def _read(path: Path) -> tuple[dict[str, Any], list[Fault]]:
    """The document in `path` with an `answers` mapping in it, and what is wrong with its outer keys."""
    do = "Give the path of an answers file; `tunebook page play PAGE --answers FILE` makes one."
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise PageError(f"The answers {path} cannot be read ({error.strerror or error}).", do=do) from error
    except UnicodeDecodeError as error:
        raise PageError(f"The answers {path} are not UTF-8 text (byte {error.start}).", do=do) from None
    if len(data) > MAX_BYTES:
        raise PageError(f"The answers {path} are more than {MAX_BYTES / 1e6:.0f} MB.", do=do)
    try:
        document = read(text).value
    except YamlFault as fault:
        raise PageError(f"The answers {path}: {fault.message}, line {fault.line + 1}.", do="Mend that line.") from None
    if not isinstance(document, dict):
        raise PageError(f"{path} is not an answers file: it holds no keys.", do=do)
    faults = [Fault(key, f"is unknown{nearest(key, _KEYS)}") for key in document if key not in _KEYS]
    if document.get("format") != "1":
        faults.append(Fault("format", f"is {shown(str(document.get('format')))}; this Tunebook reads format 1"))
    if not isinstance(document.get("answers"), dict):
        if document.get("answers") is not None:
            faults.append(Fault("answers", "must be a mapping from ids to answers"))
        document["answers"] = {}
    return document, faults


def _page_of(document: Mapping[str, Any], path: Path, faults: list[Fault]) -> Page:
    """The page that an answers file names; what is wrong with that is raised, with `faults`, at once."""
    name, file = document.get("page"), document.get("file")
    page = None
    if isinstance(file, str):
        page = load_page(path.parent / file).require()
        faults += _other_page(document, page)
    elif isinstance(name, str):
        page = find_page(name)
    if page is None:
        faults.append(Fault("page", f"{shown(str(name))} is not a built-in page; `file: PATH` names a page's file"))
        raise PageError(f"The answers {path} name no page that is known.", do="Mend that line.", faults=faults)
    return page


def _other_page(document: Mapping[str, Any], page: Page) -> list[Fault]:
    name = document.get("page")
    return [] if name == page.id else [Fault("page", f"these answers are for {shown(str(name))}, not for '{page.id}'")]


def _is_built_in(page: Page) -> bool:
    """Would `page: ID` alone lead to a page that asks the same?"""
    built_in = find_page(page.id)
    return built_in is not None and _asked(built_in) == _asked(page)


def _asked(page: Page) -> list[Any]:
    """All that decides which answers fit the page, and what they set."""
    return [
        (
            part.id,
            part.asks,
            part.choices,
            part.required,
            part.sets,
            getattr(part, "min", None),
            getattr(part, "max", None),
        )
        for part in page.questions
    ]


def _plain(value: Any) -> Any:
    """An answer from YAML or JSON with its scalars as text."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, str):
        return (value or "").strip()
    return str(value) if isinstance(value, int | float) else value


def _follow_up(answer: Any) -> Answer:
    if not isinstance(answer, str):
        raise ValueError("must be one text")
    return answer


def _follow_up_faults(question: Part, values: dict[str, Answer], finished: bool) -> list[Fault]:
    key = question.id + CUSTOM
    if question.id not in values:
        return []
    if asks_more(question, values[question.id]):
        missing = finished and key not in values
        return [Fault(key, f"{shown(question.question)} is answered with Custom; say here which")] * missing
    if key in values:
        return [Fault(key, f"belongs to an answer that begins with Custom; {question.id} has another")]
    return []


class _Dumper(yaml.SafeDumper):
    """Prose of several lines is written as it was typed."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _ODD_BREAK.search(value) else "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
