"""The four signs of success, each yes, no or unclear, with the numbers that say so.

training_loss  falls: a falling trend (Mann-Kendall, Theil-Sen) that chance makes in fewer than 1 of 100 runs
validation     holds or improves: the interval of the change in held-out loss stays under 1 % of the base's loss
answers        better than the base's: likeness to the references AND loss on held-out examples, both at 1 %
retention      general ability kept: intervals of what is lost lie inside a margin (an equivalence test)

`unclear` is said where the numbers could be either. Intervals are 99 % for the first three, 95 % for retention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

import numpy as np
from scipy import stats

from tunebook.evaluate.ability import Retention
from tunebook.evaluate.record import Answers, HeldOutRow, Record
from tunebook.evaluate.scores import AnswerScore, corpus_scores, score_answers, score_change
from tunebook.evaluate.stats import FEWEST, Interval, paired_difference, paired_share

ALPHA = 0.01
HOLDS = 0.01  # share of the base's held-out loss by which it may rise and still "holds"
FALLS = 0.01  # share of the first training loss; a trend that cannot have fallen by as much has not fallen
SAME_ANSWERS = 1.0  # points of likeness; answers whose gain is surely smaller are not better
ACCURACY_MARGIN = 0.05
PROSE_MARGIN = 0.10  # nats per token
BLOCKS = 200  # a long run's steps are averaged into as many blocks

Verdict = Literal["yes", "no", "unclear"]


@dataclass(frozen=True, slots=True)
class Indicator:
    """`why` is a sentence or a few for the reader; `numbers` holds at least base and tuned where they were measured."""

    id: Literal["training_loss", "validation", "answers", "retention"]
    verdict: Verdict
    why: str
    numbers: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As report.json holds it."""
        return {"id": self.id, "verdict": self.verdict, "why": self.why, "numbers": self.numbers}


def judge(record: Record) -> list[Indicator]:
    """All four, in the order in which they are shown."""
    losses = [
        (row["step"], row["values"]["training_loss"], row["values"].get("trained_tokens") or 1)
        for row in record.metrics
        if row["values"].get("training_loss") is not None
    ]
    curve = [
        (row["step"], row["values"]["validation_loss"])
        for row in record.evaluations
        if row["values"].get("validation_loss") is not None
    ]
    return [
        training_loss(losses),
        validation(record.held_out, curve, record.step),
        answers(record.answers, record.held_out),
        retention(record.retention),
    ]


def training_loss(losses: Sequence[tuple[int, float, float]]) -> Indicator:
    """Does it fall? `losses`: (optimizer step, nats per trained token, trained tokens)."""
    if len(losses) < 5:
        why = f"The run took {len(losses)} optimizer step{'s' * (len(losses) != 1)}; a trend needs at least 5."
        return Indicator("training_loss", "unclear", why, {"n": len(losses)})
    steps, values = _blocks(losses)
    tenth = max(1, round(len(losses) / 10))
    start, end = _mean(losses[:tenth]), _mean(losses[-tenth:])
    tau, two_sided = stats.kendalltau(steps, values)
    tau = 0.0 if math.isnan(tau) else float(tau)
    p = 1.0 if math.isnan(two_sided) else float(two_sided) / 2
    slope, _, low, high = (float(x) for x in stats.theilslopes(values, steps, 1 - ALPHA))
    run = steps[-1] - steps[0]
    interval = Interval(slope * run, low * run, high * run, len(losses), min(1.0, 2 * p), 1 - ALPHA)
    numbers = {"base": start, "tuned": end, "trend": interval.to_json(), "tau": tau, "p": p, "n": len(losses)}
    moved = f"from {start:.3f} to {end:.3f} nats per token over {losses[-1][0]:,} optimizer steps"
    if end >= start and (p <= ALPHA or _rose(losses, tenth)):
        return Indicator("training_loss", "no", f"Training loss did not fall: it went {moved}.", numbers)
    if tau < 0 and p <= ALPHA:
        return Indicator("training_loss", "yes", f"Training loss fell {moved} ({_p(p)}).", numbers)
    if interval.low > -FALLS * start:
        return Indicator("training_loss", "no", f"Training loss stayed where it was: {moved}.", numbers)
    why = f"Training loss went {moved}, which its own ups and downs could make as well ({_p(p)})."
    return Indicator("training_loss", "unclear", why, numbers)


