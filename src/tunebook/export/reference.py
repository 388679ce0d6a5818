"""What the tuned model in memory says, so that any number of exports can be compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tunebook.data.template import chat_template
from tunebook.evaluate.generate import Answer, generate, stop_token_ids
from tunebook.evaluate.mode import device_of, longest, reading
from tunebook.export.check import render
from tunebook.export.gguf_tokenizer import end_of_turn

POSITIONS = 256
LOGIT_BYTES = 64_000_000
LONGEST = 1536  # tokens of a row: beyond the windows of Gemma 3, and where rotary scaling shows

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
    """What the tuned model in memory says to token rows, prompts, conversations and texts.

    `logits`: of each row those at positions spread over it, [positions, vocabulary], float32, on the CPU.
    """

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
    room = longest(model) or LONGEST + 1
    rows = _rows(tokenizer, asked, answers, min(LONGEST, room - 1))  # llama.cpp must have room for the next token
    share = max(4, min(POSITIONS, LOGIT_BYTES // (4 * model.config.get_text_config().vocab_size)) // len(rows))
    with reading(model):
        logits = [_logits_at(model, row, spread(len(row), share)) for row in rows]
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


def spread(length: int, count: int) -> list[int]:
    """`count` positions, or all that there are, evenly over a row of `length` tokens; the last is always among them."""
    count = min(count, length)
    return [length - 1 - place * length // count for place in reversed(range(count))]


def _logits_at(model: Any, row: list[int], positions: list[int]) -> torch.Tensor:
    """Logits [positions, vocabulary] of a row."""
    device = device_of(model)
    keep = torch.tensor(positions, device=device)
    logits: torch.Tensor = model(torch.tensor([row], device=device), logits_to_keep=keep).logits
    return logits[0].float().cpu()


def _rows(tokenizer: Any, prompts: list[list[int]], answers: list[Answer], limit: int) -> list[list[int]]:
    """All that follows in one row of `limit` tokens; then prompts with their answers, and the fixed texts."""
    rows = [[*prompt, *answer.ids] for prompt, answer in zip(prompts, answers, strict=True)]
    rows += [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    rows = [row[:limit] for row in rows if row]
    every = [token for row in rows for token in row]
    return [(every * (limit // len(every) + 1))[:limit], *rows]
