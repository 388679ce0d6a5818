"""MinHash sketches of many texts at once: rows that share most of their word triples have sketches that agree.

The numbers are those of `datasketch.MinHash(num_perm=128, seed=1, scheme="affine32")` over the same hashed triples, as
a test shows. They are computed here for a whole batch in numpy, since one object a row takes a hundred times as long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

SIZE = 128
BANDS, ROWS_A_BAND = 25, 5
_MARK, _END = b"\x01", b" \x01 \x01 "
# ASCII punctuation and control characters part words; so do the marks of other scripts, by the slower way below.
_TO_SPACE = bytes(code if chr(code).isalnum() or code > 127 else 32 for code in range(256))
# One random number for each byte, and an odd one for each place in a word.
_BYTES: UInt32 = np.random.default_rng(1).integers(2**32, size=256, dtype=np.uint32)
_BYTES[ord(" ")] = 0
_PLACES: UInt32 = np.random.default_rng(2).integers(2**31, size=256, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
# Scripts that write no spaces: each character is a word of its own.
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0eff]|[^\W_]+")


def normal(text: str) -> bytes:
    """The words of a text, lower case, without punctuation, one space between or more."""
    if text.isascii():
        return text.lower().encode().translate(_TO_SPACE)
    return " ".join(_WORDS.findall(text.casefold())).encode("utf-8", "surrogatepass")


def shingles(texts: Sequence[str]) -> tuple[UInt32, Int64]:
    """Hashed word triples of all texts, end to end, and where each text's begin.

    A text ends in two marks that are words of their own, so that one of n words (at least one) has n triples.
    """
    pieces = [(words if words.strip() else _MARK) + _END for words in map(normal, texts)]
    hashes, starts = _words(b"".join(pieces))
    ends = np.searchsorted(starts, np.cumsum([len(piece) for piece in pieces]))
    triples = (hashes[:-2] * np.uint32(0x9E3779B1) + hashes[1:-1]) * np.uint32(0x85EBCA77) + hashes[2:]
    # A triple that begins with a mark would reach into the next text.
    inside = np.ones(len(hashes), np.bool_)
    inside[ends - 1] = inside[ends - 2] = False
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) - 2 * np.arange(len(texts))
    return triples[inside[:-2]], begins


def _words(data: bytes) -> tuple[UInt32, Int64]:
    """The hash of every word of `data`, and where it begins: a sum of random numbers, one for each byte and place."""
    byte = np.frombuffer(data, np.uint8)
    inside = byte != ord(" ")
    first = inside.copy()
    first[1:] &= ~inside[:-1]
    starts = np.flatnonzero(first)
    place = np.arange(len(byte)) - starts[np.maximum(np.cumsum(first) - 1, 0)]
    numbers = _BYTES[byte] * _PLACES[place & 255]
    return _mix(np.add.reduceat(numbers, starts, dtype=np.uint32)), starts


def sketches(texts: Sequence[str]) -> UInt32:
    """One row of SIZE numbers for each text."""
    if not texts:
        return np.zeros((0, SIZE), np.uint32)
    hashes, starts = shingles(texts)
    mixed = _mix(hashes)
    factors, offsets = _permutations()
    result = np.empty((len(texts), SIZE), np.uint32)
    for place in range(SIZE):
        result[:, place] = np.minimum.reduceat(mixed * factors[place] + offsets[place], starts)
    return result


def band_keys(sketch: UInt32) -> UInt64:
    """(rows, BANDS) keys; rows that agree in any band are worth comparing. Each key is one number for a band's five."""
    keys = np.zeros((len(sketch), BANDS), np.uint64)
    for step in range(ROWS_A_BAND):
        keys = keys * np.uint64(0x9E3779B97F4A7C15) + sketch[:, step : BANDS * ROWS_A_BAND : ROWS_A_BAND]
        keys ^= keys >> np.uint64(29)
    return keys


def similarity(one: UInt32, other: UInt32) -> npt.NDArray[np.float64]:
    """The share of word triples in common (Jaccard), estimated for each pair of rows, to about 0.04."""
    return np.asarray((one == other).mean(axis=1), np.float64)


def _mix(values: UInt32) -> UInt32:
    """MurmurHash3's finalizer, which datasketch applies before its permutations."""
    values = values ^ (values >> np.uint32(16))
    values = values * np.uint32(0x85EBCA6B)
    values = values ^ (values >> np.uint32(13))
    values = values * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


@cache
def _permutations() -> tuple[UInt32, UInt32]:
    from datasketch import MinHash

    factors, offsets = MinHash(num_perm=SIZE, seed=1, scheme="affine32").permutations
    return factors, offsets
