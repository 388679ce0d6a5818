"""All that changes during training, beside weights and optimizer: saved whole, restored whole.

There is no random state in it: before each optimizer step the generators are seeded from (seed, step), so dropout and
noise are functions of the step and a resumed run draws what an uninterrupted one would have.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch


@dataclass(slots=True)
class TrainState:
    """`step` optimizer steps are done; everything else follows from them and from the clock."""

    micro_batch_tokens: int  # through the model at once; settled once, kept on resume
    step: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0  # of training, evaluations included, over all tries
    base_seconds: dict[str, float] = field(default_factory=dict)  # that measuring the base took, before step 1
    parts: dict[str, float] = field(default_factory=dict)
    # of the step metrics since the last evaluation: sum, count, highest
    since_evaluation: dict[str, tuple[float, int, float]] = field(default_factory=dict)
    recent: dict[str, list[float]] = field(default_factory=dict)  # losses and gradient norms of the last steps
    evaluated_at: float = 0.0  # `seconds` at the last evaluation
    evaluations: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    stopper: dict[str, Any] = field(default_factory=dict)
    owes_evaluation: bool = False  # one is due at `step`, and a stop put it off
    ended: str = ""  # why training ended; empty while it has not

    def to_json(self) -> dict[str, Any]:
        """Plain values, exact: Python's floats survive JSON."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> TrainState:
        """The state that `to_json` gave; TypeError when a key is unknown."""
        return TrainState(**value)


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed Python, NumPy and PyTorch as a function of (seed, step), and of the worker where there are several."""
    text = f"{seed} {step} {rank}" if rank else f"{seed} {step}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)
