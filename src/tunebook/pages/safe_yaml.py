"""YAML as page authors write it: mappings, lists and text, nothing that can grow, loop or run.

Values are kept as they stand on the page (`1e-5` stays `1e-5`, `No` stays `No`); whoever knows the key reads them
further. Anchors, aliases, tags, a key given twice and deep nesting are faults, so that no document is larger in
memory than on disk. The parser's events are read one by one: nothing here recurses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 16
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where there is one: ten times faster
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))


class YamlFault(Exception):
    """What is wrong, and the line (counted from 0 inside the text) where it is."""

    def __init__(self, message: str, line: int = 0) -> None:
        self.message, self.line = message, line
        super().__init__(message)


@dataclass
class Document:
    """`value` is a dict, a list, text or None; `lines` has the line of each top-level key; `rest` is what follows."""

    value: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    rest: str = ""


@dataclass
class _Open:
    """A mapping or list under construction; `key` waits for its value."""

    value: Any
    key: str | None = None


def read(text: str) -> Document:
    """Read one YAML document into plain dicts, lists, text and None. Raises YamlFault and nothing else."""
    return _read(text, whole=True)


def read_first(line: str) -> Document:
    """Read the flow mapping at the start of `line`; what stands after it is `rest`. Raises YamlFault."""
    return _read(line, whole=False)


def _read(text: str, whole: bool) -> Document:
    document = Document()
    stack: list[_Open] = []
    documents = 0
    try:
        loader = _LOADER(text)
        while loader.check_event():
            event = loader.get_event()
            line, end = event.start_mark.line, event.end_mark.column
            if isinstance(event, yaml.NodeEvent):
                _node(document, stack, event)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                stack.pop()
                if not stack and not whole:
                    document.rest = text[end:].strip()
                    break
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise YamlFault("holds a second document; write one", line)
    except UnicodeError:
        raise YamlFault("holds characters that are not Unicode text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        raise YamlFault(f"not valid YAML: {problem}", mark.line if mark else 0) from None
    return document


def _node(document: Document, stack: list[_Open], event: Any) -> None:
    line = event.start_mark.line
    if event.anchor:  # an alias has one, too
        raise YamlFault("anchors (&) and aliases (*) are not read; write the value out", line)
    if event.tag:
        raise YamlFault(f"the tag {event.tag[:60]} is not read; write plain text", line)
    if isinstance(event, yaml.ScalarEvent):
        plain = event.implicit[0]
        _put(document, stack, None if plain and event.value in _NULLS else event.value, line)
        return
    if len(stack) >= MAX_DEPTH:
        raise YamlFault(f"nested deeper than {MAX_DEPTH} levels", line)
    new = _Open({} if isinstance(event, yaml.MappingStartEvent) else [])
    _put(document, stack, new.value, line)
    stack.append(new)


def _put(document: Document, stack: list[_Open], value: Any, line: int) -> None:
    if not stack:
        document.value = value
        return
    top = stack[-1]
    if isinstance(top.value, list):
        top.value.append(value)
    elif top.key is not None:
        top.value[top.key] = value
        top.key = None
    elif not isinstance(value, str | None):
        raise YamlFault("a key must be text", line)
    else:
        key = value or ""
        if not key.isprintable():
            raise YamlFault("a key holds characters that cannot be seen", line)
        if key in top.value:
            raise YamlFault(f"the key {key[:60]!r} is given twice", line)
        top.key, top.value[key] = key, None
        if len(stack) == 1:
            document.lines[key] = line