def validation(
    held_out: tuple[list[HeldOutRow], list[HeldOutRow]] | None, curve: Sequence[tuple[int, float]], step: int | None
) -> Indicator:
    """Does held-out loss hold or improve, base against result, example by example? `curve`: (step, loss)."""
    if held_out is None:
        why = "No held-out examples were measured before and after, so nothing can be said."
        return Indicator("validation", "unclear", why)
    base, tuned = held_out
    change = loss_change(held_out)
    before, after = _loss(base), _loss(tuned)
    margin = HOLDS * before
    numbers: dict[str, Any] = {
        "base": before,
        "tuned": after,
        "perplexity_base": _exp(before),
        "perplexity_tuned": _exp(after),
        "interval": change.to_json(),
        "improved_share": fmean(two.loss < one.loss for one, two in zip(base, tuned, strict=True)),
        "margin": margin,
        "n": len(base),
    }
    rise = _rise(curve, step)
    numbers |= {"last": rise[1], "last_step": rise[0]} if rise else {}
    counted = _counted(len(base), change, "examples")
    moved = f"from {before:.3f} to {after:.3f} nats per token on {counted} ({change.words()})"
    after_best = (
        f" After step {step:,} it rose to {rise[1]:.3f} by step {rise[0]:,}: training went on too long, "
        "and the better checkpoint is the result."
        if rise
        else ""
    )
    if change.n < FEWEST:
        why = f"Held-out loss went {moved}; fewer than {FEWEST} examples on their own settle nothing."
        return Indicator("validation", "unclear", why + after_best, numbers)
    if change.high <= margin:
        word = "improved" if change.high < 0 else "held"
        return Indicator("validation", "yes", f"Held-out loss {word}: {moved}.{after_best}", numbers)
    if change.low > 0:
        return Indicator("validation", "no", f"Held-out loss rose {moved}.", numbers)
    why = f"Held-out loss went {moved}, which is too uncertain to tell."
    return Indicator("validation", "unclear", why + after_best, numbers)


def answers(
    answered: tuple[Answers, Answers] | None, held_out: tuple[list[HeldOutRow], list[HeldOutRow]] | None
) -> Indicator:
    """Are answers to held-out prompts better than the base's?

    Yes when likeness to the references is up AND loss on held-out examples is down, each with an interval that
    excludes no change and a chance of at most 1 % under swapping base and tuned pair by pair.
    """
    if answered is None:
        why = "No held-out prompts were answered before and after, so nothing can be said."
        return Indicator("answers", "unclear", why)
    base, tuned = answered
    scores = [score_answers([row["answer"] for row in rows], [row["reference"] for row in base]) for rows in answered]
    base_scores, tuned_scores = scores
    before, after = ([score.likeness for score in each] for each in scores)
    groups = [row.get("group", "") for row in base]
    change = paired_difference(before, after, level=1 - ALPHA, groups=groups)
    loss = loss_change(held_out) if held_out else None
    same = sum(one["answer"] == two["answer"] for one, two in zip(base, tuned, strict=True))
    numbers = {
        "base": fmean(before),
        "tuned": fmean(after),
        "interval": change.to_json(),
        "held_out_loss": loss.to_json() if loss else None,
        "same_answers": same,
        "n": len(base),
        "scores": {name: _corpus(rows, base) for name, rows in (("base", base), ("tuned", tuned))},
        "style": _style(base_scores, tuned_scores, groups),
    }
    counted = _counted(len(base), change, "prompts")
    moved = f"from {fmean(before):.1f} to {fmean(after):.1f} of 100 on {counted} ({change.words(1)})"
    if same == len(base):
        return Indicator("answers", "no", f"All {same:,} answers are the base's, word for word.", numbers)
    if change.down:
        return Indicator("answers", "no", f"Answers are less like the references than the base's: {moved}.", numbers)
    if loss and loss.up:
        why = f"Held-out references became less likely ({loss.words()}), likeness of answers went {moved}."
        return Indicator("answers", "no", why, numbers)
    if change.up and (loss is None or loss.down):
        also = "" if loss is None else f", and held-out loss fell ({loss.words()})"
        return Indicator(
            "answers", "yes", f"Answers came closer to the references: likeness rose {moved}{also}.", numbers
        )
    if change.high < SAME_ANSWERS and change.n >= FEWEST:
        return Indicator("answers", "no", f"Answers are no closer to the references: likeness went {moved}.", numbers)
    why = f"Likeness to the references went {moved}"
    why += f", while held-out loss fell ({loss.words()}): " if loss and loss.down else "; "
    return Indicator("answers", "unclear", why + "so few answers do not settle it.", numbers)


