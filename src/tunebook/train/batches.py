"""Rows of examples into micro-batches: end to end, no padding, what is predicted marked by position.

    ids        [a0 a1 a2 a3 | b0 b1 b2]        lengths (4, 3)
    trained    [ .  .  x  x |  .  x  x]        a2 a3 b1 b2 are trained
    where      [    1  2        4  5  ]        the positions whose output predicts them
    targets    [   a2 a3       b1 b2  ]

Examples that begin alike can share their beginning, which then goes through the model once:

    ids        [p0 p1 | a2 a3 | b2]            prefix 2, lengths (2, 1): of what follows it
    where      [    1    2  1  ]               p1 predicts both a2 and b2

The order of the examples is a function of (seed, epoch) alone, so a run that resumes at any example goes on exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

SHORTEST_PREFIX = 8  # the words of a chat template before the first turn are not worth an attention of their own


class Row(Protocol):
    """One example: token ids and which of them are trained, both of its length."""

    @property
    def ids(self) -> Sequence[int] | np.ndarray: ...

    @property
    def trained(self) -> Sequence[bool] | np.ndarray: ...


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Examples end to end, behind the `prefix` tokens that all of them begin with.

    ids, positions: int64 [prefix + sum of lengths]; where, targets: int64 [trained tokens], in the examples' order, of
    which example i has `trained[i]`.
    """

    ids: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    where: Tensor
    targets: Tensor
    trained: tuple[int, ...]
    prefix: int = 0

    @property
    def tokens(self) -> int:
        """Tokens that go through the model."""
        return len(self.ids)


def join(rows: Sequence[Row], device: torch.device | str = "cpu", *, share: bool = False) -> MicroBatch:
    """Lay `rows` end to end; with `share` a beginning common to all of them is laid down once.

    An example's first token is never trained: nothing predicts it.
    """
    prefix = common_prefix(rows) if share else 0
    ids = [np.asarray(row.ids, dtype=np.int64) for row in rows]
    lengths = tuple(len(each) - prefix for each in ids)
    starts = np.cumsum((prefix, *lengths[:-1]))
    targets, where, counts = [], [], []
    for row, each, start in zip(rows, ids, starts, strict=True):
        predictors = np.flatnonzero(np.asarray(row.trained, dtype=bool)[1:])
        targets.append(each[predictors + 1])
        where.append(np.where(predictors < prefix, predictors, predictors - prefix + start))
        counts.append(len(predictors))
    positions = [np.arange(prefix), *(np.arange(prefix, len(each)) for each in ids)]
    return MicroBatch(
        _tensor([ids[0][:prefix], *(each[prefix:] for each in ids)], device),
        _tensor(positions, device),
        lengths,
        _tensor(where, device),
        _tensor(targets, device),
        tuple(counts),
        prefix,
    )


def common_prefix(rows: Sequence[Row]) -> int:
    """Tokens that all `rows` begin with, each keeping one of its own; 0 where that is too little to be worth it."""
    if len(rows) < 2:
        return 0
    first = np.asarray(rows[0].ids)
    length = min(len(row.ids) for row in rows) - 1
    for row in rows[1:]:
        (parted,) = np.nonzero(first[:length] != np.asarray(row.ids)[:length])
        length = int(parted[0]) if len(parted) else length
    return length if length >= SHORTEST_PREFIX else 0


def _tensor(parts: Sequence[np.ndarray], device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.concatenate(parts)).to(device)


def micro_batches(rows: Sequence[Row], budget: int) -> Iterator[list[Row]]:
    """`rows` in order, in groups of at most `budget` tokens; a longer example goes alone."""
    group: list[Row] = []
    tokens = 0
    for row in rows:
        if group and tokens + len(row.ids) > budget:
            yield group
            group, tokens = [], 0
        group.append(row)
        tokens += len(row.ids)
    if group:
        yield group


def trained_tokens(rows: Sequence[Row]) -> int:
    """Trained tokens of `rows`, the first of each example left out, as `join` does."""
    return sum(int(np.count_nonzero(np.asarray(row.trained)[1:])) for row in rows)


@lru_cache(maxsize=2)  # a million examples take 10 ms to order, and each step asks
def order_of_epoch(count: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of `count` examples in epoch `epoch` (from 0), a pure function of its arguments."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Optimizer steps in one pass over `count` examples; the last may be smaller."""
    return -(-count // batch_size)


def rows_of_step(step: int, count: int, batch_size: int, seed: int) -> np.ndarray:
    """Indices of the examples that optimizer step `step` (from 0) trains on."""
    epoch, place = divmod(step, steps_per_epoch(count, batch_size))
    return order_of_epoch(count, seed, epoch)[place * batch_size : (place + 1) * batch_size]
