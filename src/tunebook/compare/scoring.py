"""What the answers of one side are worth, and how they differ from those of the first: with intervals, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tunebook.compare.answering import TIMED, Answers, Reply
from tunebook.compare.questions import Question
from tunebook.compare.sides import Side, is_base_of
from tunebook.evaluate.indicators import retention
from tunebook.evaluate.review import read_reviews
from tunebook.evaluate.scores import AnswerScore, corpus_scores, lengths, score_answers, score_change
from tunebook.evaluate.stats import FEWEST, Interval, paired_difference, paired_share, share_interval

LEVEL = 0.95
AS_FAST, SLOWER = 0.9, 0.67  # share of the first side's tokens a second: as fast from the one on, slower below it
UNLIKE = 2  # times as long: answers whose tokens a second are not compared, since they hold the reading of the question
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
    groups = [question.group for question, score in zip(questions, scores, strict=True) if score]
    means = {
        name: _around(name, [getattr(score, name) for score in known], groups)
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


def changes(
    questions: Sequence[Question], first: Sequence[AnswerScore | None], other: Sequence[AnswerScore | None]
) -> dict[str, Interval]:
    """Paired change from the first side to the other, of each score that single answers have."""
    pairs = [(q.group, one, two) for q, one, two in zip(questions, first, other, strict=True) if one and two]
    if not pairs:
        return {}
    names = ("likeness", "rouge_l", "chrf", "exact_match", "format_likeness", "length_likeness")
    groups, before, after = zip(*pairs, strict=True)
    return {name: score_change(before, after, name, LEVEL, groups) for name in names}


def findings(order: Sequence[str], changed: dict[str, Interval], first: Answers, other: Answers) -> list[Verdict]:
    """For what the reader cares about, in that order: `{"about", "verdict": yes, no or unclear, "why"}`."""
    found = {
        "answers": _changed(changed, "likeness", "Likeness to the references"),
        "ability": _ability(first, other),
        "form": _changed(changed, "format_likeness", "Likeness of form (lists, labels, lines) to the references"),
        "length": _changed(changed, "length_likeness", "Likeness of length to the references"),
        "speed": _faster(_speed(first.replies), _speed(other.replies)),
    }
    return [{"about": name, **found[name]} for name in order]


def review_verdicts(side: Side, first: Side) -> dict[str, Any] | None:
    """What people found blindly of this side against the first, answer by answer: wins, ties, losses.

    Where several judged one answer, the mean of their verdicts decides. Only a run against its own base has any.
    """
    if side.run is None or side.step is None:
        return None
    rows = [row for row in read_reviews(side.run.folder) if row["kind"] == "answer" and row["step"] == side.step]
    rows = [row for row in rows if row["blind"]]
    if not rows or not is_base_of(first, side):
        return None
    worth: Counter[str] = Counter()
    for row in rows:
        worth[row["id"]] += {"better": 1, "same": 0, "worse": -1}[row["verdict"]]
    better, worse = [value > 0 for value in worth.values()], [value < 0 for value in worth.values()]
    counts = {"better": sum(better), "same": len(worth) - sum(better) - sum(worse), "worse": sum(worse)}
    interval = paired_share(worse, better, level=LEVEL)
    return {**counts, "reviewers": len({row["reviewer"] for row in rows}), "interval": interval.to_json()}


def _around(name: str, values: Sequence[float], groups: Sequence[str]) -> dict[str, Any]:
    """The mean of one score with its interval, which is None where a bootstrap of so few would be too narrow."""
    found = paired_difference([0.0] * len(values), values, level=LEVEL, groups=groups)
    low, high = (found.low, found.high) if found.n >= FEWEST else (None, None)
    if name == "exact_match" and found.n == len(values):
        low, high = (100 * end for end in share_interval([value > 0 for value in values], level=LEVEL))
    return {"mean": fmean(values), "low": low, "high": high, "n": len(values)}


def _speed(replies: Sequence[Reply]) -> dict[str, float | None]:
    """Of the answers that were asked for alone: seconds and tokens of one, and tokens a second over them."""
    timed = [(reply.seconds, reply.tokens) for reply in replies[:TIMED] if reply.seconds]
    if not timed:
        return {"seconds": None, "tokens": None, "tokens_per_second": None}
    seconds = fmean(seconds for seconds, _ in timed)
    tokens = fmean(tokens or 0 for _, tokens in timed) or None
    return {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds if tokens else None}


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


def _faster(first: dict[str, float | None], other: dict[str, float | None]) -> Verdict:
    before, after = first["tokens_per_second"], other["tokens_per_second"]
    if not before or not after or not first["tokens"] or not other["tokens"]:
        return {"verdict": "unclear", "why": "The tokens of the answers were not counted on both."}
    told = f"{after:.1f} tokens a second against {before:.1f}, over {TIMED} answers"
    if max(first["tokens"], other["tokens"]) > UNLIKE * min(first["tokens"], other["tokens"]):
        length = f"of {other['tokens']:.0f} tokens against {first['tokens']:.0f}"
        return {"verdict": "unclear", "why": f"{told} {length}: reading the question slows short answers more."}
    verdict = "yes" if after >= AS_FAST * before else "no" if after < SLOWER * before else "unclear"
    return {"verdict": verdict, "why": f"{told}."}
