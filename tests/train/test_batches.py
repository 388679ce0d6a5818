"""Which examples an optimizer step takes, and how they are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.train.test_gradients import Row
from tunebook.train.batches import micro_batches, order_of_epoch, rows_of_step, steps_per_epoch


@given(count=st.integers(1, 60), batch=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_each_epoch_takes_every_example_once(count, batch, seed):
    per_epoch = steps_per_epoch(count, batch)
    for epoch in range(2):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        taken = np.concatenate([rows_of_step(step, count, batch, seed) for step in steps])
        assert sorted(taken) == list(range(count))


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    assert order_of_epoch(50, 1, 0).tolist() == order_of_epoch(50, 1, 0).tolist()
    assert order_of_epoch(50, 1, 0).tolist() != order_of_epoch(50, 1, 1).tolist()
    assert order_of_epoch(50, 1, 0).tolist() != order_of_epoch(50, 2, 0).tolist()
    np.random.seed(5)
    first = order_of_epoch(50, 1, 0).tolist()
    np.random.seed(6)
    assert order_of_epoch(50, 1, 0).tolist() == first


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30), budget=st.integers(1, 120))
def test_micro_batches_keep_the_order_and_the_budget(lengths, budget):
    rows = [Row([7] * length, [True] * length, str(i)) for i, length in enumerate(lengths)]
    groups = list(micro_batches(rows, budget))
    assert [row.id for group in groups for row in group] == [row.id for row in rows]
    assert all(sum(len(row.ids) for row in group) <= budget or len(group) == 1 for group in groups)
