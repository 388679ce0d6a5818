"""One pass over a data file: every row read, checked, rendered and written; memory does not grow with the file.

It leaves in its folder: `examples.arrow` (what can be trained, in file order), `index/` (what duplicates are found by)
and `quarantine.jsonl` (the bad rows, each with line, code and reason).
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from tunebook.data.conversation import Conversation, Problem
from tunebook.data.duplicates import RowIndex, find_duplicates
from tunebook.data.encode import Encoder, Encoding, all_cores
from tunebook.data.examples import Example, ExampleWriter, copy_examples
from tunebook.data.findings import Findings, TokenFindings
from tunebook.data.mix import Mixture
from tunebook.data.private import PERSONAL, find_private
from tunebook.data.read import Source
from tunebook.data.render import Rendered, TooLong, fit, group_of, render_texts, tokenize
from tunebook.data.template import Template

_ROWS_AT_ONCE = 256
_CHARACTERS_AT_ONCE = 2**21


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides about rows beside their content."""

    max_length: int = 1024
    too_long: TooLong = "drop"
    duplicates: Literal["keep", "drop"] = "drop"


class Survey:
    """The pass, and what it has found so far. Without a template nothing is rendered and no example is written."""

    def __init__(
        self,
        source: Source | Mixture,
        template: Template | None,
        settings: Settings,
        folder: Path,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.source, self.template, self.settings, self.folder = source, template, settings, folder
        self.progress = progress or (lambda rows: None)
        self.findings = Findings(source.form, source.kind)
        self.index = RowIndex(folder / "index")
        if source.unused:
            message = f"columns of text that are not used: {', '.join(source.unused)}; a mapping (--columns) takes them"
            self.findings.add(Problem(1, "unused_columns", message, "warning"))
        if template:
            if template.dated:
                message = "the chat template writes the date of the day: checked on another day, rows have other tokens"
                self.findings.add(Problem(1, "dated_template", message, "warning"))
            stop = template.end_of_turn
            self.findings.tokens = TokenFindings(
                settings.max_length, settings.too_long, stop, stop is not None, template.tokenizer.bos_token_id
            )

    def run(self) -> Findings:
        """Read the whole file and fill the folder."""
        rows = self.folder / "rows.arrow"
        with (
            (self.folder / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine,
            ExampleWriter(rows) as writer,
            self.index,
        ):
            for problem in self._pass(writer):
                self.findings.add(problem)
                if problem.severity == "error":
                    _set_aside(problem, quarantine)
        self._leave_out_duplicates(rows)
        rows.unlink()
        return self.findings

    def _pass(self, writer: ExampleWriter) -> Iterator[Problem]:
        """Write what is good of every row; yields what is wrong with the others.

        While the tokenizer, which needs no Python, encodes some rows in a thread of its own, the next are read here.
        """
        encode = Encoder(self.template.tokenizer) if self.template else None
        first = True
        with all_cores(), _old_objects_left_alone(), ThreadPoolExecutor(1) as thread:
            under_way: tuple[list[Rendered], Future[list[Encoding]]] | None = None
            for batch in _batches(self.source.conversations()):
                self.findings.rows += len(batch)
                self.progress(self.findings.rows)
                yield from (item for item in batch if isinstance(item, Problem))
                good = [item for item in batch if isinstance(item, Conversation)]
                yield from self._private(good)
                if self.template is None or encode is None:
                    self.index.add(good, [group_of(row) for row in good])
                    continue
                texts = render_texts(good, self.template)
                yield from (text for text in texts if isinstance(text, Problem))
                rendered = [text for text in texts if isinstance(text, Rendered)]
                if first:
                    yield from self._as_inference_encodes(rendered, encode)
                    first = False
                encodings = thread.submit(encode, [text.text for text in rendered])
                if under_way:
                    yield from self._write(*under_way, writer)
                under_way = rendered, encodings
            if under_way:
                yield from self._write(*under_way, writer)

    def _as_inference_encodes(self, rendered: list[Rendered], encode: Encoder) -> Iterator[Problem]:
        """Encode some prompts alone, as inference does, and tell where that gives other tokens than in the whole text.

        A token across the border is seen in every row (`_look_at`); this finds the rarer cases, in the first rows.
        """
        wholes = encode([text.text for text in rendered])
        prompts = encode([text.text[: text.spans[-1][0]] for text in rendered])
        for text, prompt, whole in zip(rendered, prompts, wholes, strict=True):
            first, _ = whole.span(*text.spans[-1])
            differs = not np.array_equal(prompt.ids, whole.ids[:first])
            if differs and not whole.begins_before(first, text.spans[-1][0]):
                self._tokens().rows_that_differ_at_inference += 1
                message = "the prompt alone is encoded otherwise than at the start of the whole text"
                yield Problem(text.conversation.line, "split_token", message, "warning")

    def _write(
        self, rendered: list[Rendered], encodings: Future[list[Encoding]], writer: ExampleWriter
    ) -> Iterator[Problem]:
        kept, examples = [], []
        for text, (example, whole_prompt) in zip(rendered, tokenize(rendered, encodings.result()), strict=True):
            yield from self._look_at(text, example, whole_prompt)
            fitted = self._fit(example)
            if isinstance(fitted, Problem):
                yield replace(fitted, raw=text.conversation.raw)
            elif not fitted.trained.any():
                message = "no token of the row is trained"
                yield Problem(fitted.line, "nothing_trained", message, raw=text.conversation.raw)
            else:
                kept.append(text.conversation)
                examples.append(fitted)
                writer.add(fitted)
        self.index.add(kept, [example.group for example in examples])

    def _private(self, rows: list[Conversation]) -> Iterator[Problem]:
        texts = ["\n".join(turn.content for turn in row.messages) for row in rows]
        for place, kind, count in find_private(texts):
            self.findings.private[kind] = self.findings.private.get(kind, 0) + count
            code = "personal_data" if kind in PERSONAL else "secret"
            yield Problem(rows[place].line, code, f"holds what looks like: {kind}", "warning")

    def _look_at(self, text: Rendered, example: Example, whole_prompt: bool) -> Iterator[Problem]:
        """What the model's own tokens show of one row."""
        tokens = self._tokens()
        line, ids = example.line, example.ids
        tokens.rows_with_tools_as_text += text.tools_as_text
        if text.thinking_dropped:
            tokens.turns_with_thinking_dropped += text.thinking_dropped
            yield Problem(line, "thinking_dropped", "the chat template leaves out thinking of the assistant", "warning")
        if len(ids) > 1 and ids[0] == ids[1] == tokens.bos:
            tokens.rows_with_double_bos += 1
            yield Problem(line, "double_bos", "the text begins with two beginning-of-text tokens", "warning")
        if not whole_prompt:
            tokens.rows_that_differ_at_inference += 1
            message = "one token holds the end of the prompt and the start of the answer: inference begins with others"
            yield Problem(line, "split_token", message, "warning")

    def _fit(self, example: Example) -> Example | Problem:
        """The example within the limit, as the policy has it; counts what every policy would cost."""
        tokens = self._tokens()
        limit = self.settings.max_length
        fitted = fit(example, limit, self.settings.too_long, tokens.bos)
        tokens.see_length(len(example.ids))
        if len(example.ids) > limit:
            cut = fit(example, limit, "cut", tokens.bos)
            tokens.rows_over += 1
            tokens.if_dropped.lose(example, None)
            tokens.if_cut.lose(example, cut)
            tokens.lost.lose(example, fitted)
        return fitted

    def _tokens(self) -> TokenFindings:
        assert self.findings.tokens is not None
        return self.findings.tokens

    def _leave_out_duplicates(self, rows: Path) -> None:
        """Name and count duplicates, and write the examples that remain, in groups that hold duplicates together."""
        found = find_duplicates(self.index, own_groups=self.source.own_groups)
        lines = self.index.column("line")
        place = np.arange(len(lines))
        again = found.first != place
        nearly = np.unique(found.near[:, 1], return_index=True)[1]
        self.findings.duplicates, self.findings.near_duplicates = int(again.sum()), len(nearly)
        for later in np.flatnonzero(again):
            self.findings.add(_same(lines[later], "duplicate", f"says the same as line {lines[found.first[later]]}"))
        for earlier, later in found.near[nearly]:
            message = f"says nearly the same as line {lines[earlier]}"
            self.findings.add(_same(lines[later], "near_duplicate", message))
        keep = ~again if self.settings.duplicates == "drop" else np.ones(len(lines), np.bool_)
        self.findings.good = self.findings.rows - self.findings.bad
        self.findings.examples = int(keep.sum())
        if self.findings.tokens:
            examples = copy_examples(rows, self.folder / "examples.arrow", keep, found.groups)
            self.findings.tokens.total = int(examples.lengths.sum())
            self.findings.tokens.trained = int(examples.trained_counts.sum())


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Keep Python from searching all that was loaded before for garbage, over and over, while rows come and go."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _same(line: Any, code: str, message: str) -> Problem:
    return Problem(int(line), code, message, "warning")


def _set_aside(problem: Problem, file: TextIO) -> None:
    row = problem.raw.decode("utf-8", "backslashreplace") if isinstance(problem.raw, bytes) else problem.raw
    text = json.dumps({**problem.to_json(), "row": row}, ensure_ascii=False, default=str)
    file.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def _batches(items: Iterator[Conversation | Problem]) -> Iterator[list[Conversation | Problem]]:
    """Some rows at a time: fewer where they are long."""
    batch: list[Conversation | Problem] = []
    size = 0
    for item in items:
        batch.append(item)
        size += sum(len(turn.content) for turn in item.messages) if isinstance(item, Conversation) else 0
        if len(batch) == _ROWS_AT_ONCE or size > _CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
