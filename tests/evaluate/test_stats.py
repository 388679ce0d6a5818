"""Intervals cover the truth as often as they say, and chance passes for a change as seldom as they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from tunebook.evaluate.stats import paired_difference, paired_share, share_interval


def test_mean_change_and_interval_are_near_the_students_t_for_many_normal_values():
    random = np.random.default_rng(1)
    base = random.normal(0, 1, 400)
    tuned = base + random.normal(0.3, 0.5, 400)
    found = paired_difference(list(base), list(tuned), level=0.95)
    low, high = stats.t.interval(0.95, 399, np.mean(tuned - base), stats.sem(tuned - base))
    assert found.mean == pytest.approx(np.mean(tuned - base))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.004)
    assert found.n == 400


def test_p_is_the_share_of_all_swaps_that_reach_as_far():
    change = [0.5, -0.2, 0.9, 0.4, 1.1, 0.3]
    sums = [sum(s * c for s, c in zip(signs, change, strict=True)) for signs in itertools.product([1, -1], repeat=6)]
    exact = np.mean([abs(value) >= sum(change) - 1e-9 for value in sums])
    assert paired_difference([0.0] * 6, change).p == pytest.approx(exact, abs=0.01)


def test_no_change_at_all_is_certain_and_never_significant():
    found = paired_difference([3.0] * 50, [3.0] * 50)
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_weights_make_it_the_change_of_the_total_per_token():
    found = paired_difference([2.0, 3.0], [1.0, 4.0], weights=[30, 10])
    assert found.mean == pytest.approx((-30 + 10) / 40)


def test_the_same_numbers_give_the_same_interval():
    values = [[1.0, 2, 3, 5], [2.0, 1, 4, 9]]
    assert paired_difference(*values) == paired_difference(*values)


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 20, 60])
def test_a_99_percent_interval_misses_the_truth_in_about_1_percent(n):
    random = np.random.default_rng(n)
    missed = 0
    for trial in range(400):
        change = random.normal(1, 1, n) + random.exponential(0.5, n) - 0.5
        found = paired_difference([0.0] * n, list(change), seed=trial)
        missed += not found.low <= 1 <= found.high
    assert missed <= stats.binom.ppf(0.999, 400, 0.02)


@pytest.mark.slow
def test_pairs_swapped_at_random_are_significant_at_1_percent_in_about_1_percent():
    random = np.random.default_rng(5)
    gains = random.exponential(10, 20)  # a real gain, were it not for the swaps
    hits = 0
    for trial in range(400):
        change = gains * random.choice([-1, 1], 20)
        hits += paired_difference([0.0] * 20, list(change), seed=trial).p <= 0.01
    assert hits <= stats.binom.ppf(0.999, 400, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "same"), [(40, 0.9), (100, 0.97), (200, 0.8)])
def test_the_interval_of_a_share_covers_the_truth_in_at_least_93_percent(n, same):
    random = np.random.default_rng(n)
    covered = 0
    up, down = (1 - same) * 0.7, (1 - same) * 0.3
    for _ in range(2000):
        kind = random.choice(3, n, p=[same, up, down])
        found = paired_share(list(kind == 2), list(kind == 1), level=0.95)
        covered += found.low <= up - down <= found.high
    assert covered / 2000 > 0.93


def test_an_interval_of_a_share_has_width_even_when_no_answer_changed():
    few, many = paired_share([True] * 10, [True] * 10), paired_share([True] * 500, [True] * 500)
    assert few.low < -0.1 < many.low < 0 < many.high < 0.01
    assert few.p == 1


def test_p_of_a_share_is_mcnemars():
    base, tuned = [True] * 9 + [False] * 11, [False] * 8 + [True] * 2 + [False] * 10
    assert paired_share(base, tuned).p == pytest.approx(stats.binomtest(1, 9).pvalue)


def test_turns_of_one_conversation_are_drawn_and_swapped_together_and_count_as_one():
    change = [1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.3, 0.7, 1.0, 1.1]
    alone = paired_difference([0.0] * 30, change * 3)
    together = paired_difference([0.0] * 30, change * 3, groups=["a"] * 10 + ["b"] * 10 + ["c"] * 10)
    assert together.mean == pytest.approx(alone.mean)
    assert (alone.n, together.n) == (30, 3)
    assert alone.up
    assert not together.up
    assert together.p == pytest.approx(2 / 2**3, abs=0.02)


def test_rows_without_a_group_stand_alone():
    values = [1.0, 2.0, 3.0, 5.0]
    assert paired_difference([0.0] * 4, values, groups=[""] * 4) == paired_difference([0.0] * 4, values)


def test_the_interval_of_one_share_has_width_where_all_are_alike_and_stays_a_share():
    low, high = share_interval([True] * 3)
    assert 0.3 < low < 0.6
    assert high == pytest.approx(1)
    low, high = share_interval([True] * 50 + [False] * 50)
    assert low < 0.5 < high


def test_of_few_pairs_no_interval_is_told():
    assert "interval" in paired_difference([0.0] * 8, [1.0] * 8).words()
    assert paired_difference([0.0] * 3, [1.0] * 3).words(1, "points") == "change +1.0 points, too few for an interval"


@pytest.mark.parametrize("compare", [paired_difference, paired_share])
def test_values_that_are_not_pairs_are_refused(compare):
    with pytest.raises(ValueError, match="pairs are needed"):
        compare([1, 2], [1])
    with pytest.raises(ValueError, match="pairs are needed"):
        compare([], [])
