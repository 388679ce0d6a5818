"""The plan: everything that decides what a run does, frozen and checked. Nothing later reads answers.

Paths into it (`training.learning_rate`) are stable: scripts, `--set`, pages' `sets:` and `plan.yaml` use them.
An unknown key is an error that names the nearest known one. `origins` says where each value came from; it changes
nothing that the run does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from tunebook.plan.rules.types import Metric, Rule
from tunebook.plan.when import Schedule
from tunebook.steps import BY_ID, STEP_IDS, violations

METRICS: tuple[Metric, ...] = get_args(Metric)
METRICS_BUT_BLEU: tuple[Metric, ...] = tuple(name for name in METRICS if name != "bleu")
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class Section(BaseModel):
    """A part of the plan: frozen, no unknown keys, infinities refused, and no `yes` taken for 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and _is_number(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError(f"must be a number, and is {'yes' if value else 'no'}")
        return value


def _is_number(annotation: Any) -> bool:
    return annotation in (int, float) or any(map(_is_number, get_args(annotation)))


class ModelPlan(Section):
    """The base model."""

    name: str = Field(min_length=1, description="a folder, a GGUF file, a hub id, or the alias smollm2-135m")
    sha256: str | None = Field(
        None, description="hash of the weights that the plan was made for; checked before training"
    )
    quantization: Literal["nf4"] | None = Field(
        None, description="nf4: the base in 4 bits under its adapters (QLoRA), for models that memory cannot hold"
    )


class DataPlan(Section):
    """The examples and what may become of them."""

    path: str = Field(min_length=1, description="JSONL, JSON, CSV or Parquet file; relative to the plan's folder")
    validation_path: str | None = Field(None, description="a file of its own for validation, instead of a share")
    validation_share: Share = Field(0.1, description="share of the examples that is held out")
    max_length: int = Field(1024, ge=8, description="longest example in tokens")
    too_long: Literal["drop", "cut", "refuse"] = Field(
        "drop", description="longer examples: leave out, cut at the prompt's start, or refuse the run"
    )
    duplicates: Literal["keep", "drop"] = Field("drop", description="exact duplicates: keep all or the first of each")
    columns: dict[str, str] | None = Field(None, description="your column names for ours, such as {prompt: question}")
    max_bad_share: Share = Field(0.05, description="share of bad rows above which the run is refused")


class Epochs(Section):
    """A range: stopping rules may end the run after `min`; `max` is the limit."""

    min: int = Field(3, ge=1)
    max: int = Field(5, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Epochs:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) is below min ({self.min})")
        return self


class Warmup(Section):
    """How the learning rate rises; cosine decay follows."""

    strategy: Literal["linear", "none", "cosine", "custom"] = "linear"
    share: Share = Field(0.03, description="share of the optimizer steps")
    points: tuple[tuple[float, float], ...] = Field((), description="custom: (share of training, multiplier) points")

    @model_validator(mode="after")
    def _points_fit(self) -> Warmup:
        shares = [share for share, _ in self.points]
        if self.strategy == "custom" and not self.points:
            raise ValueError("strategy custom needs points, a list of [share of training, multiplier]")
        if shares != sorted(set(shares)) or any(not 0 <= share <= 1 for share in shares):
            raise ValueError("points must rise in their first number, from 0 to 1")
        if any(multiplier < 0 for _, multiplier in self.points):
            raise ValueError("a multiplier below 0 would train backwards")
        return self


class TrainingPlan(Section):
    """What the optimizer does."""

    method: Literal["lora", "full"] = Field("lora", description="train small adapters, or every weight")
    learning_rate: float = Field(3e-5, ge=0, lt=1)
    batch_size: int = Field(16, ge=1, le=4096, description="examples per optimizer step")
    epochs: Epochs = Epochs()
    max_steps: int | None = Field(None, ge=1, description="a limit in optimizer steps; null for none")
    seed: int = Field(42, ge=0, lt=2**32)
    warmup: Warmup = Warmup()
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: Positive = 1.0
    dropout: Share = Field(0.0, description="of the model's own layers (full) or of the adapters (lora)")
    label_smoothing: Share = 0.0
    noise_alpha: float = Field(0.0, ge=0, description="NEFTune: noise on the embeddings, 0 for none")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: products are rounded to it, faster where the processor has it"
    )
    micro_batch_tokens: int | None = Field(
        None, ge=8, description="tokens through the model at once; null: from memory"
    )


