"""Paired comparisons of base and tuned: the change, an interval around it, and how likely it is by chance alone.

The interval is a bootstrap over pairs, or over groups of them; its ends are moved outward for small n, as Hesterberg
does ("What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, section 3.2). `p` comes from
swapping base and tuned at random, pair by pair, which is exact where the two are exchangeable (Fisher's randomization
test). All draws come from a seed, so that the same numbers give the same verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
ROUNDS = 10_000
FEWEST = 8  # pairs below which an interval of a bootstrap is narrower than it says
_AT_ONCE = 2_000_000  # random numbers drawn at a time, for memory


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean change over `n` pairs or groups of pairs, its interval at `level`, and the two-sided `p` of no change.

    Below FEWEST pairs the ends are not to be shown.
    """

    mean: float
    low: float
    high: float
    n: int
    p: float
    level: float

    def to_json(self) -> dict[str, float]:
        """As stored in reports."""
        return asdict(self)

    @property
    def up(self) -> bool:
        """Did it surely rise, by interval and by `p`?"""
        return self.low > 0 and self.p <= 1 - self.level + 1e-12

    @property
    def down(self) -> bool:
        """Did it surely fall, by interval and by `p`?"""
        return self.high < 0 and self.p <= 1 - self.level + 1e-12

    def times(self, factor: float) -> Interval:
        """In another unit, or with -1 the other way round."""
        low, high = sorted((self.low * factor, self.high * factor))
        return replace(self, mean=self.mean * factor, low=low, high=high)

    def words(self, digits: int = 3, unit: str = "") -> str:
        """Such as "change -0.532, 99 % interval -0.610 to -0.450"; for few pairs without an interval."""
        mean, low, high = (f"{value:+.{digits}f}" for value in (self.mean, self.low, self.high))
        unit = unit and " " + unit
        if self.n < FEWEST:
            return f"change {mean}{unit}, too few for an interval"
        return f"change {mean}, {100 * self.level:.0f} % interval {low} to {high}{unit}"


def paired_difference(
    base: Sequence[float],
    tuned: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    level: float = 0.99,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> Interval:
    """Mean of tuned - base over pairs. With `weights` (tokens, say) it is sum(w x change) / sum(w).

    Pairs of one group (an empty name is a group of its own) are drawn and swapped together, and `n` counts groups:
    ten turns of one conversation say little more than one. ValueError when there is no pair or the lengths differ.
    """
    if not base or len(base) != len(tuned):
        raise ValueError(f"pairs are needed: {len(base)} values of base, {len(tuned)} of tuned")
    change = np.asarray(tuned, float) - np.asarray(base, float)
    weight = np.ones_like(change) if weights is None else np.asarray(weights, float)
    total = change * weight
    if groups is not None:
        places: dict[str | int, int] = {}
        owner = [places.setdefault(name or at, len(places)) for at, name in enumerate(groups)]
        total, weight = np.bincount(owner, total), np.bincount(owner, weight)
    n = len(total)
    random = np.random.default_rng(seed)

    def resampled(rounds: int) -> Array:
        rows = random.integers(0, n, (rounds, n))
        return np.asarray(total[rows].sum(1) / weight[rows].sum(1))

    def swapped(rounds: int) -> Array:
        return np.asarray((random.integers(0, 2, (rounds, n)) * 2 - 1) @ total)

    tail = _tail(level, n)
    low, high = np.quantile(_in_parts(resampled, n), [tail, 1 - tail])
    far = np.abs(_in_parts(swapped, n)) >= abs(total.sum()) * (1 - 1e-12)
    p = (1 + int(far.sum())) / (1 + ROUNDS)
    return Interval(float(total.sum() / weight.sum()), float(low), float(high), n, p, level)


def paired_share(base: Sequence[bool], tuned: Sequence[bool], *, level: float = 0.95) -> Interval:
    """Change of a share (of right answers, say) over paired yes-or-no values.

    Adjusted Wald interval of Bonett and Price (Statistical Methods in Medical Research 21, 2012), which stays
    honest when few or no pairs differ; `p` is McNemar's exact one. ValueError as in `paired_difference`.
    """
    if not base or len(base) != len(tuned):
        raise ValueError(f"pairs are needed: {len(base)} values of base, {len(tuned)} of tuned")
    n = len(base)
    gained = sum(after and not before for before, after in zip(base, tuned, strict=True))
    lost = sum(before and not after for before, after in zip(base, tuned, strict=True))
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    p = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    middle = up - down
    return Interval((gained - lost) / n, max(-1.0, middle - half), min(1.0, middle + half), n, p, level)


def share_interval(values: Sequence[bool], *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of yes-or-no values, which has width even where all are alike."""
    found = stats.binomtest(sum(values), len(values)).proportion_ci(level, "wilson")
    return float(found.low), float(found.high)


def _tail(level: float, n: int) -> float:
    """Share to cut off at each end, widened for the narrowness of a bootstrap of few values."""
    cut = (1 - level) / 2
    if n < 2:
        return cut
    return float(stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf(cut, n - 1)))


def _in_parts(draw: Callable[[int], Array], n: int) -> Array:
    """ROUNDS draws of `n` numbers each, a bounded number at once."""
    step = max(1, _AT_ONCE // n)
    return np.concatenate([draw(min(step, ROUNDS - done)) for done in range(0, ROUNDS, step)])
