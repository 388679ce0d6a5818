"""What a row of a data set becomes: a conversation, or the reason why it is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Severity = Literal["error", "warning"]
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `role` is one of ROLES.

    `train` false leaves an assistant turn out of the loss; None is the default, which trains it. `extra` is what else
    chat templates read: `tool_calls`, `reasoning_content`, `name`, `tool_call_id`.
    """

    role: str
    content: str
    train: bool | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Is this a turn that the model should learn to write?"""
        return self.role == "assistant" and self.train is not False

    @property
    def texts(self) -> list[str]:
        """Every text that a chat template may write for it: the words, and what stands in tool calls and thinking."""
        return [self.content, *texts_in(self.extra)] if self.extra else [self.content]

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates take it."""
        return {"role": self.role, "content": self.content, **self.extra}


def _json(value: Any) -> str:
    # A Parquet file may hold bytes inside a call, which JSON has not.
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield name
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


@dataclass(frozen=True)
class Conversation:
    """Messages in order, the tools that the assistant may call, and where they stood.

    `line` counts from 1: the line of a JSONL or text file, the row of any other. `group` names what the row belongs to
    (a column of the user's own), `copies` how often an epoch trains it, and `raw` is the row as it was read; none of
    them is part of the content.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    line: int = 0
    group: str | None = field(default=None, compare=False)
    copies: int = field(default=1, compare=False)
    raw: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def id(self) -> str:
        """32 hexadecimal digits that depend on the content alone, so on no file format, place or column name."""
        parts = []
        for turn in self.messages:
            extra = _json(turn.extra) if turn.extra else ""
            parts += [turn.role, turn.content, extra, "" if turn.train is None else str(turn.train)]
        parts.append(_json(self.tools) if self.tools else "")
        # The lengths keep apart what would otherwise join to the same text.
        text = "".join(parts) + repr([len(part) for part in parts])
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def for_template(self) -> list[dict[str, Any]]:
        """The messages as chat templates take them."""
        return [message.for_template() for message in self.messages]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one row. A row with an `error` is left out; one with a `warning` is kept."""

    line: int
    code: str
    message: str
    severity: Severity = "error"
    raw: Any = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The problem as `tunebook data check --json` prints it; the row itself is not part of it."""
        return {"line": self.line, "code": self.code, "severity": self.severity, "message": self.message}


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stood in the file: an object with column names, before anything is known of its form."""

    line: int
    value: Mapping[str, Any]