def retention(measured: tuple[Retention, Retention] | None) -> Indicator:
    """Is general ability kept? Losses must lie inside 5 points of the right choice's weight and 0.10 nats of prose."""
    if measured is None:
        return Indicator("retention", "unclear", "General ability was not measured before and after.")
    base, tuned = measured
    parts: list[tuple[str, Interval, float]] = []  # name, loss of ability (up is worse), margin
    numbers: dict[str, Any] = {"margin_accuracy": ACCURACY_MARGIN, "margin_prose": PROSE_MARGIN}
    told = []
    if base.correct and len(base.correct) == len(tuned.correct):
        share = paired_share(base.correct, tuned.correct)
        weight = paired_difference(base.weight, tuned.weight, level=0.95)
        parts += [("weight", weight.times(-1), ACCURACY_MARGIN), ("accuracy", share.times(-1), ACCURACY_MARGIN)]
        numbers |= {"base": base.accuracy, "tuned": tuned.accuracy, "interval": share.to_json(), "n": share.n}
        numbers |= {"weight_base": fmean(base.weight), "weight_tuned": fmean(tuned.weight), "weight": weight.to_json()}
        told.append(
            f"right answers to {share.n:,} general questions went from {_percent(base.accuracy)} to "
            f"{_percent(tuned.accuracy)}, the weight on the right choice from {_percent(fmean(base.weight))} to "
            f"{_percent(fmean(tuned.weight))} ({weight.times(100).words(1, 'points')})"
        )
    if base.prose and len(base.prose) == len(tuned.prose):
        before, after = ([nats / max(1, tokens) for nats, tokens in each.prose] for each in measured)
        prose = paired_difference(before, after, [tokens for _, tokens in base.prose], level=0.95)
        parts.append(("prose", prose, PROSE_MARGIN))
        numbers |= {"prose_base": base.prose_loss, "prose_tuned": tuned.prose_loss, "prose": prose.to_json()}
        told.append(f"loss on plain prose from {base.prose_loss:.3f} to {tuned.prose_loss:.3f} ({prose.words()})")
    for name in sorted(base.tasks.keys() & tuned.tasks.keys()):
        if len(base.tasks[name]) == len(tuned.tasks[name]):
            change = paired_difference(base.tasks[name], tuned.tasks[name], level=0.95)
            parts.append(("task", change.times(-1), ACCURACY_MARGIN))
            shares = {"base": fmean(base.tasks[name]), "tuned": fmean(tuned.tasks[name])}
            numbers.setdefault("tasks", {})[name] = shares | {"interval": change.to_json()}
            moved = f"from {_percent(shares['base'])} to {_percent(shares['tuned'])}"
            told.append(f"{name} {moved} ({change.times(100).words(1, 'points')})")
    if not parts:
        return Indicator("retention", "unclear", "General ability was not measured alike before and after.", numbers)
    facts = "; ".join(told) + "."
    facts = facts[0].upper() + facts[1:]
    margins = f"{100 * ACCURACY_MARGIN:.0f} points and {PROSE_MARGIN:.2f} nats"
    if any(lost.low > margin for _, lost, margin in parts):
        return Indicator("retention", "no", f"General ability was lost beyond {margins}. {facts}", numbers)
    # right or wrong changes too seldom to be bounded by a small probe set; its weight bounds it, its mean must agree
    if all((lost.mean if name in ("accuracy", "task") else lost.high) < margin for name, lost, margin in parts):
        return Indicator("retention", "yes", f"General ability was kept within {margins}. {facts}", numbers)
    return Indicator("retention", "unclear", f"The change could be inside or outside {margins}. {facts}", numbers)


