"""The YAML between two lines `---` at the top of a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from tunebook.pages.names import nearest, said, shown
from tunebook.pages.page import Page, Severity
from tunebook.pages.parts import TYPES, Component, read_id, read_text
from tunebook.pages.safe_yaml import YamlFault, read

Tell = Callable[[Severity, int, str], None]


@dataclass
class FrontMatter:
    """How many lines it takes, and which component types it lists (None where it lists none), on which line."""

    length: int = 0
    types: list[str] | None = None
    line: int = 0


_FENCE = "---"


def read_front_matter(lines: list[str], page: Page, tell: Tell) -> FrontMatter:
    """Fill `page` from the front matter at the top of `lines`."""
    if lines[0].rstrip() != _FENCE:
        tell("error", 0, "a page begins with front matter: a line `---`, a line `title: ...`, a line `---`")
        return FrontMatter()
    end = next((number for number, line in enumerate(lines) if number and line.rstrip() == _FENCE), 0)
    if not end:
        tell("error", 0, "the front matter is never closed; put a line `---` under it")
        return FrontMatter(1)
    front = FrontMatter(end + 1)
    try:
        document = read("\n".join(lines[1:end]))
    except YamlFault as fault:
        tell("error", min(fault.line + 1, end), f"in the front matter: {fault.message}")
        return front
    values = document.value if isinstance(document.value, dict) else {}

    def line(key: str) -> int:
        return document.lines.get(key, -1) + 1

    for key, reader in _READERS.items():
        try:
            setattr(page, key, reader(values[key]) if key in values else getattr(page, key))
        except ValueError as fault:
            tell("error", line(key), f"{key} {fault}")
    if not page.title:
        tell("error", line("title"), "the page needs a title: a line `title: ...` in its front matter")
    for key in values:
        if key not in KEYS:
            tell("warning", line(key), f"unknown key {shown(key)} in the front matter{nearest(key, KEYS)}")
    if "components" in values:
        front.line = line("components")
        front.types = _types(values["components"], front.line, tell)
    return front


def compare_types(front: FrontMatter, used: Collection[str], tell: Tell) -> None:
    """Warn where the list of components in the front matter is not what the page uses."""
    if front.types is None:
        return
    for name in front.types:
        if name not in used:
            tell("warning", front.line, f"components lists {name}, which the page does not use")
    for name in used:
        if name not in front.types:
            tell("warning", front.line, f"components leaves out {name}, which the page uses")


def _phase(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,6}", value):
        raise ValueError(f"must be a whole number, not {said(value)}")
    return int(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "title": read_text,
    "subtitle": read_text,
    "phase": _phase,
    "id": read_id,
}
KEYS = (*_READERS, "components")


def _types(value: Any, line: int, tell: Tell) -> list[str] | None:
    entries = value if isinstance(value, list) else [None]
    types = [entry.get("type") if isinstance(entry, dict) else None for entry in entries]
    if not all(isinstance(name, str) for name in types):
        tell("error", line, "components must be a list of {type: ...}, one for each type on the page")
        return None
    known = [name for name, part in TYPES.items() if issubclass(part, Component)]
    for name in dict.fromkeys(types):
        if name not in known:
            tell("warning", line, f"unknown type {shown(str(name))} in components{nearest(str(name), known)}")
    return [str(name) for name in dict.fromkeys(types) if name in known]
