"""The types of field that a form may have: one class each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tunebook.pages import parts
from tunebook.pages.items import Choice, Item, faults_of, usual
from tunebook.pages.names import shown
from tunebook.pages.parts import NO, YES, Answer, Field, register, text_of


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
        return self.choice.find(text_of(answer)).text

    def default(self) -> Answer:
        return usual(self.options)

    def faults(self) -> Iterator[str]:
        if not self.options:
            yield 'a select needs options: {type: select, options: ["first", "second"]}'
        yield from faults_of(self.options, "option")

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"options": [option.text for option in self.options]}


@dataclass(kw_only=True)
class _Typed(Field):
    keys = Field.keys | {"placeholder": parts.read_text}
    placeholder: str = ""

    def accept(self, answer: Any) -> Answer:
        return text_of(answer).strip()

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
        return " ".join(text_of(answer).split())


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
        number = parts.read_number(text_of(answer))
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
        word = text_of(answer).strip().lower()
        if word not in YES + NO:
            raise ValueError(f"must be yes or no, not {shown(word)}")
        return "yes" if word in YES else "no"

    def default(self) -> Answer:
        return "no"
