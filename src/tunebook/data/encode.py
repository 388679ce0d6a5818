"""Text -> tokens that know which characters they stand for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from tunebook.errors import DataError


class Encoding(Protocol):
    """What is used of the Rust library's encodings."""

    @property
    def ids(self) -> list[int]: ...

    def char_to_token(self, char_pos: int) -> int | None: ...

    def token_to_chars(self, token_index: int) -> tuple[int, int] | None: ...


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Encoding]:
    """Encodings of `texts` without added special tokens: the template has written those that belong there."""
    if not texts:
        return []
    if getattr(tokenizer, "is_fast", False):
        rust = tokenizer.backend_tokenizer
        rust.no_truncation()
        rust.no_padding()
        return list(rust.encode_batch(list(texts), add_special_tokens=False))
    return [_Slow(tokenizer, text) for text in texts]


@contextmanager
def all_cores() -> Iterator[None]:
    """Let the Rust library use its threads, whatever was set to keep it quiet when processes fork elsewhere."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        yield
    finally:
        os.environ["TOKENIZERS_PARALLELISM"] = before or "false"


def token_span(encoding: Encoding, start: int, end: int) -> tuple[int, int]:
    """The tokens (first, one past the last) that hold any of the characters from `start` up to `end`."""
    first = next((token for at in range(start, end) if (token := encoding.char_to_token(at)) is not None), None)
    last = next(
        (token for at in range(end - 1, start - 1, -1) if (token := encoding.char_to_token(at)) is not None), None
    )
    if first is None or last is None:
        return 0, 0
    count = len(encoding.ids)
    # A character of several bytes may be several tokens; the lookup names the first of them.
    while last + 1 < count and (chars := encoding.token_to_chars(last + 1)) and chars[0] < end:
        last += 1
    return first, last + 1


@dataclass(slots=True)
class _Slow:
    """An encoding by a tokenizer without offsets: places are found by encoding the text up to them."""

    tokenizer: Any
    text: str
    _ids: list[int] | None = None

    @property
    def ids(self) -> list[int]:
        if self._ids is None:
            self._ids = self._encode(self.text)
        return self._ids

    def char_to_token(self, char_pos: int) -> int | None:
        before, with_it = self._encode(self.text[:char_pos]), self._encode(self.text[: char_pos + 1])
        place = len(before) if before == self.ids[: len(before)] else len(with_it) - 1
        if place >= len(self.ids):
            raise DataError(
                "The tokenizer does not say where in the text its tokens stand, and splits an answer's first word.",
                do="Use the model's fast tokenizer (a tokenizer.json in its folder).",
            )
        return place

    def token_to_chars(self, token_index: int) -> tuple[int, int] | None:
        return None

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
