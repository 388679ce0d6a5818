"""The learning rate over a run, as a share of the plan's `training.learning_rate`: a rise, then cosine decay to 0.

                        ___
    linear   /        .'   `.          cosine  a half-cosine in place of the straight line
            /        /       `.        none    no rise: decay from the first step
           /   ... /           `._     custom  straight lines through the plan's points, then decay

With w warmup steps of `total`, step s (counted from 0) is taken at

    linear   s / w                        while s < w
    cosine   (1 - cos(pi s / w)) / 2      while s < w
    after    (1 + cos(pi (s - w) / (total - w))) / 2

which for linear is what transformers' `get_cosine_schedule_with_warmup` gives: the very first step has rate 0. Custom
points are (share of training, multiplier): the first one's multiplier holds before it, straight lines join them, and
after the last one (share p, multiplier m) comes m (1 + cos(pi (s/total - p) / (1 - p))) / 2. Points that reach share
1.0 say all there is; nothing decays after them.
"""

from __future__ import annotations

import math

from tunebook.plan.schema import Warmup


def warmup_steps(total: int, warmup: Warmup) -> int:
    """How many optimizer steps the rise takes: the plan's share of `total`, rounded up."""
    if warmup.strategy in ("none", "custom"):
        return 0
    return math.ceil(total * warmup.share - 1e-9)  # 0.07 * 100 is a hair above 7 in floating point


def multiplier(step: int, total: int, warmup: Warmup) -> float:
    """The factor on the learning rate at optimizer step `step` (from 0) of `total`; a pure function, 0 from `total` on.

    ValueError when `step` is below 0 or `total` below 1.
    """
    if step < 0 or total < 1:
        raise ValueError(f"step {step} of {total}: a step counts from 0, a run has at least one")
    if warmup.strategy == "custom":
        return _custom(min(step / total, 1.0), warmup.points)
    rise = warmup_steps(total, warmup)
    if step < rise:
        share = step / rise
        return share if warmup.strategy == "linear" else (1 - math.cos(math.pi * share)) / 2
    return _decay((step - rise) / max(1, total - rise))


def _decay(share: float) -> float:
    return (1 + math.cos(math.pi * min(share, 1.0))) / 2


def _custom(at: float, points: tuple[tuple[float, float], ...]) -> float:
    if at <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in zip(points, points[1:], strict=False):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left)
    last, height = points[-1]
    return height if last >= 1 else height * _decay((at - last) / (1 - last))
