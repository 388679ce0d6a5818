"""General ability before and after: questions with choices, and how well plain prose is predicted.

A choice's score is the log-probability of its tokens behind the question, divided by its letters; the best scored is
the model's answer. `weight` is the softmax of the undivided log-probabilities at the right choice: it moves with
every question, where right or wrong moves with few, so that a small probe set can still tell a small change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from os.path import commonprefix
from pathlib import Path
from typing import Any

import torch

from tunebook.errors import DataError, Fault
from tunebook.evaluate.ability import Retention
from tunebook.evaluate.mode import base_of, device_of, longest, reading
from tunebook.model.attention import can_attend_per_example

PROSE_TOKENS = 512  # longest piece of prose that is read, in tokens
_LOGITS_AT_ONCE = 50_000_000  # they are the bulk of the memory that reading takes


@dataclass(frozen=True, slots=True)
class Question:
    """`choices[gold]` is right."""

    query: str
    choices: tuple[str, ...]
    gold: int


@dataclass(frozen=True, slots=True)
class Probes:
    """What general ability is measured on."""

    questions: tuple[Question, ...]
    prose: tuple[str, ...]


def load_probes(folder: Path | None = None) -> Probes:
    """Probes from `multiple_choice.jsonl` and `prose.jsonl` in `folder`; the shipped ones without one.

    DataError names every line that is not of the form {"query", "choices", "gold"} or {"text"}.
    """
    place: Any = folder or resources.files("tunebook") / "demo" / "probes"
    faults: list[Fault] = []
    questions = [_question(row, where, faults) for where, row in _lines(place / "multiple_choice.jsonl", faults)]
    prose = [_text(row, where, faults) for where, row in _lines(place / "prose.jsonl", faults)]
    if faults:
        raise DataError(f"The probes in {place} cannot be used.", do="Mend these lines.", faults=faults)
    return Probes(tuple(filter(None, questions)), tuple(filter(None, prose)))


def tokens_at_once(model: Any) -> int:
    """How many tokens are read at once where memory allows."""
    return max(1, _LOGITS_AT_ONCE // int(base_of(model).get_input_embeddings().weight.shape[0]))


def measure_retention(
    model: Any,
    tokenizer: Any,
    probes: Probes,
    on_progress: Callable[[int, int], None] | None = None,
    tokens: int | None = None,
) -> Retention:
    """Ask `model` every question and read it every text, in batches of at most `tokens`; the model stays as it is."""
    tokens = tokens or tokens_at_once(model)
    questions = [_choice_row(tokenizer, question) for question in probes.questions]
    texts = [tokenizer(text)["input_ids"] for text in probes.prose]
    limit = min(PROSE_TOKENS, longest(model) or PROSE_TOKENS)
    texts = [(ids[:1], [ids[1:limit]]) for ids in texts if len(ids) > 1]
    scores = _log_probabilities(model, [*questions, *texts], tokens, on_progress)
    correct, weight = [], []
    for question, sums in zip(probes.questions, scores, strict=False):
        by_letter = [total / max(1, len(choice)) for total, choice in zip(sums, question.choices, strict=True)]
        correct.append(by_letter.index(max(by_letter)) == question.gold)
        weight.append(float(torch.tensor(sums, dtype=torch.float64).softmax(0)[question.gold]))
    prose = [(-total, len(row[1][0])) for row, (total,) in zip(texts, scores[len(questions) :], strict=True)]
    return Retention(tuple(correct), tuple(weight), tuple(prose))


Row = tuple[list[int], list[list[int]]]  # token ids of a beginning, and of the ways in which it may go on


def _choice_row(tokenizer: Any, question: Question) -> Row:
    """The question's tokens as far as every choice leaves them as they are, and each choice's from there."""
    space = "" if question.query[-1:].isspace() else " "
    whole = [tokenizer(question.query + space + choice)["input_ids"] for choice in question.choices]
    shared = len(commonprefix([tokenizer(question.query)["input_ids"], *whole]))
    shared = max(1, min(shared, *(len(ids) - 1 for ids in whole)))
    return whole[0][:shared], [ids[shared:] for ids in whole]


def _log_probabilities(
    model: Any, rows: Sequence[Row], tokens: int, on_progress: Callable[[int, int], None] | None = None
) -> list[list[float]]:
    """Of each row, the summed log-probability of each way to go on, in nats."""
    core = base_of(model)
    # it may not take a mask of ours, which knows no sliding window: one way a row needs none
    if not can_attend_per_example(core) or getattr(core.config, "sliding_window", None):
        single = _in_batches(
            model, [(beginning, [way]) for beginning, ways in rows for way in ways], tokens, on_progress
        )
        each = iter([total for (total,) in single])
        return [[next(each) for _ in ways] for _, ways in rows]
    return _in_batches(model, rows, tokens, on_progress)


def _in_batches(
    model: Any, rows: Sequence[Row], tokens: int, on_progress: Callable[[int, int], None] | None = None
) -> list[list[float]]:
    order = sorted(range(len(rows)), key=lambda row: -_length(rows[row]))
    found: dict[int, list[float]] = {}
    with reading(model):
        while order:
            count = max(1, tokens // _length(rows[order[0]]))
            batch, order = order[:count], order[count:]
            found |= dict(zip(batch, _read(model, [rows[row] for row in batch]), strict=True))
            if on_progress:
                on_progress(len(found), len(rows))
    return [found[row] for row in range(len(rows))]


def _length(row: Row) -> int:
    return len(row[0]) + sum(map(len, row[1]))


def _read(model: Any, rows: Sequence[Row]) -> list[list[float]]:
    """Read rows at once. The ways to go on lie behind each other; each sees the beginning and itself:

    tokens     [b1 b2 b3 | x1 x2 | y1 y2]       positions [0 1 2 | 3 4 | 3 4]
    """
    device, width = device_of(model), max(map(_length, rows))
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    part = torch.full((len(rows), width), -1)  # 0 the beginning, 1, 2, ... the ways, -1 padding
    origin: list[tuple[int, int, int]] = []  # row, where a token is predicted, which token
    counts: list[int] = []
    for number, (beginning, ways) in enumerate(rows):
        start = len(beginning)
        tokens[number, :start] = torch.tensor(beginning)
        positions[number, :start] = torch.arange(start)
        part[number, :start] = 0
        for way, ids in enumerate(ways, 1):
            end = start + len(ids)
            tokens[number, start:end] = torch.tensor(ids)
            positions[number, start:end] = torch.arange(len(ids)) + len(beginning)
            part[number, start:end] = way
            before = [len(beginning) - 1, *range(start, end - 1)]
            origin += [(number, place, token) for place, token in zip(before, ids, strict=True)]
            counts.append(len(ids))
            start = end
    branches = any(len(ways) > 1 for _, ways in rows)
    mask = _tree_mask(part, base_of(model).dtype) if branches else (part >= 0).long()
    logits = model(
        input_ids=tokens.to(device), attention_mask=mask.to(device), position_ids=positions.to(device), use_cache=False
    ).logits
    row, place, target = torch.tensor(origin, device=device).T
    log_probability = logits[row, place].float().log_softmax(-1).gather(1, target[:, None])[:, 0].double().cpu()
    sums = iter([float(piece.sum()) for piece in log_probability.split(counts)])
    return [[next(sums) for _ in ways] for _, ways in rows]


def _tree_mask(part: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to attention scores [rows, 1, width, width]: 0 where a token may look, else the least number."""
    width = part.shape[1]
    seen = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
    seen &= torch.ones(width, width, dtype=torch.bool).tril()
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def _lines(path: Any, faults: list[Fault]) -> Iterator[tuple[str, Any]]:
    """(place, JSON value) of each line that is not empty; no lines when the file is not there."""
    if not path.is_file():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if line.strip():
            try:
                yield f"{path.name}, line {number}", json.loads(line)
            except ValueError:
                faults.append(Fault(f"{path.name}, line {number}", "is not JSON in UTF-8"))


def _question(row: Any, where: str, faults: list[Fault]) -> Question | None:
    found: dict[str, Any] = row if isinstance(row, dict) else {}
    query, choices, gold = found.get("query"), found.get("choices", []), found.get("gold")
    texts = isinstance(choices, list) and len(choices) > 1 and all(map(_is_text, [query, *choices]))
    if texts and type(gold) is int and 0 <= gold < len(choices):
        return Question(str(query), tuple(choices), gold)
    faults.append(Fault(where, 'is not of the form {"query": text, "choices": [two texts or more], "gold": index}'))
    return None


def _text(row: Any, where: str, faults: list[Fault]) -> str | None:
    text = row.get("text") if isinstance(row, dict) else None
    if _is_text(text):
        return str(text)
    faults.append(Fault(where, 'is not of the form {"text": text}'))
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
