"""How like its reference an answer is: BLEU and chrF (sacrebleu), ROUGE-L (rouge-score), exact match, style. 0 to 100.

BLEU is a measure of whole sets of answers; a single answer's is smoothed and only good for sorting.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from statistics import fmean, median
from typing import Any

from tunebook.evaluate.stats import Interval, paired_difference, paired_share

References = Sequence[str | Sequence[str]]  # one reference an answer, or several

_CHINESE_JAPANESE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_CHINESE_JAPANESE}]|[^\W_{_CHINESE_JAPANESE}]+")
_MARKS = {
    "line": re.compile(r"^.*\S.*$", re.M),
    "paragraph": re.compile(r"\n\s*\n"),
    "bullet": re.compile(r"^\s*[-*+•] ", re.M),
    "number": re.compile(r"^\s*\d+[.)] ", re.M),
    "heading": re.compile(r"^#{1,6} ", re.M),
    "label": re.compile(r"^\s*[A-Z][\w ]{0,20}:", re.M),
    "fence": re.compile(r"^\s*```", re.M),
    "code": re.compile(r"(?<!`)`[^`\n]+`"),
    "bold": re.compile(r"\*\*[^*\n]+\*\*"),
    "row": re.compile(r"^\s*\|.*\|\s*$", re.M),
    "question": re.compile(r"\?"),
    "exclamation": re.compile(r"!"),
}


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """One answer against its reference: each 0 to 100, but `length_ratio` is words of the answer / of the reference."""

    bleu: float
    chrf: float
    rouge_l: float
    exact_match: float
    length_ratio: float
    length_likeness: float
    format_likeness: float

    @property
    def likeness(self) -> float:
        """Mean of chrF (characters) and ROUGE-L (words in order): what the success report compares."""
        return (self.chrf + self.rouge_l) / 2

    def to_json(self) -> dict[str, float]:
        """As stored in reports."""
        return asdict(self) | {"likeness": self.likeness}


def score_answers(answers: Sequence[str], references: References) -> list[AnswerScore]:
    """Score each answer against its reference; with several references the best of each counts."""
    return [_score(answer, _several(reference)) for answer, reference in zip(answers, references, strict=True)]


def corpus_scores(answers: Sequence[str], references: References) -> dict[str, float]:
    """Scores of a whole set: `bleu` and `chrf` over all answers at once, means of the others; empty without answers."""
    if not answers:
        return {}
    each = score_answers(answers, references)
    streams = _streams(references)
    result = {name: float(metric.corpus_score(list(answers), streams).score) for name, metric in _corpus().items()}
    for name in ("rouge_l", "exact_match", "length_ratio", "length_likeness", "format_likeness"):
        result[name] = fmean(getattr(score, name) for score in each)
    return result


def score_change(
    base: Sequence[AnswerScore], tuned: Sequence[AnswerScore], name: str, level: float, groups: Sequence[str]
) -> Interval:
    """Paired change of one score: of a share where it is yes or no of answers that stand alone, else of a mean."""
    before, after = ([getattr(score, name) for score in scores] for scores in (base, tuned))
    change = paired_difference(before, after, level=level, groups=groups)
    if name == "exact_match" and change.n == len(before):
        return paired_share([value > 0 for value in before], [value > 0 for value in after], level=level).times(100)
    return change


def signatures(references: References) -> dict[str, str]:
    """sacrebleu's signatures of `bleu` and `chrf` for such references: what others need to get the same numbers."""
    metrics = _corpus()
    for metric in metrics.values():
        metric.corpus_score([""] * len(references), _streams(references))
    return {name: str(metric.get_signature()) for name, metric in metrics.items()}


def lengths(tokens: Sequence[int], ended: Sequence[bool]) -> dict[str, float]:
    """Distribution of answer lengths in tokens, and the share that never ended (cut at the limit)."""
    if not tokens:
        return {}
    ordered = sorted(tokens)
    last = len(ordered) - 1
    return {
        "mean": fmean(ordered),
        "least": ordered[0],
        "tenth": ordered[round(0.1 * last)],
        "median": median(ordered),
        "ninetieth": ordered[round(0.9 * last)],
        "most": ordered[-1],
        "unended": 1 - sum(ended) / len(ended),
    }


@lru_cache(4096)  # a report asks for the same answers more than once
def _score(answer: str, references: tuple[str, ...]) -> AnswerScore:
    bleu, chrf, rouge = _scorers()
    words = len(answer.split())
    reference_words = [len(reference.split()) for reference in references]
    near = min(reference_words, key=lambda count: abs(count - words))
    return AnswerScore(
        bleu=float(bleu.sentence_score(answer, references).score),
        chrf=float(chrf.sentence_score(answer, references).score),
        rouge_l=100 * max(rouge.score(reference, answer)["rougeL"].fmeasure for reference in references),
        exact_match=100.0 * (answer.strip() in {reference.strip() for reference in references}),
        length_ratio=words / max(1, near),
        length_likeness=100 * (min(words, near) / max(words, near) if max(words, near) else 1.0),
        format_likeness=max(_format_likeness(answer, reference) for reference in references),
    )


def _format_likeness(answer: str, reference: str) -> float:
    """Marks of format that both have, over marks that either has: lines, lists, code, labels, how the text ends."""
    one, two = _marks(answer), _marks(reference)
    either = (one | two).total()
    return 100 * (one & two).total() / either if either else 100.0


def _marks(text: str) -> Counter[str]:
    marks = Counter({name: len(pattern.findall(text)) for name, pattern in _MARKS.items()})
    stripped = text.strip()
    if stripped:
        marks["starts " + ("capital" if stripped[0].isupper() else "small" if stripped[0].islower() else "other")] = 1
        marks["ends " + (stripped[-1] if not stripped[-1].isalnum() else "word")] = 1
    return marks


def _several(reference: str | Sequence[str]) -> tuple[str, ...]:
    return (reference,) if isinstance(reference, str) else tuple(reference)


class _Words:
    """rouge-score's splitting into lower-case words, but for letters of every script: its own drops all but a to z."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


def _streams(references: References) -> list[list[str | None]]:
    """References as sacrebleu takes them: the first of each answer, the second of each, and so on."""
    rows = list(map(_several, references))
    return [[row[place] if place < len(row) else None for row in rows] for place in range(max(map(len, rows)))]


def _corpus() -> dict[str, Any]:
    metrics: Any = importlib.import_module("sacrebleu.metrics")
    return {"bleu": metrics.BLEU(), "chrf": metrics.CHRF()}


@cache
def _scorers() -> tuple[Any, Any, Any]:
    from rouge_score.rouge_scorer import RougeScorer

    metrics: Any = importlib.import_module("sacrebleu.metrics")
    return metrics.BLEU(effective_order=True), metrics.CHRF(), RougeScorer(["rougeL"], tokenizer=_Words())
