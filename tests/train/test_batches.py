"""Which examples an optimizer step takes, and how they are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.train.test_gradients import Row
from tunebook.train.batches import common_prefix, join, micro_batches, order_of_epoch, rows_of_step, steps_per_epoch


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


def test_a_shared_beginning_is_laid_down_once_and_predicts_for_all():
    alike = [Row([*range(10, 20), *own], [False] * 9 + [True] * (1 + len(own))) for own in ([30, 31], [40], [50, 51])]
    batch = join(alike, share=True)
    assert batch.ids.tolist() == [*range(10, 20), 30, 31, 40, 50, 51]
    assert batch.positions.tolist() == [*range(10), 10, 11, 10, 10, 11]
    assert (batch.prefix, batch.lengths, batch.trained) == (10, (2, 1, 2), (3, 2, 3))
    assert batch.where.tolist() == [8, 9, 10, 8, 9, 8, 9, 13]
    assert batch.targets.tolist() == [19, 30, 31, 19, 40, 19, 50, 51]
    apart = join(alike)
    assert (apart.prefix, apart.tokens, apart.targets.tolist()) == (0, 35, batch.targets.tolist())


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=30), min_size=1, max_size=5))
def test_the_common_prefix_is_what_all_begin_with_and_leaves_each_a_token(rows):
    found = common_prefix([Row(row, [True] * len(row)) for row in rows])
    alike = 0
    while all(len(row) > alike + 1 and row[alike] == rows[0][alike] for row in rows):
        alike += 1
    assert found == (alike if len(rows) > 1 and alike >= 8 else 0)
