"""Loss on held-out examples: nats summed over trained tokens, divided by their number, whatever the batches were."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebook.train.batches import micro_batches
from tunebook.train.forward import Engine


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out loss in nats per trained token, and each example's share of it: (id, nats, trained tokens).

    `groups` names what each example belongs to, where that is known.
    """

    loss: float
    tokens: int
    per_example: tuple[tuple[str, float, int], ...]
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, per_example: Sequence[tuple[str, float, int]]) -> HeldOut:
        """The loss that follows from each example's share."""
        total = sum(tokens for _, _, tokens in per_example)
        loss = math.fsum(nats for _, nats, _ in per_example) / total if total else math.nan
        return cls(loss, total, tuple(per_example))

    @property
    def perplexity(self) -> float:
        """exp(loss); infinity when that is beyond a float."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    def to_json(self, step: int) -> dict[str, Any]:
        """As `evaluation/heldout-*.json` holds it."""
        names = self.groups or ("",) * len(self.per_example)
        rows = [
            {"id": name, "nats": nats, "tokens": tokens, "group": group}
            for (name, nats, tokens), group in zip(self.per_example, names, strict=True)
        ]
        return {"step": step, "loss": self.loss, "tokens": self.tokens, "per_example": rows}


def held_out_loss(
    engine: Engine,
    examples: Sequence[Any],
    rows: Sequence[int],
    micro_batch_tokens: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> HeldOut:
    """Loss of the examples at `rows`, in the order given. The sums are float64, so batching changes rounding only."""
    per_example: list[tuple[str, float, int]] = []
    picked: list[Any] = [examples[int(row)] for row in rows]
    for group in micro_batches(picked, micro_batch_tokens):
        batch = engine.join(group)
        losses = engine.losses(batch).double().cpu().numpy()
        owner = np.repeat(np.arange(len(group)), batch.trained)
        nats = np.bincount(owner, weights=losses, minlength=len(group))
        per_example += [
            (str(getattr(row, "id", "")), float(n), t) for row, n, t in zip(group, nats, batch.trained, strict=True)
        ]
        if on_progress:
            on_progress(len(per_example), len(picked))
    return HeldOut.of(per_example)
