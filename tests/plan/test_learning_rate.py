"""The curve, against numbers worked out by hand and against transformers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebook.plan.learning_rate import multiplier, warmup_steps
from tunebook.plan.schema import Warmup


def curve(total: int, **warmup: object) -> list[float]:
    settings = Warmup.model_validate(warmup)
    return [multiplier(step, total, settings) for step in range(total + 1)]


def test_linear_rises_in_equal_parts_then_decays() -> None:
    half = (1 + math.cos(math.pi / 2)) / 2
    assert curve(8, strategy="linear", share=0.5) == pytest.approx(
        [0, 0.25, 0.5, 0.75, 1, (2 + math.sqrt(2)) / 4, half, (2 - math.sqrt(2)) / 4, 0]
    )


def test_none_starts_at_the_full_rate() -> None:
    assert curve(4, strategy="none", share=0.5) == pytest.approx([1, 0.8535533905932737, 0.5, 0.14644660940672627, 0])


def test_cosine_rises_slowly_at_both_ends() -> None:
    assert curve(8, strategy="cosine", share=0.5)[:5] == pytest.approx(
        [0, 0.14644660940672627, 0.5, 0.8535533905932737, 1]
    )


def test_custom_joins_its_points_then_decays_from_the_last() -> None:
    got = curve(10, strategy="custom", points=[(0.2, 0.5), (0.4, 1.0), (0.6, 0.8)])
    assert got[:7] == pytest.approx([0.5, 0.5, 0.5, 0.75, 1.0, 0.9, 0.8])
    assert got[8] == pytest.approx(0.8 * 0.5)
    assert got[10] == pytest.approx(0)


def test_custom_points_that_reach_the_end_say_all_there_is() -> None:
    assert curve(4, strategy="custom", points=[(0, 0), (1.0, 1.0)]) == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


@pytest.mark.slow  # importing torch and transformers
@pytest.mark.parametrize(("total", "share"), [(100, 0.03), (100, 0.07), (7, 0.5), (1000, 0.1), (3, 0.9), (1, 0.03)])
def test_linear_equals_transformers(total: int, share: float) -> None:
    import torch
    from transformers import get_cosine_schedule_with_warmup

    settings = Warmup(strategy="linear", share=share)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = get_cosine_schedule_with_warmup(optimizer, warmup_steps(total, settings), total)
    for step in range(total):
        assert multiplier(step, total, settings) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("total", "share", "steps"), [(100, 0.03, 3), (100, 0.07, 7), (10, 0.03, 1), (10, 0, 0)])
def test_a_share_of_the_steps_is_rounded_up(total: int, share: float, steps: int) -> None:
    assert warmup_steps(total, Warmup(share=share)) == steps


@given(st.integers(0, 300), st.integers(1, 300), st.sampled_from(["linear", "cosine", "none"]), st.floats(0, 0.99))
def test_it_stays_between_nothing_and_the_full_rate(step: int, total: int, strategy: str, share: float) -> None:
    assert 0 <= multiplier(step, total, Warmup.model_validate({"strategy": strategy, "share": share})) <= 1


@pytest.mark.parametrize(("step", "total"), [(-1, 5), (0, 0)])
def test_a_step_outside_any_run_is_refused(step: int, total: int) -> None:
    with pytest.raises(ValueError, match="counts from 0"):
        multiplier(step, total, Warmup())
