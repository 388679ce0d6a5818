"""Token ids of many texts, piece by piece: what was encoded before is looked up.

A byte-level tokenizer parts a text by a pattern and encodes each part for itself, and the patterns in use all part
before a space that a letter follows. So texts are cut there, and at special tokens; the library encodes each new piece
once. Most words come again, which makes this several times as quick as handing it whole texts. Whether a tokenizer can
be used so is not concluded but tried, on made-up texts and on the first of the user's own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]

_CUT = re.compile(r" (?=[A-Za-z])")
_MARK = "\0"
_MOST_CHARACTERS = 2_000_000
_TRIED_TEXTS, _TRIED_PARTS, _TRIED_OF_THE_USER = 400, 14, 32
_PARTS = (
    *("a", "word", "Is", "NASA", "camelCase", "don't", "'s", "'LL", "1", "42", "12345", "3.14", "_", "-", "...", "!?"),
    *("(", ")", "{", "<", "|", "/", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n "),
    *("\u00e9", "e\u0301", "\u00df", "\u7684", "\u00a0", "\u3000", "\u200b", "\U0001f98a", "\u0661", "\u00b2"),
)


class Pieces:
    """A byte-level tokenizer of the Rust library that encodes a text by its pieces."""

    def __init__(self, rust: Any, special: Sequence[str]) -> None:
        """`special` are tokens that part a text wherever they stand."""
        self._rust = rust
        self._special = re.compile("(" + "|".join(map(re.escape, special)) + ")" if special else "(?!)")
        # A piece -> its ids as bytes. The space in front of a piece is left out; one without any has a mark there.
        self._known: dict[str, bytes] = {}
        self._characters = 0

    def __call__(self, texts: Sequence[str]) -> list[Int32]:
        """The ids of each text, without special tokens that its encoding would add."""
        cut = [self._cut(text) for text in texts]
        self._learn(set[str]().union(*cut))
        known = self._known.__getitem__
        return [np.frombuffer(b"".join(map(known, pieces)), np.int32) for pieces in cut]

    def _cut(self, text: str) -> list[str]:
        pieces = []
        for part in self._special.split(text):
            first, *others = _CUT.split(part)
            pieces.append(_MARK + first)
            pieces += others
        return pieces

    def _learn(self, pieces: set[str]) -> None:
        """Have the library encode what is new. Memory is bounded: when too much is known, all is forgotten."""
        if self._characters > _MOST_CHARACTERS:
            self._known, self._characters = {}, 0
        new = list(pieces - self._known.keys())
        written = [piece.removeprefix(_MARK) if piece.startswith(_MARK) else f" {piece}" for piece in new]
        for piece, made in zip(new, self._rust.encode_batch_fast(written, add_special_tokens=False), strict=True):
            self._known[piece] = np.array(made.ids, np.int32).tobytes()
        self._characters += sum(map(len, new))


def pieces_of(rust: Any, special: Sequence[str], texts: Sequence[str]) -> Pieces | None:
    """Pieces for the tokenizer, or None where they are not what it makes of made-up texts and the first of `texts`."""
    added = list(rust.get_added_tokens_decoder().values())
    if any(token.lstrip or token.rstrip or token.single_word or " " in token.content[1:] for token in added):
        return None
    pick = random.Random(1)
    parts = [*_PARTS, *(token.content for token in added[:20])]
    tried = ["".join(pick.choices(parts, k=_TRIED_PARTS)) for _ in range(_TRIED_TEXTS)] + [*texts[:_TRIED_OF_THE_USER]]
    pieces = Pieces(rust, special)
    whole = rust.encode_batch_fast(tried, add_special_tokens=False)
    equal = all(ids.tolist() == made.ids for ids, made in zip(pieces(tried), whole, strict=True))
    return pieces if equal else None
