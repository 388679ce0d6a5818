"""What the answers of one side are worth, and how they differ from those of the first: with intervals, in words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tunebook.compare.answering import TIMED, Answers, Reply
from tunebook.compare.questions import Question
from tunebook.compare.sides import Side, is_base_of
from tunebook.evaluate.indicators import retention
from tunebook.evaluate.review import read_reviews
from tunebook.evaluate.scores import AnswerScore, corpus_scores, lengths, score_answers
from tunebook.evaluate.stats import Interval, paired_difference

LEVEL = 0.95
AS_FAST, SLOWER = (
    0.9,
    0.67,
)  # share of the first side's tokens a second: as fast from the one on, slower below the other
Verdict = dict[str, Any]


def score_side(questions: Sequence[Question], answers: Answers) -> list[AnswerScore | None]:
    """A score for each question that has a reference."""
    told = [(q.reference, reply.text) for q, reply in zip(questions, answers.replies, strict=True)]
    return [None if reference is None else score_answers([text], [reference])[0] for reference, text in told]


def summary(
    questions: Sequence[Question], answers: Answers, scores: Sequence[AnswerScore | None], names: Sequence[str]
) -> dict[str, Any]:
    """`scores` {name: {"mean", "low", "high", "n"}} in points of 100, `lengths` in tokens, `speed`."""
    replies, known = answers.replies, [score for score in scores if score]
    means = {
        name: _around([getattr(score, name) for score in known])
        for name in ("likeness", *(name for name in names if name != "bleu"))
        if known
    }
    if known and "bleu" in names:  # a measure of the whole set: no interval from single answers
        asked = [(q.reference, r.text) for q, r in zip(questions, replies, strict=True) if q.reference is not None]
        value = corpus_scores([text for _, text in asked], [reference for reference, _ in asked])["bleu"]
        means["bleu"] = {"mean": value, "low": None, "high": None, "n": len(asked)}
    counted = [(reply.tokens, reply.ended) for reply in replies if reply.tokens is not None]
    return {
        "scores": means,
        "lengths": lengths([tokens for tokens, _ in counted], [ended for _, ended in counted]),
        "speed": _speed(replies),
        "ability": answers.ability.to_json() if answers.ability else None,
    }


def changes(first: Sequence[AnswerScore | None], other: Sequence[AnswerScore | None]) -> dict[str, Interval]:
    """Paired change from the first side to the other, of each score that single answers have."""
    pairs = [(one, two) for one, two in zip(first, other, strict=True) if one and two]
    if not pairs:
        return {}
    return {
        name: paired_difference(
            [getattr(one, name) for one, _ in pairs], [getattr(two, name) for _, two in pairs], level=LEVEL
        )
        for name in ("likeness", "rouge_l", "chrf", "exact_match", "format_likeness", "length_likeness")
    }


def findings(order: Sequence[str], changed: dict[str, Interval], first: Answers, other: Answers) -> list[Verdict]:
    """For what the reader cares about, in that order: `{"about", "verdict": yes, no or unclear, "why"}`."""
    found = {
        "answers": _changed(changed, "likeness", "Likeness to the references"),
        "ability": _ability(first, other),
        "form": _changed(changed, "format_likeness", "Likeness of form (lists, labels, lines) to the references"),
        "length": _changed(changed, "length_likeness", "Likeness of length to the references"),
        "speed": _faster(*(_speed(side.replies)["tokens_per_second"] for side in (first, other))),
    }
    return [{"about": name, **found[name]} for name in order]


def review_verdicts(side: Side, first: Side) -> dict[str, Any] | None:
    """People's verdicts on this side against the first: wins, ties, losses. Only a run against its own base has any."""
    if side.run is None or side.step is None or not is_base_of(first, side):
        return None
    rows = [row for row in read_reviews(side.run.folder) if row["kind"] == "answer" and row["step"] == side.step]
    told = [row["verdict"] for row in rows]
    if not told:
        return None
    worth = [{"better": 1.0, "same": 0.0, "worse": -1.0}[verdict] for verdict in told]
    interval = paired_difference([0.0] * len(worth), worth, level=LEVEL)
    counts = {name: told.count(name) for name in ("better", "same", "worse")}
    return {**counts, "reviewers": len({row["reviewer"] for row in rows}), "interval": interval.to_json()}


def _around(values: Sequence[float]) -> dict[str, Any]:
    """The mean of some values with its interval."""
    found = paired_difference([0.0] * len(values), values, level=LEVEL)
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": len(values)}


def _speed(replies: Sequence[Reply]) -> dict[str, float | None]:
    """Of the answers that were asked for alone: seconds for one, and tokens a second over them."""
    timed = [(reply.seconds, reply.tokens) for reply in replies[:TIMED] if reply.seconds]
    if not timed:
        return {"seconds": None, "tokens_per_second": None}
    seconds = [seconds for seconds, _ in timed]
    tokens = sum(tokens or 0 for _, tokens in timed)
    return {"seconds": fmean(seconds), "tokens_per_second": tokens / sum(seconds) if tokens else None}


def _changed(changed: dict[str, Interval], name: str, what: str) -> Verdict:
    if name not in changed:
        return {"verdict": "unclear", "why": "The questions have no references to compare with."}
    found = changed[name]
    verdict = "yes" if found.up else "no" if found.down else "unclear"
    word = {"yes": "rose", "no": "fell", "unclear": "may have gone either way"}[verdict]
    return {"verdict": verdict, "why": f"{what} {word}: {found.words(1, 'points')} on {found.n} questions."}


def _ability(first: Answers, other: Answers) -> Verdict:
    if first.ability is None or other.ability is None:
        return {"verdict": "unclear", "why": "General ability was not measured on both."}
    found = retention((first.ability, other.ability))
    return {"verdict": found.verdict, "why": found.why}


def _faster(first: float | None, other: float | None) -> Verdict:
    if not first or not other:
        return {"verdict": "unclear", "why": "The tokens of the answers were not counted on both."}
    verdict = "yes" if other >= AS_FAST * first else "no" if other < SLOWER * first else "unclear"
    return {"verdict": verdict, "why": f"{other:.1f} tokens a second against {first:.1f}, over {TIMED} answers."}
