"""The types of a page's parts: one class each, all in one table.

A new type is one class here with `@register`: its `type`, the `keys` that its directive may carry (each with the
function that reads the value), and, when it asks something, how (`asks`) and what `accept` makes of an answer. What it
inherits from says what it does with the text under it: Component keeps it as prose, Items takes items from it, Form
takes fields. Parser, answers, player and studio read all of it from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from tunebook.pages import parts
from tunebook.pages.items import Choice, Item
from tunebook.pages.markdown import Prose
from tunebook.pages.names import shown
from tunebook.pages.order import step_of
from tunebook.pages.outline import Kind
from tunebook.pages.parts import NO, YES, Answer, Component, Field
from tunebook.steps import STEP_IDS

ICONS = ("book", "chart", "check", "clock", "cogs", "compare", "data", "info", "play", "warning")
TYPES: dict[str, type[Component] | type[Field]] = {}
_Type = TypeVar("_Type", bound="type[Component] | type[Field]")


def register(part: _Type) -> _Type:
    """Put a type of component or field into the table."""
    TYPES[part.type] = part
    return part


# --- what informs


@register
@dataclass(kw_only=True)
class Instructions(Component):
    """What the reader is to do in this phase."""

    type = "instructions"


@register
@dataclass(kw_only=True)
class Information(Component):
    """Something to know. An icon that the table does not hold is ignored."""

    type = "information"
    keys = Component.keys | {"icon": lambda value: icon if (icon := parts.read_text(value)) in ICONS else ""}
    icon: str = ""


@register
@dataclass(kw_only=True)
class Navigation(Component):
    """The titles of the pages before and after this one."""

    type = "navigation"
    keys = Component.keys | {"previous": parts.read_text, "next": parts.read_text}
    previous: str = ""
    next: str = ""

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"previous": self.previous, "next": self.next}


# --- what asks


@dataclass(kw_only=True)
class Items(Component):
    """A component whose title is the question and whose items are what an answer is made of.

    `taken_from` are the kinds of block that hold the items; a kind goes before the ones after it.
    """

    taken_from: ClassVar[tuple[tuple[Kind, ...], ...]] = (("bullets",),)
    items: tuple[Item, ...] = ()

    @property
    def question(self) -> str:
        return self.title

    @property
    def choices(self) -> tuple[Item, ...]:
        return self.items

    @cached_property
    def choice(self) -> Choice:
        """Finds an item by text, label or id."""
        return Choice(self.items)

    def faults(self) -> Iterator[str]:
        yield from _twice(self.items, "item")

    def to_json(self) -> dict[str, Any]:
        items = [{"id": item.id, "label": item.label, "note": item.note} for item in self.items]
        return super().to_json() | {"items": items}


@register
@dataclass(kw_only=True)
class Ranking(Items):
    """Lines to be put in order. Those that are the ten steps of a run may be answered by step id, too."""

    type = "ranking"
    asks = "order"
    taken_from = (("fence",), ("bullets", "numbers"))

    def accept(self, answer: Any) -> Answer:
        by_step = {step: item for item in self.items if (step := step_of(item.text))}
        found = [by_step.get(step_of(line) or "") or self.choice.find(line) for line in _texts(answer)]
        counts = Counter(item.text for item in found)
        missing = [item.text for item in self.items if item.text not in counts]
        repeated = [text for text, count in counts.items() if count > 1]
        wrong = [f"leaves out {', '.join(map(shown, missing))}"] * bool(missing)
        wrong += [f"names {', '.join(map(shown, repeated))} more than once"] * bool(repeated)
        if wrong:
            raise ValueError(f"{' and '.join(wrong)}; an order holds each item once")
        return [item.text for item in found]

    def default(self) -> Answer:
        known = {step: item.text for item in self.items if (step := step_of(item.text))}
        ordered = [known[step] for step in STEP_IDS if step in known]
        return ordered + [item.text for item in self.items if item.text not in ordered]

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if len(self.items) < 2:
            yield "a ranking needs at least two items, one a line, between two lines of ``` or as a list"


@register
@dataclass(kw_only=True)
class Selection(Items):
    """A choice of one, or with `multiple` of any number, of a list's items."""

    type = "selection"
    keys = Component.keys | {"multiple": parts.read_flag}
    multiple: bool = False

    @property
    def asks(self) -> parts.Asks:  # type: ignore[override]  # here the directive decides
        """Many where `multiple` says so."""
        return "many" if self.multiple else "one"

    def accept(self, answer: Any) -> Answer:
        chosen = {self.choice.find(text) for text in _texts(answer)}
        if not self.multiple and len(chosen) > 1:
            raise ValueError(f"names {len(chosen)} items where one is asked for")
        texts = [item.text for item in self.items if item in chosen]
        return texts if self.multiple else texts[0]

    def default(self) -> Answer:
        if not self.multiple:
            return _usual(self.items)
        return [item.text for item in self.items if not item.custom and "bleu" not in item.label.lower().split()]

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if not self.items:
            yield "a selection needs items: a bullet list, each line beginning with `- `"

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"multiple": self.multiple}


