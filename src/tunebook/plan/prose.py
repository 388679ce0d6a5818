"""What the prose answers say, put into a draft of the plan: rules, settings, and what was not understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunebook.plan.bindings import Asked, Draft
from tunebook.plan.rules import read_rules
from tunebook.plan.rules.makers import Purpose
from tunebook.plan.rules.types import Budget, Plateau, Setting
from tunebook.plan.schema import METRICS_BUT_BLEU

# A setting for which no answer names a number takes a usual one, and says so.
USUAL = {"weight_decay": 0.01, "dropout": 0.05}

_PATHS = {
    "weight_decay": "training.weight_decay",
    "dropout": "training.dropout",
    "label_smoothing": "training.label_smoothing",
    "noise_alpha": "training.noise_alpha",
    "max_grad_norm": "training.max_grad_norm",
    "validation_fraction": "data.validation_share",
    "lora_rank": "lora.rank",
    "method": "training.method",
    "learning_rate": "training.learning_rate",
    "keep_best": "stopping.keep_best",
}


class ProseReader:
    """Reads the prose answers of one set of answers, in the order of the page, after all others."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.said: dict[str, Any] = {}  # path -> what prose said first; a second, other word is reported
        self.unnumbered: dict[str, tuple[Setting, str]] = {}  # path -> what was named without a number, and why
        self.stops_early = ""  # the words "early stopping", where they stand
        self.checks: list[str] = []
        self.checks_why = ""

    def read(self, purpose: Purpose, asked: Asked) -> None:
        """Take up one answer."""
        reading = read_rules(asked.text, purpose)
        for rule in reading.rules:
            self.draft.rules.append(rule)
            self.draft.rules_why.append(asked.because(_quoted(rule.source)))
        for setting in reading.settings:
            act = _ACTS.get(setting.setting, _plain)
            act(self, setting, asked.because(_quoted(setting.source)))
        self.draft.not_understood += [" ".join(piece.split()) for piece in reading.not_understood]

    def finish(self) -> None:
        """What follows from all answers together."""
        draft = self.draft
        for path, (setting, why) in self.unnumbered.items():
            if path not in self.said:
                value = USUAL[setting.setting]
                self.put(path, value, setting, f"{why}, no number given: {value:g} is usual")
        if self.stops_early and all(isinstance(rule, Budget) for rule in draft.rules):
            draft.rules.append(Plateau(source=self.stops_early))
            draft.rules_why.append(f"{_quoted(self.stops_early)} without a condition: the usual one")
        if draft.rules:
            rules = [rule.model_dump(mode="json") for rule in draft.rules]
            draft.put("stopping.rules", rules, "; ".join(draft.rules_why))
        if "judge" in self.checks:
            draft.notes["quality.judge"] = (
                "A model as judge needs an address in quality.judge; until then it is left out."
            )
        if self.checks:
            draft.put("quality.checks", list(dict.fromkeys(["compare_to_base", *self.checks])), self.checks_why)
        self._watch([rule.metric for rule in draft.rules if not isinstance(rule, Budget) and hasattr(rule, "metric")])

    def _watch(self, watched: list[str]) -> None:
        """A rule can only watch what is computed: add it to the metrics that were chosen."""
        chosen = self.draft.values.get("metrics", METRICS_BUT_BLEU)
        missing = [name for name in dict.fromkeys(watched) if name not in chosen]
        if missing:
            why = f"{self.draft.why.get('metrics', 'the usual ones')}, and for a stopping rule {', '.join(missing)}"
            self.draft.put("metrics", [*chosen, *missing], why)

    def put(self, path: str, value: Any, setting: Setting, why: str) -> None:
        """Set a value unless prose has said another before."""
        if self.said.setdefault(path, value) != value:
            self.draft.not_understood.append(setting.source)
            return
        before = self.draft.values.get(path)
        replaced = f", in place of {before:g}" if isinstance(before, float) and before != value else ""
        self.draft.put(path, value, why + replaced)


def _plain(reader: ProseReader, setting: Setting, why: str) -> None:
    path = _PATHS[setting.setting]
    if setting.value is None:
        reader.unnumbered.setdefault(path, (setting, why))
    else:
        reader.put(path, setting.value, setting, why)


def _early_stopping(reader: ProseReader, setting: Setting, _: str) -> None:
    reader.stops_early = reader.stops_early or setting.source


def _lora_rank(reader: ProseReader, setting: Setting, why: str) -> None:
    reader.put("lora.rank", setting.value, setting, why)
    reader.put("training.method", "lora", setting, why)


def _max_epochs(reader: ProseReader, setting: Setting, why: str) -> None:
    """A limit lowers what was answered, and never raises it."""
    most, draft = int(setting.value or 1), reader.draft
    answered = draft.values.get("training.epochs.max")
    if answered is not None and answered <= most and "training.epochs.max" not in reader.said:
        draft.why["training.epochs.max"] += f", which is within the limit of {most} ({why})"
        return
    reader.put("training.epochs.max", most, setting, why)
    least = draft.values.get("training.epochs.min", 3)
    if least > draft.values["training.epochs.max"]:
        draft.put("training.epochs.min", most, f"lowered from {least} to the limit: {why}")


def _check(reader: ProseReader, setting: Setting, why: str) -> None:
    reader.checks.append(setting.setting)
    reader.checks_why += ("; " if reader.checks_why else "") + why


def _human_review(reader: ProseReader, setting: Setting, why: str) -> None:
    before = reader.draft.values.get("review.policy")
    if before in (None, "none"):
        reader.draft.put("review.policy", "random", why + (", in place of none" if before else ""))
    if setting.value is not None:
        reader.put("review.count", setting.value, setting, why)


def _length_check(reader: ProseReader, setting: Setting, why: str) -> None:
    chosen = reader.draft.values.get("metrics", METRICS_BUT_BLEU)
    if "response_length" not in chosen:
        reader.draft.put("metrics", [*chosen, "response_length"], f"{reader.draft.why['metrics']}; {why}")


_ACTS: dict[str, Callable[[ProseReader, Setting, str], None]] = {
    "early_stopping": _early_stopping,
    "lora_rank": _lora_rank,
    "max_epochs": _max_epochs,
    "human_review": _human_review,
    "length_check": _length_check,
    **dict.fromkeys(("bleu", "chrf", "rouge_l", "exact_match", "judge", "compare_to_base"), _check),
}


def _quoted(text: str) -> str:
    return f"'{' '.join(text.split())}'"
