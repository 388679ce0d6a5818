"""What to try next, from what the report measured: sentences, each with the plan value to set where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, sqrt
from typing import Any

from tunebook.plan.schema import Plan


def next_steps(report: dict[str, Any], plan: Plan | None) -> list[dict[str, str]]:
    """Advice, most useful first: `{"do", "why", "set"}`, `set` being such as `training.epochs.max=8` or empty."""
    if plan is None:
        return []
    found = {indicator["id"]: indicator for indicator in report["indicators"]}
    every = [
        *_about_training(found["training_loss"], plan),
        *_about_validation(found["validation"], report, plan),
        *_about_answers(found["answers"], report, plan),
        *_about_retention(found["retention"], plan),
        *_about_the_page(report),
    ]
    return [dict(zip(("do", "why", "set"), item, strict=True)) for item in every]


Advice = Iterator[tuple[str, str, str]]


def _about_training(indicator: dict[str, Any], plan: Plan) -> Advice:
    rate = plan.training.learning_rate
    if indicator["verdict"] == "yes":
        return
    if (
        indicator["verdict"] == "no"
        and indicator["numbers"].get("tuned", 0) > indicator["numbers"].get("base", 0) * 1.01
    ):
        yield "Train at a lower learning rate.", "Training loss rose.", f"training.learning_rate={rate / 3:.1g}"
    elif rate == 0:
        yield "Give a learning rate above 0.", "At 0 nothing is learned.", "training.learning_rate=3e-5"
    else:
        higher = rate * (10 if plan.training.method == "lora" and rate < 1e-4 else 3)
        yield (
            "Train at a higher learning rate, or for longer.",
            "Training loss did not clearly fall.",
            f"training.learning_rate={min(higher, 1e-2):.1g}",
        )


def _may_be_shorter(plan: Plan) -> bool:
    return plan.training.epochs.max > max(1, plan.training.epochs.min)


def _about_validation(indicator: dict[str, Any], report: dict[str, Any], plan: Plan) -> Advice:
    numbers = indicator["numbers"]
    if not numbers:
        if not plan.data.validation_path and not plan.data.validation_share:
            yield "Hold examples out.", "Without them nobody can tell learning from rote.", "data.validation_share=0.1"
        return
    values, steps = report["curves"]["validation"]["value"], report["curves"]["validation"]["step"]
    if "last" in numbers:
        yield (
            "Train for fewer epochs, or stop on a rise of validation loss.",
            f"Held-out loss rose after step {report['end']['result_step']}.",
            f"training.epochs.max={plan.training.epochs.max - 1}" if _may_be_shorter(plan) else "",
        )
    elif indicator["verdict"] == "no":
        yield "Train at a lower learning rate.", "Held-out loss rose.", f"training.learning_rate={_third(plan):.1g}"
    elif len(values) >= 3 and steps[-1] == report["end"]["result_step"] and values[-2] - values[-1] > 0.01 * values[-1]:
        yield (
            "Train for longer.",
            "Held-out loss was still falling at the last evaluation.",
            f"training.epochs.max={2 * plan.training.epochs.max}",
        )


def _about_answers(indicator: dict[str, Any], report: dict[str, Any], plan: Plan) -> Advice:
    numbers = indicator["numbers"]
    if indicator["verdict"] == "unclear" and numbers:
        needed = _prompts_needed(numbers["interval"])
        held_out = report["settings"].get("validation_examples", numbers["n"])
        if needed and numbers["n"] < min(needed, held_out):
            yield (
                "Answer more held-out prompts.",
                f"{numbers['n']} answers do not settle whether they are better; about {needed} would.",
                f"evaluation.prompts={min(needed, held_out)}",
            )
        elif needed and needed > held_out:
            yield "Hold more examples out.", f"About {needed} answers would settle whether they are better.", ""
    if not numbers:
        return
    unended = 1 - numbers["scores"]["tuned"]["ended"]
    if unended > 0.1:
        limit = plan.evaluation.max_new_tokens
        yield (
            "Let answers be longer, and look whether examples end their turn.",
            f"{100 * unended:.0f} % of the tuned answers were cut at {limit} tokens.",
            f"evaluation.max_new_tokens={2 * limit}",
        )


def _about_retention(indicator: dict[str, Any], plan: Plan) -> Advice:
    if indicator["verdict"] == "no":
        if plan.training.method == "full":
            yield "Train adapters instead of every weight.", "General ability was lost.", "training.method=lora"
        yield (
            "Train at a lower learning rate, or mix general examples into the data.",
            "General ability was lost.",
            f"training.learning_rate={_third(plan):.1g}",
        )
    elif indicator["verdict"] == "unclear" and not plan.evaluation.retention:
        yield "Measure general ability.", "The plan left it out.", "evaluation.retention=true"


def _about_the_page(report: dict[str, Any]) -> Advice:
    for text in report["not_understood"]:
        yield f"Say “{text}” another way.", "It was not understood; tunebook rules shows what is.", ""
    deployment = (report["export"] or {}).get("deployment") or {}
    if deployment.get("verdict") == "failed":
        failed = [check["check"] for check in deployment.get("checks", []) if not check["ok"]]
        otherwise = "They answered otherwise than the tuned model did."
        why = otherwise if deployment.get("differences") else f"The deployment test failed: {', '.join(failed)}."
        yield "Do not deploy the exported files.", why, ""


def _third(plan: Plan) -> float:
    return plan.training.learning_rate / 3


def _prompts_needed(interval: dict[str, float]) -> int | None:
    """How many prompts would show the mean change seen, four times in five, at 1 %; None when there is no gain."""
    if interval["mean"] <= 0:
        return None
    spread = (interval["high"] - interval["low"]) / (2 * 2.58) * sqrt(interval["n"])
    needed = ((2.58 + 0.84) * spread / interval["mean"]) ** 2
    return ceil(needed / 10) * 10 if needed < 100_000 else None
