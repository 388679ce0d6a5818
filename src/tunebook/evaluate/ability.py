"""General ability as it was measured: plain numbers, read and written without a model or torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Retention:
    """By question: was it right, and the weight on the right choice (0 to 1). By text: (nats, tokens predicted).

    `tasks`: scores (0 to 1) by question of each lm-evaluation-harness task that the plan names.
    """

    correct: tuple[bool, ...]
    weight: tuple[float, ...]
    prose: tuple[tuple[float, int], ...]
    tasks: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def accuracy(self) -> float | None:
        """Share of questions answered right; None without questions."""
        return sum(self.correct) / len(self.correct) if self.correct else None

    @property
    def prose_loss(self) -> float | None:
        """Nats per token of prose; None without prose."""
        tokens = sum(count for _, count in self.prose)
        return sum(nats for nats, _ in self.prose) / tokens if tokens else None

    def to_json(self) -> dict[str, Any]:
        """As `evaluation/retention-*.json` holds it."""
        return {
            "format": 1,
            "accuracy": self.accuracy,
            "prose_loss": self.prose_loss,
            "correct": list(self.correct),
            "weight": list(self.weight),
            "prose": [list(pair) for pair in self.prose],
            "tasks": {name: list(scores) for name, scores in self.tasks.items()},
        }

    @classmethod
    def from_json(cls, value: Any) -> Retention:
        """Read `to_json` back; KeyError, TypeError or ValueError when it is not of that form."""
        return cls(
            tuple(bool(item) for item in value["correct"]),
            tuple(float(item) for item in value["weight"]),
            tuple((float(nats), int(tokens)) for nats, tokens in value["prose"]),
            {str(name): tuple(map(float, scores)) for name, scores in value.get("tasks", {}).items()},
        )
