"""What is known of the data that a plan is for, and what follows from it. Measured elsewhere; the plan only reckons."""

from __future__ import annotations

from dataclasses import dataclass

from tunebook.plan.schema import Plan


@dataclass(frozen=True, slots=True)
class Facts:
    """`rows` in the file, `examples` fit for training, of which `training` and `validation`.

    `tokens` and `trained_tokens` are of one epoch and, with `longest`, None where no tokenizer was at hand. When not
    `exact`, the split is reckoned from its share, since it is decided only once the rows are tokenized.
    """

    rows: int
    examples: int
    training: int
    validation: int
    tokens: int | None = None
    trained_tokens: int | None = None
    longest: int | None = None
    over_limit: int = 0
    bad: int = 0
    exact: bool = False


def steps_per_epoch(plan: Plan, facts: Facts) -> int:
    """Optimizer steps in one epoch; the last one may be smaller than a batch."""
    return max(1, -(-facts.training // plan.training.batch_size))


def optimizer_steps(plan: Plan, facts: Facts) -> int:
    """The length of the schedule: the smaller of `max_steps` and high end times steps per epoch."""
    limit = plan.training.epochs.max * steps_per_epoch(plan, facts)
    return min(limit, plan.training.max_steps or limit)
