"""Greedy answers to many prompts, sorted by length and padded on the left; who has ended leaves the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from tunebook.data.template import stop_ids
from tunebook.evaluate.mode import base_of, device_of, longest, reading
from tunebook.model.adapters import merged

_MERGING_PAYS = 1000  # tokens; putting adapters into the weights takes as long as some ten steps of a batch


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's token ids without the stop token, its text without special tokens, and whether a stop token came."""

    ids: tuple[int, ...]
    text: str
    ended: bool


def stop_token_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end an answer: the model's, the tokenizer's, and the end-of-turn of the chat template."""
    config = getattr(base_of(model), "generation_config", None)
    given = getattr(config, "eos_token_id", None)
    ids = given if isinstance(given, list | tuple) else [given]
    return tuple(sorted({int(token) for token in ids if token is not None} | set(stop_ids(tokenizer))))


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_tokens: int = 4096,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Answer each prompt (token ids, not empty) greedily, in the order given.

    A batch holds as many prompts as fit `batch_tokens` with their answers at full length. An answer is cut at
    `max_new_tokens` and at the model's longest input. `on_progress(done, total)` is called as prompts are answered.
    Texts equal those of `model.generate` with one prompt at a time, but for rounding where two tokens tie.
    """
    stops = stop_token_ids(model, tokenizer)
    limit = longest(model)
    found: dict[int, tuple[list[int], bool]] = {}
    pays = sum(map(len, prompts)) + len(prompts) * max_new_tokens > _MERGING_PAYS
    with reading(model), merged(model) if pays else nullcontext():
        for batch in _batches(prompts, max_new_tokens, batch_tokens):
            fits = [row for row in batch if limit is None or len(prompts[row]) < limit]
            found |= {row: ([], False) for row in batch if row not in fits}
            if fits:
                answers = _answer(model, [prompts[row] for row in fits], stops, max_new_tokens, limit)
                found |= dict(zip(fits, answers, strict=True))
            if on_progress:
                on_progress(len(found), len(prompts))
    return [
        Answer(tuple(ids), tokenizer.decode(ids, skip_special_tokens=True), ended)
        for ids, ended in (found[row] for row in range(len(prompts)))
    ]


def _batches(prompts: Sequence[Sequence[int]], new: int, batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers, longest prompts first: little padding, and what does not fit in memory fails at once."""
    rows = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    while rows:
        count = max(1, batch_tokens // (len(prompts[rows[0]]) + new))
        yield rows[:count]
        rows = rows[count:]


def _answer(
    model: Any, prompts: Sequence[Sequence[int]], stops: tuple[int, ...], new: int, limit: int | None
) -> list[tuple[list[int], bool]]:
    """(ids, ended) of each prompt of one batch."""
    device = device_of(model)
    width = max(map(len, prompts))
    tokens = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tokens[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    tokens, mask = tokens.to(device), mask.to(device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=base_of(model).config)
    ids: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    rows = list(range(len(prompts)))  # who is still in the batch
    while rows:
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        chosen = logits.float().argmax(-1)
        stay = []
        for place, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            if token in stops:
                ended[row] = True
                continue
            ids[row].append(token)
            if len(ids[row]) < new and (limit is None or len(prompts[row]) + len(ids[row]) < limit):
                stay.append(place)
        if len(stay) < len(rows):
            keep = torch.tensor(stay, dtype=torch.long, device=device)
            rows = [rows[place] for place in stay]
            mask, positions, chosen = mask[keep], positions[keep], chosen[keep]
            if rows:
                cache.batch_select_indices(keep)
        tokens = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        positions = positions[:, -1:] + 1
    return list(zip(ids, ended, strict=True))
