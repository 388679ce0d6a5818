"""A run that was cut anywhere and resumed equals one that never was, to the bit; and the comparison can fail.

A few plans and cuts of the matrix are met here, all of them by `make faults`.
"""

from __future__ import annotations

import random

import pytest

from tests.faults.matrix import PLANS, Cell, cells, plans, straight, take


@pytest.mark.slow
@pytest.mark.parametrize("plan", [3, 16])
def test_a_cut_and_resumed_run_equals_a_straight_one(farm, plan):
    settings = plans(PLANS)[plan]
    run = straight(farm, plan, settings)
    every = list(cells(run, plan, settings))
    picked = random.Random(plan).sample(every, 3)
    assert {str(cell): take(farm, run, cell) for cell in picked} == {str(cell): [] for cell in picked}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("control", "must_differ"),
    [("forget_optimizer", "optimizer.safetensors"), ("forget_seed", "weights"), ("shift_rows", "examples of step")],
)
def test_a_resume_that_forgets_something_is_found_out(farm, finished, control, must_differ):
    cell = Cell(0, {}, "metrics", {"forget_optimizer": 5, "forget_seed": 7, "shift_rows": 8}[control])
    assert any(must_differ in difference for difference in take(farm, finished, cell, [(control,)]))
