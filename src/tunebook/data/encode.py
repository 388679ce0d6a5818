"""Text -> tokens that know which characters they stand for.

Tokenizers of the Rust library say so themselves. Most work on bytes, though, and then every token's length in bytes is
known beforehand: places are found by adding up, and many texts are encoded by pieces that come again (`pieces.py`). A
text whose bytes do not add up (a normalizer changed it, say) goes the library's own way.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tunebook.data.pieces import Int32, Pieces, pieces_of
from tunebook.errors import DataError

# From so many texts on, trying whether they can be encoded by pieces is worth it.
_MANY = 64
Int64 = npt.NDArray[np.int64]


class Encoding(Protocol):
    """The tokens of one text."""

    ids: Int32

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The tokens (first, one past the last) that hold any of the characters from `start` up to `end`."""
        ...

    def begins_before(self, token: int, char: int) -> bool:
        """Does `token` hold something of the text before character `char`?"""
        ...

    def ends(self) -> list[int]:
        """How many characters are told, whole, when each token has been read."""
        ...


class Encoder:
    """A tokenizer, ready to encode many texts. It adds no special tokens: the template has written them."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._rust = tokenizer.backend_tokenizer if getattr(tokenizer, "is_fast", False) else None
        self._lengths = _byte_lengths(self._rust) if self._rust else None
        self._pieces: Pieces | None = None
        self._tried = False

    def __call__(self, texts: Sequence[str]) -> list[Encoding]:
        """Encodings of `texts`, in order."""
        if self._rust is None:
            return [_Slow(self._tokenizer, text) for text in texts]
        self._rust.no_truncation()
        self._rust.no_padding()
        if self._lengths is None:
            return [_Offsets(made) for made in self._rust.encode_batch(list(texts), add_special_tokens=False)]
        every = zip(texts, self._ids(self._rust, texts), strict=True)
        return [_by_bytes(self._rust, text, ids, self._lengths) for text, ids in every]

    def _ids(self, rust: Any, texts: Sequence[str]) -> list[Int32]:
        """The ids of each text: of many texts by their pieces, where the tokenizer can be used so."""
        many = len(texts) >= _MANY
        if many and not self._tried:
            self._pieces, self._tried = pieces_of(rust, _parting_tokens(rust), texts), True
        if many and self._pieces:
            return self._pieces(texts)
        made = rust.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(item.ids, np.int32) for item in made]


def _parting_tokens(rust: Any) -> list[str]:
    """Special tokens that take no white space with them and with which no other token begins."""
    added = list(rust.get_added_tokens_decoder().values())
    plain = [token for token in added if token.special and not (token.lstrip or token.rstrip or token.single_word)]
    texts = [token.content for token in added]
    return [
        token.content
        for token in plain
        if not any(text != token.content and text.startswith(token.content) for text in texts)
    ]


def _by_bytes(rust: Any, text: str, ids: Int32, lengths: Int64) -> Encoding:
    ends = lengths[ids].cumsum()
    ascii_text = text.isascii()
    size = len(text) if ascii_text else len(text.encode("utf-8", "surrogatepass"))
    changed = rust.normalizer is not None and not ascii_text
    if changed or size != (ends[-1] if len(ends) else 0):
        return _Offsets(rust.encode(text, add_special_tokens=False))
    return _Bytes(text, ids, ends)


@contextmanager
def all_cores() -> Iterator[None]:
    """Let the Rust library use its threads, whatever was set to keep it quiet when processes fork elsewhere."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        yield
    finally:
        os.environ["TOKENIZERS_PARALLELISM"] = before or "false"


def _byte_lengths(rust: Any) -> Int64 | None:
    """How many bytes each token stands for; None when the tokenizer does not work on bytes."""
    if type(rust.decoder).__name__ != "ByteLevel" or type(rust.model).__name__ != "BPE":
        return None
    added = rust.get_added_tokens_decoder()
    vocabulary = rust.get_vocab(with_added_tokens=False)
    lengths = np.zeros(max([*vocabulary.values(), *added]) + 1, np.int64)
    for token, number in vocabulary.items():
        lengths[number] = len(token)  # each character of a byte-level token stands for one byte
    for number, token in added.items():
        lengths[number] = len(token.content.encode())
    return lengths


class _Bytes:
    """An encoding by adding up: token i ends at byte `ends[i]`."""

    def __init__(self, text: str, ids: Int32, ends: Int64) -> None:
        self.ids, self._ends, self._ascii, self._text = ids, ends, text.isascii(), text

    def span(self, start: int, end: int) -> tuple[int, int]:
        first, last = np.searchsorted(self._ends, [self._byte(start), self._byte(end) - 1], side="right")
        return int(first), int(last) + 1

    def begins_before(self, token: int, char: int) -> bool:
        return bool((self._ends[token - 1] if token else 0) < self._byte(char))

    def ends(self) -> list[int]:
        data = self._text.encode()
        return [len(data[:end].decode("utf-8", "ignore")) for end in self._ends]

    def _byte(self, char: int) -> int:
        return char if self._ascii else len(self._text[:char].encode("utf-8", "surrogatepass"))


class _Offsets:
    """An encoding of the Rust library, by its own offsets."""

    def __init__(self, made: Any) -> None:
        self.ids, self._made = np.array(made.ids, np.int32), made

    def span(self, start: int, end: int) -> tuple[int, int]:
        token = self._made.char_to_token
        first = next((found for at in range(start, end) if (found := token(at)) is not None), None)
        last = next((found for at in range(end - 1, start - 1, -1) if (found := token(at)) is not None), None)
        if first is None or last is None:
            return 0, 0
        # A character of several bytes may be several tokens; the lookup names the first of them.
        while last + 1 < len(self.ids) and (chars := self._made.token_to_chars(last + 1)) and chars[0] < end:
            last += 1
        return first, last + 1

    def begins_before(self, token: int, char: int) -> bool:
        chars = self._made.token_to_chars(token)
        return bool(chars and chars[0] < char)

    def ends(self) -> list[int]:
        return list(itertools.accumulate((end for _, end in self._made.offsets), max))


class _Slow:
    """An encoding by a tokenizer without offsets: places are found by encoding the text up to them."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        self._tokenizer, self._text = tokenizer, text
        self.ids = self._encode(text)

    def span(self, start: int, end: int) -> tuple[int, int]:
        before, whole = self._encode(self._text[:start]), self._encode(self._text[:end])
        if not all(np.array_equal(some, self.ids[: len(some)]) for some in (before, whole)):
            raise DataError(
                "The tokenizer does not say where in the text its tokens stand, and splits an answer's first word.",
                do="Use the model's fast tokenizer (a tokenizer.json in its folder).",
            )
        return len(before), len(whole)

    def begins_before(self, token: int, char: int) -> bool:
        return False

    def ends(self) -> list[int]:
        return [len(self._tokenizer.decode(self.ids[: token + 1])) for token in range(len(self.ids))]

    def _encode(self, text: str) -> Int32:
        return np.array(self._tokenizer(text, add_special_tokens=False)["input_ids"], np.int32)
