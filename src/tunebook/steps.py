"""The ten steps of a run: one table that the page, the plan, the run and the studio all read.

A learner's order is right when no step stands before one that it needs; many orders are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """`needs` maps the id of an earlier step to the reason why it must come first."""

    id: str
    title: str
    does: str
    needs: Mapping[str, str] = field(default_factory=dict)


_TRAIN_READS = "what the training loop reads, and where it records, must exist before it runs"

STEPS: tuple[Step, ...] = (
    Step(
        "initialize",
        "Initialize training pipeline and environment",
        "makes the run folder, takes its lock, sets the seeds, picks the device",
    ),
    Step(
        "validate",
        "Validate dataset format and quality",
        "passes every row through the data gate, with the tokenizer that the plan names",
    ),
    Step(
        "split",
        "Split dataset into training and validation sets",
        "decides by content which rows train and which are held out",
        {"validate": "bad and duplicate rows must not reach either side"},
    ),
    Step("load", "Load the base model and tokenizer", "reads the weights into memory and counts them"),
    Step(
        "configure",
        "Configure hyperparameters and training settings",
        "sets trainable parts, optimizer, schedule and the size of a micro-batch",
    ),
    Step(
        "logging",
        "Set up logging and checkpoint management",
        "opens trackers and the checkpoint folder, and checks the disk",
    ),
    Step(
        "train",
        "Run training loop with periodic evaluation",
        "takes optimizer steps, evaluates on schedule, saves checkpoints",
        dict.fromkeys(("split", "load", "configure", "initialize", "logging"), _TRAIN_READS),
    ),
    Step(
        "monitor",
        "Monitor training progress and loss curves",
        "reads the curves, judges the result, picks the checkpoint to keep",
        {"train": "before the loop runs there is nothing to watch"},
    ),
    Step(
        "export",
        "Save and export the fine-tuned model",
        "writes the model in the formats asked for, loads them again and compares",
        {
            "train": "there is nothing to export before training",
            "monitor": "the curves decide which checkpoint is worth keeping",
        },
    ),
    Step(
        "deploy",
        "Prepare final model for deployment testing",
        "tests the exported files in a fresh process",
        {"export": "it tests the exported files, not the model in memory"},
    ),
)

STEP_IDS: tuple[str, ...] = tuple(step.id for step in STEPS)
BY_ID: Mapping[str, Step] = {step.id: step for step in STEPS}


@dataclass(frozen=True, slots=True)
class Violation:
    """`first` must come before `second` and does not; both are step ids."""

    first: str
    second: str
    why: str


def violations(order: Sequence[str]) -> list[Violation]:
    """Every pair of steps in `order` (ids) that stands the wrong way round; steps that are not in it are not judged."""
    place = {step: index for index, step in enumerate(order)}
    return [
        Violation(need, step.id, why)
        for step in STEPS
        for need, why in step.needs.items()
        if step.id in place and need in place and place[need] > place[step.id]
    ]
