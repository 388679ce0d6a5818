"""Memory that runs out: looked for on the longest examples before step 1, and got round by fewer tokens at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tunebook.errors import TrainingError
from tunebook.evaluate.heldout import held_out_loss
from tunebook.train.loop import Job, out_of_memory, rehearse
from tunebook.workflow.context import Context

T = TypeVar("T")
FEWEST_TOKENS = 32  # memory that does not hold so few holds nothing


def rehearse_longest(context: Context, job: Job) -> None:
    """Take the longest examples through training and evaluation before step 1: in hour three it would be too late."""
    longest = [context.examples[int(row)] for row in _longest(context.examples, context.train_rows, context)]
    rehearse(job, context.state, longest * context.workers.world)  # each worker takes as many in training
    held_out = _longest(context.validation_examples, context.validation_rows, context)
    context.engine.model.eval()
    within_memory(
        context,
        "evaluation",
        context.state.micro_batch_tokens,
        lambda tokens: held_out_loss(context.engine, context.validation_examples, held_out, tokens),
    )
    tokens = sum(len(row.ids) for row in longest)
    message = f"Rehearsed on the longest examples ({tokens} tokens at once): they fit in memory."
    context.emit("log", message=message)


def _longest(examples: Any, rows: Any, context: Context) -> list[int]:
    """The longest of `rows` that make one micro-batch; at least one, where there are any."""
    by_length = rows[np.argsort(-examples.lengths[rows], kind="stable")]
    fit = np.cumsum(examples.lengths[by_length]) <= context.state.micro_batch_tokens
    return [int(row) for row in by_length[: max(1, int(fit.sum()))]]


def within_memory(context: Context, what: str, tokens: int, work: Callable[[int], T]) -> T:
    """`work(tokens)`, that many tokens at once; half as many whenever memory runs out, and from then on.

    Not where the model is split over workers: the others are in mid-layer, and could not begin again with this one.
    """
    tokens = min(tokens, context.at_once.get(what, tokens))
    while True:
        try:
            return work(tokens)
        except (MemoryError, RuntimeError) as error:
            if context.workers.sharded or not out_of_memory(error):
                raise
            if tokens < 2 * FEWEST_TOKENS:
                raise TrainingError(
                    f"Memory ran out in {what}, with as few as {tokens} tokens at once.",
                    kept="The last good checkpoint is kept.",
                    do="Close other programs, lower data.max_length, or use a smaller model.",
                ) from error
        tokens = context.at_once[what] = tokens // 2
        message = f"Memory ran out in {what}; at most {tokens} tokens go through the model at once there now."
        context.emit("warning", code="out_of_memory", message=message)
