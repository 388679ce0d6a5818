"""Which examples train and which are held out: decided by content, so that adding rows moves no other row.

Every group of examples (rows of one conversation, of one first question, duplicates and near-duplicates) draws a number
from the hash of the seed and its own name, and is held out when that is below the share. The order of the file and the
other rows play no part. Three exceptions keep a split usable: when no group drew low enough, the lowest is held out;
when all did, the highest trains; and a group that holds more than half of the examples always trains.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tunebook.data.examples import Examples, Int64
from tunebook.errors import DataError
from tunebook.plan.schema import DataPlan


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Indices into the examples, rising. With a validation file of its own, `validation_indices` count in that file.

    A training example that a mix of data sets weighs stands in `train_indices` as often as it is trained.
    `left_out` are training examples that stand in the validation file too. `fingerprint` names the split.
    """

    train_indices: Int64
    validation_indices: Int64
    fingerprint: str
    left_out: Int64


def split(examples: Examples, data: DataPlan, seed: int, validation_examples: Examples | None = None) -> Split:
    """Split `examples` by `data.validation_share`, or keep those apart that a validation file of its own holds too.

    Near-copies of its rows are left out by the gate before. A group says nothing across files: each file counts its
    conversations from 1, and many begin with the same greeting. Raises DataError when nothing is left to train on.
    """
    if validation_examples is not None:
        theirs = set(validation_examples.row_ids)
        held = np.array([row_id in theirs for row_id in examples.row_ids], np.bool_)
        validation = np.arange(len(validation_examples), dtype=np.int64)
        left_out = np.flatnonzero(held)
        both = [examples.fingerprint, validation_examples.fingerprint]
    else:
        held = _held_out(examples.groups, data.validation_share, seed)
        validation, left_out = np.flatnonzero(held), np.zeros(0, np.int64)
        both = [examples.fingerprint]
    train = np.flatnonzero(~held)
    train = np.repeat(train, examples.copies[train])
    if not len(train):
        raise DataError(
            "Every example stands in the validation file too; none is left to train on.", do="Give another."
        )
    digest = hashlib.sha256("".join(both).encode() + train.tobytes() + validation.tobytes())
    return Split(train, validation, digest.hexdigest(), left_out)


def _held_out(groups: np.ndarray[tuple[int], np.dtype[np.uint64]], share: float, seed: int) -> np.ndarray:
    """A truth value for each example: is its group held out?"""
    names, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if share == 0 or len(names) < 2:
        return np.zeros(len(groups), np.bool_)
    drawn = np.array([_draw(seed, int(name)) for name in names])
    low = drawn < share
    small = sizes * 2 <= len(groups)
    low &= small
    if not low.any():
        low[np.argmin(np.where(small, drawn, 2.0))] = True
    if low.all():
        low[np.argmax(drawn)] = False
    return low[place]


def _draw(seed: int, name: int) -> float:
    """A number from 0 up to 1 that only the seed and the group's name decide."""
    digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