class LoraPlan(Section):
    """The adapters, when `training.method` is lora."""

    rank: int = Field(16, ge=1, le=1024)
    alpha: Positive | None = Field(None, description="null: twice the rank")
    targets: tuple[str, ...] = Field((), description="module names; empty: every linear layer but the head")


class EvaluationPlan(Section):
    """When the run looks at held-out data, and how closely."""

    schedule: Schedule = "every epoch"
    prompts: int = Field(20, ge=0, le=10_000, description="held-out prompts answered by base and tuned")
    max_new_tokens: int = Field(128, ge=1, le=8192)
    retention: bool = Field(True, description="measure general ability of base and tuned")
    tasks: tuple[str, ...] = Field((), description="tasks of the lm-evaluation-harness for it, names or YAML files")
    task_limit: int = Field(100, ge=1, description="questions of each task")


def is_task_file(name: str) -> bool:
    """Is an entry of `evaluation.tasks` the path of a YAML file, and no task's name?"""
    return name.endswith((".yaml", ".yml"))


class CheckpointPlan(Section):
    """A checkpoint is saved at each evaluation, every `every` optimizer steps and at the end."""

    every: int = Field(50, ge=1)
    keep: int = Field(2, ge=1, description="newest ones kept, beside the best and the last finite")


class StoppingPlan(Section):
    """What ends the run before its limit. A non-finite loss always does."""

    rules: tuple[Rule, ...] = ()
    keep_best: bool = Field(True, description="the best checkpoint, not the last, is the result")


class QualityPlan(Section):
    """How answers are judged."""

    checks: tuple[str, ...] = Field(("compare_to_base",), description="bleu, chrf, rouge_l, exact_match, ...")
    judge: str | None = Field(None, description="address of an OpenAI-compatible judge model")


class ReviewPlan(Section):
    """Which responses a person reads."""

    policy: Literal["random", "all", "difficult", "none"] = "none"
    count: int = Field(10, ge=1)


class ExportPlan(Section):
    """What the run leaves for others to load."""

    formats: tuple[Literal["safetensors", "adapter", "gguf"], ...] = ("safetensors",)


class WorkflowPlan(Section):
    """The ten steps in the order in which they run and are shown."""

    order: tuple[str, ...] = STEP_IDS

    @field_validator("order")
    @classmethod
    def _valid(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [step for step in order if step not in BY_ID]
        missing = [step for step in STEP_IDS if step not in order]
        if unknown or missing or len(order) != len(STEP_IDS):
            raise ValueError(
                f"needs each of the ten steps once (unknown: {unknown or 'none'}, missing: {missing or 'none'})"
            )
        wrong = violations(order)
        if wrong:
            raise ValueError("; ".join(f"{pair.first} must come before {pair.second}: {pair.why}" for pair in wrong))
        return order


class Origin(Section):
    """Where a value came from. `value` is what was written then: when the plan holds another one, a hand edited it."""

    origin: Literal["answer", "default", "advice", "set"] = Field(alias="from")
    why: str = ""
    value: Any = None
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Plan(Section):
    """One frozen, validated plan; `plan.yaml` alone reproduces the run."""

    format: Literal[1] = 1
    model: ModelPlan
    data: DataPlan
    training: TrainingPlan = TrainingPlan()
    lora: LoraPlan = LoraPlan()
    evaluation: EvaluationPlan = EvaluationPlan()
    checkpoints: CheckpointPlan = CheckpointPlan()
    stopping: StoppingPlan = StoppingPlan()
    metrics: tuple[Metric, ...] = METRICS_BUT_BLEU
    trackers: tuple[Tracker, ...] = Field((), description="where else the numbers are shown")
    quality: QualityPlan = QualityPlan()
    review: ReviewPlan = ReviewPlan()
    export: ExportPlan = ExportPlan()
    workflow: WorkflowPlan = WorkflowPlan()
    notes: dict[str, str] = Field(default_factory=dict, description="answers that set nothing, kept with the run")
    not_understood: tuple[str, ...] = Field((), description="pieces of prose answers that no rule could be read from")
    origins: dict[str, Origin] = Field(default_factory=dict, description="where values came from, by path")

    @model_validator(mode="after")
    def _four_bits_stay_frozen(self) -> Plan:
        if self.model.quantization and self.training.method == "full":
            raise ValueError(
                "model.quantization holds the base in 4 bits, which training.method full cannot train: "
                "set training.method to lora, or model.quantization to null"
            )
        return self

    @field_validator("metrics")
    @classmethod
    def _training_loss_stays(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        chosen = {"training_loss", *metrics}
        return tuple(name for name in METRICS if name in chosen)
