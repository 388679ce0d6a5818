"""What the gate found in a data set: counts, the first problems with their places, and what the model will see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunebook.data.conversation import Problem
from tunebook.data.examples import Example

MAX_ERRORS = 1000
MAX_WARNINGS = 100


@dataclass(slots=True)
class Lost:
    """Whole rows, and tokens of answers, that a limit costs."""

    rows: int = 0
    answer_tokens: int = 0

    def lose(self, before: Example, after: Example | Problem | None) -> None:
        """Count what is missing of `before` in `after`; all of it when that is no example."""
        left = int(after.trained.sum()) if isinstance(after, Example) else 0
        self.rows += not isinstance(after, Example)
        self.answer_tokens += int(before.trained.sum()) - left


@dataclass(slots=True)
class TokenFindings:
    """What the model's own tokens show.

    `lost` is what the chosen policy for rows over the limit costs; `if_dropped` and `if_cut` are what either would.
    `histogram` counts rows by length, up to the power of two that is its key.
    """

    limit: int
    policy: str
    end_of_turn: str | None
    end_of_turn_trained: bool
    bos: int | None = None
    total: int = 0
    trained: int = 0
    longest: int = 0
    histogram: dict[int, int] = field(default_factory=dict)
    rows_over: int = 0
    lost: Lost = field(default_factory=Lost)
    if_dropped: Lost = field(default_factory=Lost)
    if_cut: Lost = field(default_factory=Lost)
    rows_with_double_bos: int = 0
    rows_that_differ_at_inference: int = 0
    turns_with_thinking_dropped: int = 0
    rows_with_tools_as_text: int = 0

    def see_length(self, length: int) -> None:
        """Count one row of `length` tokens."""
        top = 1 << max(4, (length - 1).bit_length())
        self.histogram[top] = self.histogram.get(top, 0) + 1
        self.longest = max(self.longest, length)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the histogram as a list of `{"up_to", "rows"}` from short to long."""
        histogram = [{"up_to": top, "rows": rows} for top, rows in sorted(self.histogram.items())]
        return {**asdict(self), "histogram": histogram}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TokenFindings:
        """What `to_json` wrote."""
        made = {name: Lost(**value[name]) for name in ("lost", "if_dropped", "if_cut")}
        histogram = {item["up_to"]: item["rows"] for item in value["histogram"]}
        return cls(**{**value, **made, "histogram": histogram})


@dataclass(slots=True)
class Findings:
    """`rows` is how many the file has, `bad` how many of them have an error, `good` the others, and `examples` what is
    left for training once long and duplicate rows went as the plan says. `problems` holds the first MAX_ERRORS errors
    and the first MAX_WARNINGS of each kind of warning; `counts` has every one, by code. `private` counts by kind."""

    format: str = "unknown"
    kind: str = ""
    rows: int = 0
    good: int = 0
    bad: int = 0
    examples: int = 0
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    near_duplicates: int = 0
    leaks: int = 0
    private: dict[str, int] = field(default_factory=dict)
    tokens: TokenFindings | None = None

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it while there is room."""
        self.counts[problem.code] += 1
        error = problem.severity == "error"
        self.bad += error
        if self.bad <= MAX_ERRORS if error else self.counts[problem.code] <= MAX_WARNINGS:
            self.problems.append(problem)

    @property
    def errors(self) -> list[Problem]:
        """The problems kept that make a row bad."""
        return [problem for problem in self.problems if problem.severity == "error"]

    def error_counts(self) -> dict[str, int]:
        """How many rows are bad, by code, the most frequent first."""
        codes = {problem.code for problem in self.errors}
        return {code: count for code, count in self.counts.most_common() if code in codes}

    def to_json(self) -> dict[str, Any]:
        """The object of `tunebook data check --json`, problems by line."""
        value = {name: getattr(self, name) for name in self.__slots__}
        value["problems"] = [problem.to_json() for problem in sorted(self.problems, key=lambda item: item.line)]
        return {**value, "counts": dict(self.counts), "tokens": self.tokens.to_json() if self.tokens else None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Findings:
        """What `to_json` wrote."""
        problems = [Problem(**item) for item in value["problems"]]
        tokens = TokenFindings.from_json(value["tokens"]) if value["tokens"] else None
        return cls(**{**value, "problems": problems, "counts": Counter(value["counts"]), "tokens": tokens})
