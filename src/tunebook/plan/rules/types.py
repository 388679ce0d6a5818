"""The five kinds of stopping rule, as `docs` and `rules --json` show them. `source` is the text each was read from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Metric = Literal[
    "training_loss",
    "validation_loss",
    "perplexity",
    "bleu",
    "response_length",
    "throughput",
    "memory",
    "gradient_norm",
]
Unit = Literal["evaluations", "epochs", "steps", "minutes"]

BETTER_LOWER = ("training_loss", "validation_loss", "perplexity", "memory", "gradient_norm")
BETTER_HIGHER = ("bleu", "throughput")


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Plateau(_Rule):
    """Stop once the metric has not improved by more than the delta for `patience` units."""

    kind: Literal["plateau"] = "plateau"
    metric: Metric = "validation_loss"
    patience: int = Field(3, ge=1)
    unit: Unit = "evaluations"
    min_delta: float | None = None
    min_delta_percent: float | None = None
    source: str = ""


class Rise(_Rule):
    """Stop once the metric has got worse at `patience` units in a row."""

    kind: Literal["rise"] = "rise"
    metric: Metric = "validation_loss"
    patience: int = Field(2, ge=1)
    unit: Unit = "evaluations"
    source: str = ""


class Threshold(_Rule):
    """Stop once the metric is past the value, `patience` units in a row."""

    kind: Literal["threshold"] = "threshold"
    metric: Metric
    op: Literal["<", "<=", ">", ">="]
    value: float
    patience: int = Field(1, ge=1)
    unit: Unit = "evaluations"
    source: str = ""


class Gap(_Rule):
    """Stop once validation loss exceeds training loss by `value`, or by `percent` of it."""

    kind: Literal["gap"] = "gap"
    value: float | None = None
    percent: float | None = None
    patience: int = Field(1, ge=1)
    unit: Unit = "evaluations"
    source: str = ""


class Budget(_Rule):
    """Stop when that much has been spent; hours are given in minutes."""

    kind: Literal["budget"] = "budget"
    amount: float = Field(gt=0)
    unit: Literal["minutes", "steps", "epochs", "tokens"]
    source: str = ""


Rule = Annotated[Plateau | Rise | Threshold | Gap | Budget, Field(discriminator="kind")]

SettingName = Literal[
    "weight_decay",
    "dropout",
    "label_smoothing",
    "noise_alpha",
    "max_grad_norm",
    "max_epochs",
    "validation_fraction",
    "lora_rank",
    "method",
    "early_stopping",
    "keep_best",
    "learning_rate",
    "bleu",
    "chrf",
    "rouge_l",
    "exact_match",
    "judge",
    "compare_to_base",
    "human_review",
    "length_check",
]


class Setting(BaseModel):
    """Something other than a rule that a text asks for; `value` is null where a number is usual and none was given."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    setting: SettingName
    value: bool | int | float | str | None = None
    source: str = ""
