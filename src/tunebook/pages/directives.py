"""Directives: a line that holds nothing but one flow mapping whose first key is `type`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tunebook.pages.components import TYPES
from tunebook.pages.names import nearest, shown
from tunebook.pages.parts import Part
from tunebook.pages.safe_yaml import YamlFault, read_first

_START = re.compile(r"""\s*\{\s*(["']?)type\1\s*:""")
_LATER = re.compile(r"\s*\{[^{}]*,\s*type\s*:[^{}]*\}\s*")
Tell = Callable[[str], None]


@dataclass
class Directive:
    """A directive's type and the values of its other keys, as they stand on the page."""

    type: str
    values: dict[str, Any] = field(default_factory=dict)


def is_directive(line: str) -> bool:
    """Does `line` begin as a directive and hold nothing after it? A broken one counts, so that it is told."""
    if not _START.match(line):
        return False
    try:
        return not read_first(line.strip()).rest
    except YamlFault:
        return True


def misses_type_first(line: str) -> bool:
    """Is `line` a flow mapping with a `type` that is not its first key? It is prose, but hardly meant so."""
    return _LATER.fullmatch(line) is not None


def read_directive(line: str, error: Tell) -> Directive | None:
    """Read a line that `is_directive`; None and an error told when it is not usable."""
    try:
        values = read_first(line).value
    except YamlFault as fault:
        error(
            f"this directive is {fault.message}" if "YAML" in fault.message else f"in this directive: {fault.message}"
        )
        return None
    if "type" not in values:
        error("write a space after `type:`")
        return None
    name = values.pop("type")
    if isinstance(name, str) and name in TYPES:
        return Directive(name, values)
    word = name if isinstance(name, str) else ""
    error(f"unknown type {shown(word)}{nearest(word, TYPES)}" if word else "type must be one word" + nearest("", TYPES))
    return None


def make_part(directive: Directive, line: int, error: Tell) -> Part:
    """The component or field that `directive` asks for; every key that cannot be read is told and left out."""
    part = TYPES[directive.type]
    read: dict[str, Any] = {}
    for key, value in directive.values.items():
        if key not in part.keys:
            error(f"unknown key {shown(key)} for {directive.type}{nearest(key, part.keys)}")
            continue
        try:
            read[key] = part.keys[key](value)
        except ValueError as fault:
            error(f"{key} {fault}")
    return part(line=line, **read)