def loss_change(held_out: tuple[list[HeldOutRow], list[HeldOutRow]]) -> Interval:
    """Change of held-out loss in nats per trained token, base to tuned."""
    base = held_out[0]
    weights = [row.tokens for row in base]
    before, after = ([row.loss for row in rows] for rows in held_out)
    return paired_difference(before, after, weights, level=1 - ALPHA, groups=[row.group for row in base])


def _counted(count: int, change: Interval, what: str) -> str:
    """How many there were, and how many groups of them where some belong together."""
    return f"{count:,} {what}" + (f" of {change.n:,} groups" if change.n < count else "")


def _blocks(losses: Sequence[tuple[int, float, float]]) -> tuple[list[float], list[float]]:
    """Steps and losses, averaged into at most BLOCKS blocks of neighbours."""
    parts = np.array_split(np.arange(len(losses)), min(BLOCKS, len(losses)))
    chosen = [[losses[i] for i in part] for part in parts]
    return [fmean(step for step, _, _ in part) for part in chosen], [_mean(part) for part in chosen]


def _mean(losses: Sequence[tuple[int, float, float]]) -> float:
    return sum(loss * tokens for _, loss, tokens in losses) / sum(tokens for _, _, tokens in losses)


def _rose(losses: Sequence[tuple[int, float, float]], tenth: int) -> bool:
    """Are the last `tenth` steps surely above the first (Welch's t-test), whatever lay between?"""
    first, last = ([loss for _, loss, _ in part] for part in (losses[:tenth], losses[-tenth:]))
    if tenth < 3 or fmean(last) <= fmean(first):
        return False
    return bool(stats.ttest_ind(first, last, equal_var=False, alternative="less").pvalue <= ALPHA)


def _rise(curve: Sequence[tuple[int, float]], step: int | None) -> tuple[int, float] | None:
    """The last evaluation, when it is over 1 % above that of the result."""
    at = dict(curve)
    if step not in at or not curve:
        return None
    last_step, last = curve[-1]
    return (last_step, last) if last_step > step and last > at[step] * (1 + HOLDS) else None


def _loss(rows: Sequence[HeldOutRow]) -> float:
    return sum(row.nats for row in rows) / sum(row.tokens for row in rows)


def _corpus(rows: Answers, base: Answers) -> dict[str, float]:
    found = corpus_scores([row["answer"] for row in rows], [row["reference"] for row in base])
    return found | {"tokens": fmean(row["tokens"] for row in rows), "ended": fmean(row["ended"] for row in rows)}


def _style(base: Sequence[AnswerScore], tuned: Sequence[AnswerScore], groups: Sequence[str]) -> dict[str, Any]:
    """Paired change of length, format and likeness, whatever the verdict: what a house style is judged by."""
    names = ("chrf", "rouge_l", "exact_match", "length_ratio", "length_likeness", "format_likeness")
    return {name: score_change(base, tuned, name, 1 - ALPHA, groups).to_json() for name in names}


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
