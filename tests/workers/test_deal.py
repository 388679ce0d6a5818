"""Dealing an optimizer step: every example once, and all workers finish together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tunebook.workers.deal import costs_of, deal


def sums(costs, hands):
    return [sum(costs[place] for place in hand) for hand in hands]


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 20])
def test_every_example_goes_to_exactly_one_worker_in_its_old_order(workers):
    costs = np.random.default_rng(workers).integers(1, 500, 16).tolist()
    hands = deal(costs, workers)
    assert len(hands) == workers
    assert sorted(place for hand in hands for place in hand) == list(range(16))
    assert all(hand == sorted(hand) for hand in hands)


def test_the_fullest_hand_is_close_to_the_best_there_is():
    rng = np.random.default_rng(0)
    for _ in range(20):
        costs = rng.integers(1, 300, 10).tolist()
        best = min(
            max(sum(c for c, side in zip(costs, sides, strict=True) if side == hand) for hand in (0, 1))
            for sides in itertools.product((0, 1), repeat=10)
        )
        assert max(sums(costs, deal(costs, 2))) <= 1.02 * best


def test_examples_like_alpacas_are_even_to_three_percent_where_halves_in_order_are_not():
    rng = np.random.default_rng(0)
    ours, halves = [], []
    for _ in range(200):
        tokens = np.minimum(rng.lognormal(4.6, 0.7, 16), 1024).astype(int)
        costs = costs_of(tokens, tokens // 2)
        mine = sums(tokens, deal(costs, 2))
        ours.append(max(mine) / np.mean(mine) - 1)
        cut = [tokens[:8].sum(), tokens[8:].sum()]
        halves.append(max(cut) / np.mean(cut) - 1)
    assert np.mean(ours) < 0.03 < np.mean(halves)


def test_trained_tokens_count_for_the_head():
    """Four examples of one length: the two whose every token is trained go to different workers."""
    hands = deal(costs_of([100, 100, 100, 100], [100, 100, 10, 10]), 2)
    assert sorted(sum(place < 2 for place in hand) for hand in hands) == [1, 1]


def test_fewer_examples_than_workers_leave_hands_empty():
    assert sorted(map(len, deal([5, 7], 4))) == [0, 0, 1, 1]


def test_a_large_held_out_set_is_dealt_in_memory_that_grows_with_it():
    import tracemalloc

    costs = np.random.default_rng(0).integers(50, 500, 20_000)
    tracemalloc.start()
    hands = deal(costs, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one, two = sums(costs, hands)
    assert abs(one - two) < 500
    assert peak < 50e6
