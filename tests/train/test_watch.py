"""Spikes are noticed, and ordinary noise is not."""

from __future__ import annotations

import random

import pytest

from tunebook.train.watch import ENOUGH, WINDOW, unusual


def codes(losses, norms):
    """The codes of each step."""
    recent = {}
    return [
        [code for code, _ in unusual(recent, {"training_loss": loss, "gradient_norm": norm})]
        for loss, norm in zip(losses, norms, strict=True)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_noise_around_a_falling_loss_is_no_spike(seed):
    draw = random.Random(seed)
    losses = [3 - step / 1000 + draw.gauss(0, 0.15) for step in range(2000)]
    norms = [draw.lognormvariate(0, 0.4) for _ in range(2000)]
    assert not any(codes(losses, norms))


def test_a_loss_that_jumps_is_told_at_its_step_and_once():
    draw = random.Random(1)
    losses = [2 + draw.gauss(0, 0.1) for _ in range(60)]
    losses[40] = 6.0
    found = codes(losses, [1.0] * 60)
    assert [step for step, told in enumerate(found) if told] == [40]
    assert found[40] == ["loss_spike"]


def test_a_gradient_that_explodes_is_told():
    draw = random.Random(2)
    norms = [draw.lognormvariate(0, 0.3) for _ in range(60)]
    norms[50] = 80.0
    found = codes([2.0] * 60, norms)
    assert [step for step, told in enumerate(found) if told] == [50]
    assert found[50] == ["exploding_gradients"]


def test_nothing_is_called_unusual_before_enough_was_seen():
    assert not any(codes([1.0] * (ENOUGH - 1) + [50.0], [1.0] * (ENOUGH - 1) + [1e6]))


def test_only_the_last_steps_are_remembered():
    recent = {}
    for step in range(3 * WINDOW):
        list(unusual(recent, {"training_loss": float(step), "gradient_norm": 1.0}))
    assert recent["training_loss"] == [float(step) for step in range(2 * WINDOW, 3 * WINDOW)]
