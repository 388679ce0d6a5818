"""The types of component: one class each. (The types of field stand in `fields.py`; all are in one table, `TYPES`.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import tunebook.pages.fields  # noqa: F401  (which puts its types into the table)
from tunebook.pages import parts
from tunebook.pages.items import Choice, Item, faults_of, usual
from tunebook.pages.markdown import Prose
from tunebook.pages.names import shown
from tunebook.pages.order import step_of
from tunebook.pages.outline import Kind
from tunebook.pages.parts import Answer, Component, Field, register
from tunebook.steps import STEP_IDS

ICONS = ("book", "chart", "check", "clock", "cogs", "compare", "data", "info", "play", "warning")


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
        yield from faults_of(self.items, "item")

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
        found = [by_step.get(step_of(line) or "") or self.choice.find(line) for line in parts.texts_of(answer)]
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
        chosen = {self.choice.find(text) for text in parts.texts_of(answer)}
        if not self.multiple and len(chosen) > 1:
            raise ValueError(f"names {len(chosen)} items where one is asked for")
        texts = [item.text for item in self.items if item in chosen]
        return texts if self.multiple else texts[0]

    def default(self) -> Answer:
        if not self.multiple:
            return usual(self.items)
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
