"""Directives: a line that holds nothing but one flow mapping whose first key is `type`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from tunebook.pages.names import nearest, shown
from tunebook.pages.parts import TYPES, Part
from tunebook.pages.safe_yaml import YamlFault, read_first

_START = re.compile(r"""\s*\{\s*(["']?)type\1\s*:""")
_LATER = re.compile(r",\s*type\s*:")
Tell = Callable[[str], None]


class Directive:
    """A line that is a directive: its keys and values as they stand there, or the fault that makes it unreadable."""

    def __init__(self, line: str) -> None:
        self.values: dict[str, Any] = {}
        self.fault = ""
        self.rest = ""
        try:
            document = read_first(line.strip())
            self.values, self.rest = document.value, document.rest
        except YamlFault as fault:
            self.fault = fault.message


def find_directives(lines: Sequence[str]) -> dict[int, Directive]:
    """The lines that hold a directive and nothing after it. A broken one counts, so that it is told."""
    found = {number: Directive(line) for number, line in enumerate(lines) if _START.match(line)}
    return {number: directive for number, directive in found.items() if not directive.rest}


def slip(line: str) -> str:
    """What keeps a line of prose from being the directive that it was hardly not meant to be; mostly nothing."""
    text = line.strip()
    if not text.startswith("{"):
        return ""
    if _START.match(text):
        found = Directive(text)
        known = str(found.values.get("type")) in TYPES
        meant = known or not re.search(r"\w", found.rest)
        return f"this reads as prose, for {shown(found.rest)} follows the directive" if meant else ""
    if text.endswith("}") and _LATER.search(text):
        return "this reads as prose; in a directive `type` is the first key"
    return ""


def make_part(directive: Directive, line: int, error: Tell) -> Part | None:
    """The component or field that `directive` asks for; what cannot be read is told and left out."""
    if directive.fault:
        error(f"this directive cannot be read: {directive.fault}")
        return None
    values = dict(directive.values)
    if "type" not in values:
        error("write a space after `type:`")
        return None
    name = values.pop("type")
    if not isinstance(name, str) or name not in TYPES:
        word = name if isinstance(name, str) else ""
        error(f"unknown type {shown(word)}{nearest(word, TYPES)}")
        return None
    part = TYPES[name]
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key not in part.keys:
            error(f"unknown key {shown(key)} for {name}{nearest(key, part.keys)}")
            continue
        try:
            read[key] = part.keys[key](value)
        except ValueError as fault:
            error(f"{key} {fault}")
    return part(line=line, **read)
