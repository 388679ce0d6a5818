"""What every part of a page has in common, how the values of a directive are read, and the table of types.

A new type is one class in `components.py` or `fields.py` with `@register`: its `type`, the `keys` that its directive
may carry (each with the function that reads the value), and, when it asks something, how (`asks`) and what `accept`
makes of an answer. What it inherits from says what it does with the text under it: Component keeps it as prose, Items
takes items from it, Form takes fields. Parser, answers, player and studio read all of it from there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from tunebook.pages.items import Item, make_item
from tunebook.pages.markdown import Prose
from tunebook.pages.names import ID, said

Answer = str | list[str]
Asks = Literal["", "one", "many", "order", "text", "prose", "number", "yes"]
MAX_ITEMS = 1_000
YES, NO = ("true", "yes", "on"), ("false", "no", "off")
_PLAN_PATH = re.compile(r"[a-z_]+(\.[a-z_]+)*")


def read_text(value: Any) -> str:
    """One text; a key without a value is the empty one. Raises ValueError with what would be right."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value.strip()


def read_flag(value: Any) -> bool:
    """true or false, yes or no. Raises ValueError with what would be right."""
    if isinstance(value, str) and value.lower() in YES + NO:
        return value.lower() in YES
    raise ValueError(f"must be true or false, not {said(value)}")


def read_number(value: Any) -> float:
    """A finite number; whole ones are int. Raises ValueError with what would be right."""
    try:
        number = float(str(value).replace("_", ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"must be a number, not {said(value)}")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def read_options(value: Any) -> tuple[Item, ...]:
    """A list of options. Raises ValueError with what would be right."""
    if not isinstance(value, list) or any(not isinstance(entry, str | None) for entry in value):
        raise ValueError('must be a list of texts, such as ["16 (Standard)", "32"]')
    if len(value) > MAX_ITEMS:
        raise ValueError(f"are {len(value):,}, more than the {MAX_ITEMS:,} that can be shown")
    texts = [" ".join((entry or "").split()) for entry in value]
    if "" in texts:
        raise ValueError("holds an empty option; give it a text or take it out")
    return tuple(map(make_item, texts))


def read_id(value: Any) -> str:
    """An id that an answers file can use. Raises ValueError with what would be right."""
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise ValueError(f"must be letters, digits, - and _, at most 80 of them, not {said(value)}")
    return value


def read_plan_path(value: Any) -> str:
    """A path into the plan, which alone knows whether it exists. Raises ValueError with what would be right."""
    if not isinstance(value, str) or not _PLAN_PATH.fullmatch(value):
        raise ValueError(f"must be a path into the plan, such as data.max_length, not {said(value)}")
    return value


def text_of(answer: Any) -> str:
    """An answer that is one text, or a list of one. ValueError when it is something else."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, str):
        raise ValueError("must be one text")
    return answer


def texts_of(answer: Any) -> list[str]:
    """An answer that is a list of texts, or one text. ValueError when it is something else."""
    texts = answer if isinstance(answer, list) else [answer]
    if any(not isinstance(text, str) for text in texts):
        raise ValueError("must be a list of texts")
    return texts


# --- the parts of a page


@dataclass(kw_only=True)
class Part:
    """Anything that a directive makes. `asks` says how it is asked; empty, there is nothing to answer."""

    type: ClassVar[str]
    asks: ClassVar[Asks] = ""
    keys: ClassVar[dict[str, Callable[[Any], Any]]] = {"id": read_id, "required": read_flag, "sets": read_plan_path}
    line: int = 0
    id: str = ""
    required: bool = False
    sets: str = ""

    @property
    def question(self) -> str:
        """What the reader is asked."""
        return ""

    @property
    def choices(self) -> tuple[Item, ...]:
        """What an answer is chosen from; empty for what is typed."""
        return ()

    def accept(self, answer: Any) -> Answer:
        """The answer as it is stored. ValueError says what is wrong with it; it is never called with an empty one."""
        raise NotImplementedError

    def default(self) -> Answer:
        """What `--defaults` answers; empty text for what it leaves to the reader."""
        return ""

    def faults(self) -> Iterator[str]:
        """What is wrong with the part as a whole, once it is read."""
        yield from ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for `page check --json`, the studio and tests."""
        return {"id": self.id, "type": self.type} | {
            key: getattr(self, key) for key in ("required", "sets") if getattr(self, key)
        }


@dataclass(kw_only=True)
class Field(Part):
    """A question inside a form. `before` stands above its label, `help` between label and answer."""

    label: str = ""
    before: Prose = Prose()
    help: Prose = Prose()

    @property
    def question(self) -> str:
        return self.label

    def to_json(self) -> dict[str, Any]:
        value = super().to_json()
        return {"id": value.pop("id"), "label": self.label} | value


@dataclass(kw_only=True)
class Component(Part):
    """A part of a section. `prose` is what stands under its directive, `after` what follows its items or fields."""

    keys = Part.keys | {"title": read_text}
    title: str = ""
    section: str = ""
    prose: Prose = Prose()
    after: Prose = Prose()

    def to_json(self) -> dict[str, Any]:
        value = super().to_json()
        return {"id": value.pop("id"), "type": value.pop("type"), "title": self.title, "line": self.line} | value


TYPES: dict[str, type[Component] | type[Field]] = {}
_Type = TypeVar("_Type", bound="type[Component] | type[Field]")


def register(part: _Type) -> _Type:
    """Put a type of component or field into the table."""
    TYPES[part.type] = part
    return part
