"""Property tests: a page that is made from parts is read as those parts, and no text makes the parser raise."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tunebook.pages.answers import check_answers, default_answers
from tunebook.pages.page import Page
from tunebook.pages.parser import parse_page
from tunebook.pages.parts import TYPES, Component

# Words that Markdown leaves as they are, in several scripts; a text is one to four of them.
_WORD = st.builds(
    str.__add__, st.sampled_from("abXYäßжλ学習"), st.text(st.sampled_from("abcXYZ0189äßéжλ学習%,;?'’/"), max_size=7)
)
_TEXT = st.lists(_WORD, min_size=1, max_size=4).map(" ".join)
_OPTION = st.builds(lambda label, note: f"{label} ({note})" if note else label, _TEXT, st.just("") | _TEXT)
_OPTIONS = st.lists(_OPTION, min_size=2, max_size=5, unique=True)
_KEYS = st.fixed_dictionaries({}, optional={"required": st.booleans(), "sets": st.just("data.max_length")})


def _flow(values: dict[str, object]) -> str:
    """A directive; JSON is YAML flow."""
    return "{" + ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()) + "}"


@st.composite
def fields(draw: st.DrawFn) -> dict[str, object]:
    kind = draw(st.sampled_from(["select", "textarea", "text", "number", "checkbox"]))
    own: dict[str, object] = {}
    if kind == "select":
        own["options"] = draw(_OPTIONS)
    elif kind == "number":
        own |= {"min": draw(st.integers(-9, 0)), "max": draw(st.integers(1, 9))}
    elif kind in ("textarea", "text"):
        own["placeholder"] = draw(_TEXT)
    return {"label": draw(_TEXT), "type": kind, **own, **draw(_KEYS)}


@st.composite
def components(draw: st.DrawFn) -> dict[str, object]:
    kind = draw(st.sampled_from([name for name, part in TYPES.items() if issubclass(part, Component)]))
    made: dict[str, object] = {"type": kind, "section": draw(_TEXT)}
    if draw(st.booleans()):
        made["title"] = draw(_TEXT)
    if kind in ("ranking", "selection"):
        made["items"] = draw(_OPTIONS)
    if kind == "selection":
        made["multiple"] = draw(st.booleans())
    if kind == "form":
        made["fields"] = draw(st.lists(fields(), min_size=1, max_size=4))
    if kind == "navigation":
        made |= {"previous": draw(_TEXT), "next": draw(_TEXT)}
    return made


def write(page: dict[str, object], gaps: list[int]) -> str:
    """The page as an author would write it, with `gaps` empty lines here and there."""
    used = iter(gaps * 50)
    lines = ["---", f"title: {json.dumps(page['title'], ensure_ascii=False)}", f"phase: {page['phase']}", "---"]
    for part in page["components"]:  # type: ignore[attr-defined]
        keys = {key: part[key] for key in ("type", "title", "multiple", "previous", "next") if key in part}
        lines += ["", f"## {part['section']}", *[""] * next(used), _flow(keys), "", "Some words.", ""]
        items = part.get("items", [])
        lines += ["```", *items, "```"] if part["type"] == "ranking" else [f"- {item}" for item in items]
        for field in part.get("fields", []):
            keys = {key: value for key, value in field.items() if key != "label"}
            lines += ["", f"**{field['label']}**", *[""] * next(used), _flow(keys)]
    return "\n".join(lines)


def expected(page: dict[str, object]) -> list[dict[str, object]]:
    """What must be read, in the words of the generator."""
    return [
        {"title": part["section"] if part["type"] != "navigation" else "Navigation"} | part
        for part in page["components"]  # type: ignore[attr-defined]
    ]


def read(page: Page) -> list[dict[str, object]]:
    """What was read, in the words of the generator."""
    made = []
    sections = [section.title for section in page.sections for _ in section.components]
    for section, part in zip(sections, page.components, strict=True):
        value = part.to_json()
        said = {key: value[key] for key in ("type", "title", "multiple", "previous", "next") if key in value}
        said["section"] = section
        if "items" in value:
            said["items"] = [item.text for item in part.choices]
        if "fields" in value:
            said["fields"] = [{key: item for key, item in field.items() if key != "id"} for field in value["fields"]]
        made.append(said)
    return made


def _without_false(value: object) -> object:
    """`required: false` is what a field has anyway."""
    if isinstance(value, dict):
        return {key: _without_false(item) for key, item in value.items() if (key, item) != ("required", False)}
    return [_without_false(item) for item in value] if isinstance(value, list) else value


pages = st.fixed_dictionaries(
    {"title": _TEXT, "phase": st.integers(0, 99), "components": st.lists(components(), max_size=5)}
)


@settings(max_examples=50)
@given(pages, st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_a_page_is_read_as_it_was_made(made: dict[str, object], gaps: list[int]) -> None:
    page = parse_page(write(made, gaps), "made")
    assert page.problems == []
    assert (page.title, page.phase) == (made["title"], made["phase"])
    assert read(page) == _without_false(expected(made))


@settings(max_examples=30)
@given(pages)
def test_ids_are_unique_and_the_same_each_time(made: dict[str, object]) -> None:
    text = write(made, [0])
    ids = [part.id for part in parse_page(text, "made").parts]
    assert len(set(ids)) == len(ids)
    assert ids == [part.id for part in parse_page(text.replace("\n", "\r\n").encode(), "made").parts]


@settings(max_examples=30)
@given(pages)
def test_the_default_answers_of_any_page_fit_it(made: dict[str, object]) -> None:
    page = parse_page(write(made, [0]), "made")
    values, faults = check_answers(page, default_answers(page))
    required = {part.id for part in page.questions if part.required}
    assert {fault.where for fault in faults} == required - set(values)


_PIECES = st.sampled_from(
    ["---", "title: T", "## A", "### B", "**L**", "- a", "1. a", "```", "~~~", "> q", "  ", "\t", "\r", "\0", "\ufeff"]
    + [f"{{type: {name}}}" for name in TYPES]
    + ["{type: select, options: [a, b]}", "{type: [", "{type: }", "{type: form, id: x}", "{type: &a x}", "{type:x}"]
    + ["[x]: y", "<b>", "    code", "* a", "-", "===", "{", "}", "[[[[", "&a", "*a", "\ud800", "'\"", "\x85\u2028"]
)


@given(st.lists(_PIECES | st.text(max_size=20), max_size=30).map("\n".join))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    page = parse_page(text, "any")
    json.dumps(page.to_json())
    assert all(1 <= problem.line <= len(text) + 1 and problem.message for problem in page.problems)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-16")))
def test_no_bytes_make_the_parser_raise(data: bytes) -> None:
    assert parse_page(b"---\ntitle: T\n---\n" + data, "any").title == "T"
    parse_page(data, "any")
