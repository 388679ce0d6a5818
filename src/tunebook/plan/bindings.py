"""Answers -> values of the plan: one table of known questions, one reader for each kind of answer.

A reader gets the answer as the page stores it (of an option that begins with Custom, what was said to it) and puts
values into the draft; a ValueError says what is wrong with the answer and what would be right. To bind a new question,
give its field `sets: path` on the page, or add its id to QUESTIONS; a path without a reader of its own takes the
answer as YAML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tunebook.errors import Fault
from tunebook.pages.items import make_item
from tunebook.pages.names import plain
from tunebook.pages.order import check_order
from tunebook.pages.parts import Answer
from tunebook.plan import when
from tunebook.plan.rules import numbers
from tunebook.plan.rules.types import Rule
from tunebook.plan.schema import METRICS
from tunebook.plan.text import load_yaml


@dataclass
class Draft:
    """What the answers say so far: `values` and their reasons by path; prose waits until everything else is read."""

    values: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    rules_why: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    not_understood: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def put(self, path: str, value: Any, why: str) -> None:
        """Set a value, with its reason."""
        self.values[path], self.why[path] = value, why

    def join(self, other: Draft) -> None:
        """Take over what another page's answers say. Two pages that set one value differently are a fault."""
        for path, value in other.values.items():
            if self.values.get(path, value) != value:
                said = f"is {self.values[path]} by '{self.why[path]}' and {value} by '{other.why[path]}'"
                self.faults.append(Fault(path, f"{said}; change one of the two answers"))
            self.put(path, value, other.why[path])
        for name, note in other.notes.items():
            self.notes[name] = "\n".join(dict.fromkeys([*filter(None, [self.notes.get(name)]), note]))
        self.faults += other.faults


@dataclass(frozen=True)
class Asked:
    """One answered question: its words, and the answer; was it `typed`, not chosen?"""

    question: str
    answer: Answer
    typed: bool = False

    @property
    def text(self) -> str:
        """The answer as one text."""
        return self.answer if isinstance(self.answer, str) else ", ".join(self.answer)

    @property
    def lines(self) -> list[str]:
        """The answer as a list."""
        return [self.answer] if isinstance(self.answer, str) else [*self.answer]

    @property
    def label(self) -> str:
        """The answer without the note that an option carries."""
        return self.text if self.typed else make_item(self.text).label

    @property
    def why(self) -> str:
        """Where the value comes from, for the reader."""
        return self.because(" ".join(self.text.split()))

    def because(self, answer: str) -> str:
        """The question with (a part of) its answer."""
        return f"{self.question}{'' if self.question.endswith('?') else ':'} {answer}"


Reader = Callable[[Draft, Asked], None]
_NUMBER = re.compile(r"-?(?:\d+(?:[.,]\d+)*|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)


def _numbers(text: str) -> list[float]:
    found = [numbers.number(part) for part in _NUMBER.findall(text)]
    if None in found:
        raise ValueError(f"'{text}' holds a number that is not finite")
    return [value for value in found if value is not None]


def learning_rate(draft: Draft, asked: Asked) -> None:
    """The number in the option."""
    found = _numbers(asked.label)
    if len(found) != 1:
        raise ValueError(f"'{asked.label}' is not one number, such as 3e-5")
    draft.put("training.learning_rate", found[0], asked.why)


def batch_size(draft: Draft, asked: Asked) -> None:
    """The number in the option: examples per optimizer step."""
    found = _numbers(asked.label)
    if len(found) != 1 or found[0] != int(found[0]):
        raise ValueError(f"'{asked.label}' is not one whole number, such as 16")
    draft.put("training.batch_size", int(found[0]), asked.why)


def method(draft: Draft, asked: Asked) -> None:
    """LoRA, full, or QLoRA: adapters over a base in 4 bits."""
    words = plain(asked.label).split()
    found = next((name for name in ("qlora", "lora", "full") if name in words), None)
    if found is None:
        raise ValueError(f"'{asked.label}' is no training method; they are LoRA, QLoRA (the base in 4 bits), full")
    draft.put("training.method", found.removeprefix("q"), asked.why)
    if found == "qlora":
        draft.put("model.quantization", "nf4", asked.why)


_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:(?:-|–|to)\s*(\d{1,6})|(\+|or more))?(?:\s*epochs?)?\s*")


def epochs(draft: Draft, asked: Asked) -> None:
    """A range: `3-5`, `4`, `10+` (10 to 20)."""
    match = _RANGE.fullmatch(asked.label)
    if not match:
        raise ValueError(f"'{asked.label}' is not a number of epochs, such as 3-5, 4 or 10+")
    low = int(match[1])
    high = int(match[2]) if match[2] else 2 * low if match[3] else low
    draft.put("training.epochs.min", low, asked.why)
    draft.put("training.epochs.max", high, asked.why)


_PAIR = re.compile(r"((?:(?<!\d)-)?(?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?)\s*(%?)", re.IGNORECASE)


