"""What experience would change in a plan. Advice changes nothing by itself: the reader accepts it or does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tunebook.plan import when
from tunebook.plan.facts import Facts, optimizer_steps, steps_per_epoch
from tunebook.plan.files import origin_of
from tunebook.plan.rules.types import Budget, Plateau
from tunebook.plan.schema import Plan


@dataclass(frozen=True, slots=True)
class Advice:
    """Set `path` to `value`, because `why`."""

    path: str
    value: Any
    why: str

    def to_json(self) -> dict[str, Any]:
        """As `plan --json` prints it."""
        return asdict(self)


def advise(plan: Plan, facts: Facts | None = None) -> list[Advice]:
    """Everything that could be better, at most one piece a path; with `facts`, what the data says too."""
    found: dict[str, Advice] = {}
    for rule in _RULES if facts else _PLAN_RULES:
        for advice in rule(plan, facts):  # type: ignore[arg-type]
            found.setdefault(advice.path, advice)
    return list(found.values())


def _lora_rate(plan: Plan, _: Facts) -> Iterator[Advice]:
    rate = plan.training.learning_rate
    origin, _why = origin_of(plan, "training.learning_rate")
    asked = origin in ("answer", "default")
    if plan.training.method == "lora" and (asked or (origin != "advice" and rate < 1e-4)) and 0 < rate < 1e-2:
        why = "LoRA trains few weights and usually wants about ten times the learning rate of full training"
        yield Advice("training.learning_rate", float(f"{10 * rate:.6g}"), why)


def _full_rate(plan: Plan, _: Facts) -> Iterator[Advice]:
    if plan.training.method == "full" and plan.training.learning_rate > 5e-5:
        why = "with every weight in training, a rate above 5e-5 tends to wipe out what the model knew"
        yield Advice("training.learning_rate", 3e-5, why)


def _long_without_rules(plan: Plan, _: Facts) -> Iterator[Advice]:
    watching = [rule for rule in plan.stopping.rules if not isinstance(rule, Budget)]
    if plan.training.epochs.max > max(5, plan.training.epochs.min) and not watching:
        rule = Plateau(source="advice: three evaluations without improvement").model_dump(mode="json")
        why = f"up to {plan.training.epochs.max} epochs and no rule that ends the run once the model learns no more"
        yield Advice("stopping.rules", [*(rule.model_dump(mode="json") for rule in plan.stopping.rules), rule], why)


def _few_examples(plan: Plan, facts: Facts) -> Iterator[Advice]:
    if facts.training < 500 and plan.training.epochs.max > 5:
        why = f"{facts.training:,} examples seen {plan.training.epochs.max} times tend to be learned by heart"
        yield Advice("training.epochs.max", 5, why)


def _large_batch(plan: Plan, facts: Facts) -> Iterator[Advice]:
    size = plan.training.batch_size
    if size > 1 and facts.training < 8 * size:
        better = 1 << max(0, (facts.training // 8).bit_length() - 1)
        if better < size:
            steps = "one step" if facts.training <= size else f"{steps_per_epoch(plan, facts)} steps"
            why = f"with a batch of {size}, an epoch of {facts.training:,} examples has only {steps}"
            yield Advice("training.batch_size", better, why)


def _rare_evaluation(plan: Plan, facts: Facts) -> Iterator[Advice]:
    schedule = when.parse(plan.evaluation.schedule)
    steps = optimizer_steps(plan, facts)
    first = schedule.at[0] if schedule.at else schedule.steps
    if first and first >= steps > steps_per_epoch(plan, facts):
        why = f"of a run of {steps:,} optimizer steps, '{plan.evaluation.schedule}' would see only the end"
        yield Advice("evaluation.schedule", "every epoch", why)


def _long_rows(plan: Plan, facts: Facts) -> Iterator[Advice]:
    if facts.over_limit and facts.longest and plan.data.max_length < facts.longest <= 8192:
        fate = {"drop": "left out", "cut": "cut", "refuse": "refused"}[plan.data.too_long]
        why = f"{facts.over_limit:,} examples have more than {plan.data.max_length:,} tokens and are {fate}"
        yield Advice("data.max_length", facts.longest, why)


def _few_held_out(plan: Plan, facts: Facts) -> Iterator[Advice]:
    share = plan.data.validation_share
    if plan.data.validation_path is None and facts.validation < 10 and facts.examples >= 20 and share < 0.3:
        why = f"{facts.validation} held-out examples are too few to tell an improvement from luck"
        yield Advice("data.validation_share", min(0.3, max(share + 0.01, round(15 / facts.examples, 2))), why)


Rule = Callable[[Plan, Facts], Iterator[Advice]]
_PLAN_RULES: tuple[Rule, ...] = (_lora_rate, _full_rate, _long_without_rules)
_RULES: tuple[Rule, ...] = (*_PLAN_RULES, _few_examples, _large_batch, _rare_evaluation, _long_rows, _few_held_out)
