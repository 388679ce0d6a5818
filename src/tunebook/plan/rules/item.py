"""One idea found in a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One idea: its `kind`, its `value`, and its place `start:end` in the text; `words` is how it was said."""

    kind: str
    value: Any
    start: int
    end: int
    words: str