def warmup(draft: Draft, asked: Asked) -> None:
    """Linear, none, cosine, each with a share where one is said, or points: `(0, 0), (0.1, 1)`."""
    words = plain(asked.label).split()
    strategy = next((name for word in words for name in ("linear", "cosine", "none", "no") if word == name), "")
    found = [float(value) / (100 if percent else 1) for value, percent in _PAIR.findall(asked.label)]
    if strategy and len(found) < 2:
        draft.put("training.warmup.strategy", "none" if strategy == "no" else strategy, asked.why)
        if found:
            draft.put("training.warmup.share", found[0], asked.why)
    elif found and len(found) % 2 == 0 and not re.search(r"[a-df-z]", asked.label, re.IGNORECASE):
        draft.put("training.warmup.strategy", "custom", asked.why)
        draft.put(
            "training.warmup.points", [list(pair) for pair in zip(found[::2], found[1::2], strict=True)], asked.why
        )
    else:
        raise ValueError(
            f"'{asked.label}' is not a warmup: write linear, none or cosine, or points of (share of training, "
            "multiplier) such as (0, 0), (0.1, 1)"
        )


_METRIC_WORDS = {
    "training loss": "training_loss",
    "validation loss": "validation_loss",
    "perplexity": "perplexity",
    "bleu": "bleu",
    "length": "response_length",
    "throughput": "throughput",
    "speed": "throughput",
    "memory": "memory",
    "gradient": "gradient_norm",
}


def metrics(draft: Draft, asked: Asked) -> None:
    """Which of the eight metrics are computed."""
    found, unknown = [], []
    for line in asked.lines:
        label = plain(make_item(line).label)
        known = [name for words, name in _METRIC_WORDS.items() if words in label or label == name.replace("_", " ")]
        found += known[:1]
        unknown += [line] * (not known)
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))} is no metric; they are {', '.join(METRICS)}")
    draft.put("metrics", found, asked.because(f"{len(found)} of {len(METRICS)} chosen"))


def schedule(draft: Draft, asked: Asked) -> None:
    """When the run evaluates."""
    text = asked.label.strip().lower()
    when.parse(text)
    draft.put("evaluation.schedule", text, asked.why)


def review(draft: Draft, asked: Asked) -> None:
    """Which responses enter the review queue."""
    words = plain(asked.label).split()
    policies = {"random": "random", "all": "all", "difficult": "difficult", "no": "none", "none": "none"}
    found = next((policies[word] for word in words if word in policies), None)
    if found is None:
        raise ValueError(f"'{asked.label}' is no review policy; they are random, all, difficult, none")
    draft.put("review.policy", found, asked.why)


def order(draft: Draft, asked: Asked) -> None:
    """The ten steps as the reader puts them."""
    checked = check_order(asked.lines)
    if not checked.valid:
        raise ValueError(" ".join(checked.sentences()))
    draft.put("workflow.order", list(checked.steps), asked.because("the order you gave"))


def value_of(path: str) -> Reader:
    """A reader for any other path: the answer as YAML; of an option, its label; of a list, the labels."""

    def read(draft: Draft, asked: Asked) -> None:
        if isinstance(asked.answer, list):
            draft.put(path, [make_item(line).label for line in asked.lines], asked.why)
            return
        try:
            draft.put(path, load_yaml(asked.label), asked.why)
        except yaml.YAMLError:
            raise ValueError(f"'{asked.label}' cannot be read as a value") from None

    return read


# What a question is about -> its reader. A field's `sets` may name any of these, or a value of the plan.
READERS: Mapping[str, Reader] = {
    "training.method": method,
    "training.learning_rate": learning_rate,
    "training.batch_size": batch_size,
    "training.epochs": epochs,
    "training.warmup": warmup,
    "training.warmup.strategy": warmup,
    "metrics": metrics,
    "evaluation.schedule": schedule,
    "review.policy": review,
    "workflow.order": order,
}

# Prose, read once everything else is known.
PROSE = ("overfitting", "stopping", "quality")
_PROSE_PATHS = {"stopping.rules": "stopping", "quality.checks": "quality"}

# The known questions, by the ids that `page check` shows.
QUESTIONS: Mapping[str, str] = {
    "arrange-fine-tuning-steps-in-correct-order": "workflow.order",
    "learning-rate": "training.learning_rate",
    "batch-size": "training.batch_size",
    "number-of-epochs": "training.epochs",
    "what-warmup-strategy-will-you-use": "training.warmup",
    "how-will-you-prevent-overfitting": "overfitting",
    "select-monitoring-metrics": "metrics",
    "how-often-will-you-evaluate-the-model-during-training": "evaluation.schedule",
    "what-criteria-will-trigger-early-stopping": "stopping",
    "how-will-you-assess-response-quality-during-training": "quality",
    "what-manual-review-process-will-you-implement": "review.policy",
}


def topic(name: str, sets: str, answer: Answer) -> str | None:
    """What the question `name` is about: what its field `sets`, else what is known of its id; None binds nothing."""
    if isinstance(answer, str) and sets in _PROSE_PATHS:
        return _PROSE_PATHS[sets]
    return sets or QUESTIONS.get(name)
