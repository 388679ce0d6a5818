"""Every side answers the same questions in the same way: the likeliest token each time, up to the same length.

The first answers are asked for one by one and timed, since one reader at a time is what speed means to a reader; a
model in memory then answers the others together, which changes no answer. A question asked before that is not timed:
it loads what a server loads late, and warms up the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tunebook.compare.questions import Question
from tunebook.compare.sides import Side
from tunebook.data.template import Refused, prompt_text
from tunebook.errors import ModelError
from tunebook.evaluate.ability import Retention
from tunebook.evaluate.address import Address
from tunebook.evaluate.generate import generate
from tunebook.evaluate.mode import reading
from tunebook.evaluate.retention import load_probes, measure_retention
from tunebook.model.adapters import merged

TIMED = 3
WARMING = 4  # tokens of the answer that is not timed
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `tokens` where they are known, `seconds` where it was asked for alone."""

    text: str
    tokens: int | None
    ended: bool
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What one side said to every question, which model an address named, and its general ability where measured."""

    replies: list[Reply]
    model: str = ""
    ability: Retention | None = None


def answer(
    side: Side, questions: Sequence[Question], longest: int, ability: bool, on_progress: Progress | None = None
) -> Answers:
    """Load the side (or call its address), ask every question, and let it go.

    `longest` is the most tokens of an answer; with `ability`, a model in memory is also asked the general questions.
    ModelError when the side cannot be asked.
    """
    progress = on_progress or (lambda done, total: None)
    if side.address is not None:
        return _from_address(side, side.address, questions, longest, progress)
    assert side.load is not None
    model, tokenizer = side.load()
    try:
        prompts = [_prompt(tokenizer, question) for question in questions]
    except Refused as error:
        raise ModelError(
            f"The chat template of '{side.name}' refuses a question: {error}.",
            do="Leave this side out, or ask other questions.",
        ) from error
    with reading(model), merged(model):  # once for all answers, and in no one's time
        replies = _in_memory(model, tokenizer, prompts, longest, progress)
    return Answers(replies, ability=measure_retention(model, tokenizer, load_probes()) if ability else None)


def _in_memory(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], longest: int, progress: Progress
) -> list[Reply]:
    """The answers to all prompts, the first of them timed."""
    generate(model, tokenizer, prompts[-1:], max_new_tokens=WARMING)
    replies = []
    for prompt in prompts[:TIMED]:
        started = time.perf_counter()
        (found,) = generate(model, tokenizer, [prompt], max_new_tokens=longest)
        replies.append(Reply(found.text, len(found.ids), found.ended, time.perf_counter() - started))
        progress(len(replies), len(prompts))
    rest = generate(
        model,
        tokenizer,
        prompts[TIMED:],
        max_new_tokens=longest,
        on_progress=lambda done, _: progress(TIMED + done, len(prompts)),
    )
    return replies + [Reply(found.text, len(found.ids), found.ended) for found in rest]


def _prompt(tokenizer: Any, question: Question) -> list[int]:
    text = prompt_text(tokenizer, question.chat, question.tools)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _from_address(
    side: Side, address: Address, questions: Sequence[Question], longest: int, progress: Progress
) -> Answers:
    model = side.name.partition("#")[2] or address.first_model()
    address.chat(model, questions[-1].chat, 1)
    replies = []
    for question in questions:
        started = time.perf_counter()
        found = address.chat(model, question.chat, longest)
        replies.append(Reply(found.text, found.tokens, found.ended, time.perf_counter() - started))
        progress(len(replies), len(questions))
    return Answers(replies, model)
