"""One row as the model sees it: its text, token by token, with what is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.data.conversation import Conversation, Problem
from tunebook.data.encode import Encoder, Encoding
from tunebook.data.examples import Example
from tunebook.data.open import open_data
from tunebook.data.render import render_texts, tokenize
from tunebook.data.template import Template
from tunebook.errors import DataError


@dataclass(frozen=True, slots=True)
class ShownToken:
    """`text` is what this token adds: the texts of all tokens, joined, are the text of the row."""

    id: int
    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A rendered row at its full length."""

    text: str
    tokens: tuple[ShownToken, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of `tunebook data show --json`."""
        tokens = [{"id": token.id, "text": token.text, "trained": token.trained} for token in self.tokens]
        return {"text": self.text, "tokens": tokens}


def show_row(path: Path, row: int, tokenizer: Any, columns: Mapping[str, str] | None = None) -> Shown:
    """Render the row that `data check` calls line `row`. DataError: there is none, or something is wrong with it."""
    conversation = _find(path, row, columns)
    template = Template(tokenizer)
    rendered = render_texts([conversation], template)[0] if isinstance(conversation, Conversation) else conversation
    if isinstance(rendered, Problem):
        raise DataError(
            f"Row {row} of {path} cannot be trained: {rendered.message}.", do="Mend it, or show another row."
        )
    (encoding,) = Encoder(tokenizer)([rendered.text])
    ((example, _),) = tokenize([rendered], [encoding])
    return Shown(rendered.text, _tokens(rendered.text, example, encoding))


def _find(path: Path, row: int, columns: Mapping[str, str] | None) -> Conversation | Problem:
    last = 0
    for item in open_data(path, columns).conversations():
        if item.line == row:
            return item
        last = item.line
        if last > row:
            break
    raise DataError(f"{path} has no row {row}.", do=f"Rows count from 1; the nearest is {last}.")


def _tokens(text: str, example: Example, encoding: Encoding) -> tuple[ShownToken, ...]:
    shown, told = [], 0
    for number, trained, end in zip(example.ids.tolist(), example.trained.tolist(), encoding.ends(), strict=True):
        shown.append(ShownToken(number, text[told:end], trained))
        told = max(told, end)
    return tuple(shown)
