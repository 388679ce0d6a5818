"""Rows of examples into micro-batches: end to end, no padding, what is predicted marked by position.

    ids        [a0 a1 a2 a3 | b0 b1 b2]        lengths (4, 3)
    trained    [ .  .  x  x |  .  x  x]        a2 a3 b1 b2 are trained
    where      [    1  2        4  5  ]        the positions whose output predicts them
    targets    [   a2 a3       b1 b2  ]

The order of the examples is a function of (seed, epoch) alone, so a run that resumes at any example goes on exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Row(Protocol):
    """One example: token ids and which of them are trained, both of its length."""

    @property
    def ids(self) -> Sequence[int] | np.ndarray: ...

    @property
    def trained(self) -> Sequence[bool] | np.ndarray: ...


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Examples end to end. ids, positions: int64 [tokens]; where, targets: int64 [trained tokens]."""

    ids: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    where: Tensor
    targets: Tensor

    @property
    def tokens(self) -> int:
        return len(self.ids)


def join(rows: Sequence[Row], device: torch.device | str = "cpu") -> MicroBatch:
    """Lay `rows` end to end. An example's first token is never trained: nothing predicts it."""
    ids = np.concatenate([np.asarray(row.ids, dtype=np.int64) for row in rows])
    trained = np.concatenate([np.asarray(row.trained, dtype=bool) for row in rows])
    lengths = tuple(len(row.ids) for row in rows)
    starts = np.cumsum((0, *lengths[:-1]))
    trained[starts] = False
    (predicted,) = np.nonzero(trained)
    return MicroBatch(
        torch.from_numpy(ids).to(device),
        torch.from_numpy(np.arange(len(ids)) - np.repeat(starts, lengths)).to(device),
        lengths,
        torch.from_numpy(predicted - 1).to(device),
        torch.from_numpy(ids[predicted]).to(device),
    )


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
