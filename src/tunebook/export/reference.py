"""What the tuned model in memory says, so that any number of exports can be compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tunebook.data.template import chat_template
from tunebook.evaluate.generate import Answer, generate, stop_token_ids
from tunebook.evaluate.mode import device_of, reading
from tunebook.export.check import render
from tunebook.export.gguf_tokenizer import end_of_turn

POSITIONS = 256
LOGIT_BYTES = 64_000_000

CHATS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Is 17 prime?"}],
    [
        {"role": "user", "content": " Zähle auf: α, β, 🙂\n\tx = 10 ** 3  "},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Once more, please."},
    ],
]
TEXTS = ["Hello world", "price: 1234.5 €", "  two  spaces\n\nand\ttabs", "naïve 東京 🙂", "def f(x):\n    return x+1"]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the tuned model in memory says: token rows with their logits (float32, on the CPU), prompts and answers."""

    rows: list[list[int]]
    logits: list[torch.Tensor]
    prompts: list[list[int]]
    answers: list[Answer]
    max_new_tokens: int
    template: str
    chats: list[list[int] | str]
    texts: list[list[int]]
    stops: tuple[int, ...]
    end_of_turn: int | None


def measure(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> Reference:
    """Ask the tuned model in memory once; any number of exports can then be compared with it."""
    asked = [list(prompt) for prompt in prompts]
    answers = generate(model, tokenizer, asked, max_new_tokens=max_new_tokens)
    rows = _rows(tokenizer, asked, answers, model.config.get_text_config().vocab_size)
    with reading(model):
        logits = [model(torch.tensor([row], device=device_of(model))).logits[0].float().cpu() for row in rows]
    template = chat_template(tokenizer)
    return Reference(
        rows,
        logits,
        asked,
        answers,
        max_new_tokens,
        template,
        [render(tokenizer, chat, template) for chat in CHATS],
        [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS],
        stop_token_ids(model, tokenizer),
        end_of_turn(tokenizer),
    )


def _rows(tokenizer: Any, prompts: list[list[int]], answers: list[Answer], vocabulary: int) -> list[list[int]]:
    """Prompts with their answers, and the fixed texts, cut to a number of positions whose logits stay small."""
    left = max(8, min(POSITIONS, LOGIT_BYTES // (4 * vocabulary)))
    texts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    rows = []
    for row in [[*prompt, *answer.ids] for prompt, answer in zip(prompts, answers, strict=True)] + texts:
        row = row[: min(left, POSITIONS // 2)]
        if row:
            rows.append(row)
            left -= len(row)
    return rows
