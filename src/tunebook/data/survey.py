"""One pass over a data file: every row read, checked, rendered and written; memory does not grow with the file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tunebook.data.conversation import Conversation, Problem
from tunebook.data.examples import Example, ExampleWriter
from tunebook.data.findings import Findings, TokenFindings
from tunebook.data.read import Source
from tunebook.data.render import Rendered, TooLong, fit, render_texts, tokenize
from tunebook.data.template import Template

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides about rows beside their content."""

    max_length: int = 1024
    too_long: TooLong = "drop"
    duplicates: Literal["keep", "drop"] = "drop"


class Survey:
    """The pass, and what it has found so far."""

    def __init__(self, source: Source, template: Template | None, settings: Settings, folder: Path) -> None:
        self.source, self.template, self.settings, self.folder = source, template, settings, folder
        self.findings = Findings(source.shape.name if source.shape else "unknown", source.kind)
        self.written = folder / "rows.arrow"
        if template:
            self.findings.tokens = TokenFindings(settings.max_length, settings.too_long, template.end_of_turn)
            self.findings.tokens.end_of_turn_trained = template.end_of_turn is not None

    def run(self) -> Findings:
        """Read the whole file; leaves `rows.arrow` (with a template) and `quarantine.jsonl` in the folder."""
        quarantine = (self.folder / "quarantine.jsonl").open("w", encoding="utf-8")
        with quarantine as self._quarantine, ExampleWriter(self.written) as writer:
            for batch in _batches(self.source.conversations()):
                for example in self._batch(batch):
                    writer.add(example)
        return self.findings

    def _batch(self, batch: list[Conversation | Problem]) -> Iterator[Example]:
        self.findings.rows += len(batch)
        rows = [item for item in batch if isinstance(item, Conversation)]
        for item in batch:
            if isinstance(item, Problem):
                self._problem(item)
        if self.template is None:
            self.findings.good += len(rows)
            return
        texts = render_texts(rows, self.template)
        rendered = [item for item in texts if isinstance(item, Rendered)]
        for text in texts:
            if isinstance(text, Problem):
                self._problem(text)
            elif self.findings.tokens:
                self.findings.tokens.turns_with_thinking_dropped += text.thinking_dropped
        for made in tokenize(rendered, self.template):
            fitted = self._fit(made) if isinstance(made, Example) else made
            if isinstance(fitted, Example):
                self.findings.good += 1
                yield fitted
            else:
                self._problem(fitted)

    def _fit(self, example: Example) -> Example | Problem:
        """Count the example's tokens, and what each policy for long ones would cost."""
        tokens = self.findings.tokens
        assert tokens is not None
        assert self.template is not None
        limit, bos = self.settings.max_length, self.template.tokenizer.bos_token_id
        length, trained = len(example.ids), int(example.trained.sum())
        top = 1 << max(4, (length - 1).bit_length())
        tokens.histogram[top] = tokens.histogram.get(top, 0) + 1
        tokens.longest = max(tokens.longest, length)
        tokens.rows_with_double_bos += bool(length > 1 and example.ids[0] == example.ids[1] == bos)
        fitted = fit(example, limit, self.settings.too_long, bos)
        if length > limit:
            cut = fit(example, limit, "cut", bos)
            tokens.rows_over += 1
            tokens.if_dropped["rows"] += 1
            tokens.if_dropped["answer_tokens"] += trained
            tokens.if_cut["rows"] += isinstance(cut, Problem)
            tokens.if_cut["answer_tokens"] += trained - (0 if isinstance(cut, Problem) else int(cut.trained.sum()))
            tokens.rows_lost += isinstance(fitted, Problem)
            tokens.answer_tokens_lost += trained - (0 if isinstance(fitted, Problem) else int(fitted.trained.sum()))
        if isinstance(fitted, Example):
            tokens.total += len(fitted.ids)
            tokens.trained += int(np.count_nonzero(fitted.trained))
        return fitted

    def _problem(self, problem: Problem) -> None:
        self.findings.add(problem)
        if problem.severity == "error":
            row = problem.raw.decode("utf-8", "backslashreplace") if isinstance(problem.raw, bytes) else problem.raw
            line = {**problem.to_json(), "row": row}
            text = json.dumps(line, ensure_ascii=False, default=str)
            self._quarantine.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def _batches(items: Iterator[Conversation | Problem]) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(items, _ROWS_AT_ONCE)):
        yield batch
