"""An optimizer step's examples dealt out so that all workers finish together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# A token costs the layers, a trained one the head and the loss as well: a quarter of the layers' work in models of the
# size that few workers train, less in larger ones. Whole numbers, so that every worker deals alike.
_TOKEN, _TRAINED = 4, 1
_PASSES = 200
_EXCHANGES = 1_000_000  # looked at in one pass; hands that offer more are even enough as they were dealt


def costs_of(tokens: Sequence[int] | np.ndarray, trained: Sequence[int] | np.ndarray) -> np.ndarray:
    """What each example costs, in quarters of a token's pass through the layers: int64 [examples]."""
    return _TOKEN * np.asarray(tokens, dtype=np.int64) + _TRAINED * np.asarray(trained, dtype=np.int64)


def deal(costs: Sequence[int] | np.ndarray, workers: int) -> list[list[int]]:
    """Places of the examples that each worker takes, in rising order: every place once, sums of costs nearly equal.

    The dearest goes first to whoever has least (Graham 1969); then the fullest and the emptiest hand exchange what
    brings them closest, while that helps. A pure function: each worker deals for itself, and all agree.
    """
    cost = np.asarray(costs, dtype=np.int64)
    hands: list[list[int]] = [[] for _ in range(workers)]
    sums = np.zeros(workers, dtype=np.int64)
    for place in np.argsort(-cost, kind="stable"):
        least = int(sums.argmin())
        hands[least].append(int(place))
        sums[least] += cost[place]
    for _ in range(_PASSES):
        full, empty = int(sums.argmax()), int(sums.argmin())
        if not _exchange(hands[full], hands[empty], cost, int(sums[full] - sums[empty])):
            break
        sums[[full, empty]] = cost[hands[full]].sum(), cost[hands[empty]].sum()
    return [sorted(hand) for hand in hands]


def _exchange(full: list[int], empty: list[int], cost: np.ndarray, gap: int) -> bool:
    """Give one example of `full` for one of `empty`, or for nothing, so that the gap shrinks most; else False."""
    if gap < 2 or len(full) * len(empty) > _EXCHANGES:
        return False
    given = cost[full][:, None]
    taken = np.append(cost[empty], 0)[None, :]
    left = np.abs(gap - 2 * (given - taken))
    i, j = np.unravel_index(int(left.argmin()), left.shape)
    if left[i, j] >= gap:
        return False
    moved = full.pop(int(i))
    if j < len(empty):
        full.append(empty.pop(int(j)))
    empty.append(moved)
    return True