@dataclass(kw_only=True)
class Group:
    """Fields of a form under one `###` heading; the ones before the first heading stand in a group without title."""

    title: str = ""
    line: int = 0
    prose: Prose = Prose()
    fields: list[Field] = field(default_factory=list)
    after: Prose = Prose()


@register
@dataclass(kw_only=True)
class Form(Component):
    """Fields to fill in."""

    type = "form"
    groups: list[Group] = field(default_factory=list)

    @property
    def fields(self) -> list[Field]:
        """All fields in the order of the page."""
        return [item for group in self.groups for item in group.fields]

    def faults(self) -> Iterator[str]:
        if not self.fields:
            yield "a form needs fields: a line `**Label**` and under it a line such as {type: text}"

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"fields": [item.to_json() for item in self.fields]}


@register
@dataclass(kw_only=True)
class Select(Field):
    """One of the options."""

    type = "select"
    asks = "one"
    keys = Field.keys | {"options": parts.read_options}
    options: tuple[Item, ...] = ()

    @property
    def choices(self) -> tuple[Item, ...]:
        return self.options

    @cached_property
    def choice(self) -> Choice:
        """Finds an option by text or label."""
        return Choice(self.options)

    def accept(self, answer: Any) -> Answer:
        return self.choice.find(_text(answer)).text

    def default(self) -> Answer:
        return _usual(self.options)

    def faults(self) -> Iterator[str]:
        if not self.options:
            yield 'a select needs options: {type: select, options: ["first", "second"]}'
        yield from _twice(self.options, "option")

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"options": [option.text for option in self.options]}


@dataclass(kw_only=True)
class _Typed(Field):
    keys = Field.keys | {"placeholder": parts.read_text}
    placeholder: str = ""

    def accept(self, answer: Any) -> Answer:
        return _text(answer).strip()

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | ({"placeholder": self.placeholder} if self.placeholder else {})


@register
@dataclass(kw_only=True)
class Textarea(_Typed):
    """Prose of any length."""

    type = "textarea"
    asks = "prose"


@register
@dataclass(kw_only=True)
class Text(_Typed):
    """One line of text."""

    type = "text"
    asks = "text"

    def accept(self, answer: Any) -> Answer:
        return " ".join(_text(answer).split())


@register
@dataclass(kw_only=True)
class Number(_Typed):
    """A number, from `min` to `max` where they are given."""

    type = "number"
    asks = "number"
    keys = _Typed.keys | {"min": parts.read_number, "max": parts.read_number}
    min: float | None = None
    max: float | None = None

    def accept(self, answer: Any) -> Answer:
        number = parts.read_number(_text(answer))
        if (self.min is not None and number < self.min) or (self.max is not None and number > self.max):
            raise ValueError(f"is {number}, but must be {self.limits}")
        return str(number)

    @property
    def limits(self) -> str:
        """The limits in words, empty where there are none."""
        low = f"at least {self.min}" if self.min is not None else ""
        high = f"at most {self.max}" if self.max is not None else ""
        return " and ".join(limit for limit in (low, high) if limit)

    def faults(self) -> Iterator[str]:
        if self.min is not None and self.max is not None and self.min > self.max:
            yield f"min ({self.min}) is above max ({self.max}), so no number would fit"

    def to_json(self) -> dict[str, Any]:
        limits = {"min": self.min, "max": self.max}
        return super().to_json() | {key: value for key, value in limits.items() if value is not None}


@register
@dataclass(kw_only=True)
class Checkbox(Field):
    """Yes or no."""

    type = "checkbox"
    asks = "yes"

    def accept(self, answer: Any) -> Answer:
        word = _text(answer).strip().lower()
        if word not in YES + NO:
            raise ValueError(f"must be yes or no, not {shown(word)}")
        return "yes" if word in YES else "no"

    def default(self) -> Answer:
        return "no"


def _text(answer: Any) -> str:
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, str):
        raise ValueError("must be one text")
    return answer


def _texts(answer: Any) -> list[str]:
    texts = answer if isinstance(answer, list) else [answer]
    if any(not isinstance(text, str) for text in texts):
        raise ValueError("must be a list of texts")
    return texts


def _usual(options: Sequence[Item]) -> str:
    """The option noted Recommended or Standard, else the first that is not Custom."""
    ranked = sorted(options, key=lambda option: (option.custom, not option.usual))
    return ranked[0].text if ranked else ""


def _twice(items: Sequence[Item], what: str) -> Iterator[str]:
    seen: set[str] = set()
    for item in items:
        if item.text in seen:
            yield f"the {what} {shown(item.text)} stands there twice, so an answer could not tell them apart"
        seen.add(item.text)
