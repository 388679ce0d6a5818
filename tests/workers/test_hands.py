"""Which examples each worker computes: together those of the step, at any number of workers and after any resume."""

from __future__ import annotations

import pytest

from tests.train.test_gradients import rows
from tunebook.train.batches import rows_of_step, steps_per_epoch, trained_tokens
from tunebook.train.hands import hands_of
from tunebook.workers.group import Workers


def ids_of_steps(world, sharded=False, alone=False):
    """By optimizer step of two epochs: ids of the examples that count on any worker, sorted."""
    everything, batch, found = rows(23), 5, []
    for step in range(2 * steps_per_epoch(len(everything), batch)):
        mine = [everything[int(i)] for i in rows_of_step(step, len(everything), batch, seed=3)]
        hands = [hands_of(mine, 40, Workers(rank, world, sharded), alone=alone) for rank in range(world)]
        found.append(sorted(row.id for hand in hands for group, counts in hand if counts for row in group))
        if sharded:
            assert len({len(hand) for hand in hands}) == 1, "all go through the layers equally often"
    return found


@pytest.mark.parametrize("world", [2, 3, 7])
def test_a_step_has_the_same_examples_at_any_number_of_workers(world):
    assert ids_of_steps(world) == ids_of_steps(1)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("world", [2, 3])
def test_workers_that_share_one_model_leave_out_only_what_trains_nothing(world, alone):
    silent = {row.id for row in rows(23) if not trained_tokens([row])}
    expected = [[name for name in step if name not in silent] for step in ids_of_steps(1)]
    assert ids_of_steps(world, sharded=True, alone=alone) == expected
