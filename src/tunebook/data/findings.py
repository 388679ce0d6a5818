"""What the gate found in a data set: counts, the first problems with their places, and what the model will see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunebook.data.conversation import Problem

MAX_PROBLEMS = 1000


@dataclass(slots=True)
class TokenFindings:
    """What the model's own tokens show. Rows over the limit are counted under every policy, whichever is chosen."""

    limit: int
    policy: str
    end_of_turn: str | None
    end_of_turn_trained: bool = True
    total: int = 0
    trained: int = 0
    longest: int = 0
    histogram: dict[int, int] = field(default_factory=dict)
    rows_over: int = 0
    rows_lost: int = 0
    answer_tokens_lost: int = 0
    if_dropped: dict[str, int] = field(default_factory=lambda: {"rows": 0, "answer_tokens": 0})
    if_cut: dict[str, int] = field(default_factory=lambda: {"rows": 0, "answer_tokens": 0})
    rows_without_trained: int = 0
    rows_with_double_bos: int = 0
    rows_that_differ_at_inference: int = 0
    turns_with_thinking_dropped: int = 0
    tool_calls_as_text: int = 0


@dataclass(slots=True)
class Findings:
    """`problems` holds the first MAX_PROBLEMS; `counts` has every one, by code. `good` rows are what can be trained."""

    format: str = "unknown"
    file: str = ""
    rows: int = 0
    good: int = 0
    bad: int = 0
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    near_duplicates: int = 0
    private: dict[str, int] = field(default_factory=dict)
    tokens: TokenFindings | None = None

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it while there is room."""
        self.counts[problem.code] += 1
        if problem.severity == "error":
            self.bad += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    @property
    def errors(self) -> list[Problem]:
        """The problems kept that leave a row out as bad."""
        return [problem for problem in self.problems if problem.severity == "error"]

    def to_json(self) -> dict[str, Any]:
        """The object of `tunebook data check --json`."""
        from dataclasses import asdict

        tokens = asdict(self.tokens) if self.tokens else None
        if tokens:
            tokens["histogram"] = [{"up_to": top, "rows": rows} for top, rows in sorted(tokens["histogram"].items())]
        return {
            "format": self.format,
            "file": self.file,
            "rows": self.rows,
            "good": self.good,
            "bad": self.bad,
            "problems": [problem.to_json() for problem in sorted(self.problems, key=lambda item: item.line)],
            "problem_counts": dict(self.counts),
            "duplicates": self.duplicates,
            "near_duplicates": self.near_duplicates,
            "private": self.private,
            "tokens": tokens,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Findings:
        """The findings that `to_json` wrote."""
        tokens = dict(value["tokens"]) if value["tokens"] else None
        if tokens:
            tokens["histogram"] = {item["up_to"]: item["rows"] for item in tokens["histogram"]}
        return cls(
            format=value["format"],
            file=value["file"],
            rows=value["rows"],
            good=value["good"],
            bad=value["bad"],
            problems=[Problem(**item) for item in value["problems"]],
            counts=Counter(value["problem_counts"]),
            duplicates=value["duplicates"],
            near_duplicates=value["near_duplicates"],
            private=dict(value["private"]),
            tokens=TokenFindings(**tokens) if tokens else None,
        )
