"""Which micro-batches of an optimizer step this worker computes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunebook.train.batches import Row, micro_batches, trained_tokens
from tunebook.workers.deal import costs_of
from tunebook.workers.group import Workers

Hand = list[tuple[list[Row], bool]]  # micro-batches, and whether each counts
NOTHING = math.inf  # a loss divided by it adds nothing to any gradient


def hands_of(rows: Sequence[Row], budget: int, workers: Workers, *, alone: bool = False) -> Hand:
    """This worker's micro-batches of the step's `rows`, of at most `budget` tokens each; all count but fillers.

    Workers that hold parts of one model go through its layers together, so that all need equally many passes: who has
    fewer repeats one that does not count. `alone`: does the engine take every example by itself?
    """
    if workers.alone:
        return [(group, True) for group in micro_batches(rows, budget)]
    if workers.sharded:
        rows, budget = [row for row in rows if trained_tokens([row])], 1 if alone else budget
    tokens, trained = [len(row.ids) for row in rows], [trained_tokens([row]) for row in rows]
    hands = [[rows[place] for place in hand] for hand in workers.deal(costs_of(tokens, trained).tolist())]
    mine: Hand = [(group, True) for group in micro_batches(hands[workers.rank], budget)]
    if workers.sharded and rows:
        passes = max(len(list(micro_batches(hand, budget))) for hand in hands)
        filler = min(rows, key=lambda row: len(row.ids))
        mine += [([filler], False)] * (passes - len(mine))
    return mine
