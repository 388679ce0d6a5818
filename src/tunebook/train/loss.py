"""Cross-entropy summed over trained tokens, without ever keeping logits.

Logits of a few hundred positions at a time are made, turned into the loss and its gradient in the same pass, and
dropped: for a vocabulary of 49,152 this is most of a small model's memory. The sum is divided by the optimizer step's
trained tokens by whoever asks, so that accumulation, packing and workers cannot change the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tunebook.model.products import EXACT, Times

CHUNK, GPU_CHUNK = 256, 2048  # positions at a time


class _ChunkedCrossEntropy(torch.autograd.Function):
    """sum_i CE(hidden_i W^T, target_i), with label smoothing s: target (1 - s) one-hot + s / vocabulary."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        smoothing: float,
        chunk: int,
        times: Times,
        logits_times: Times,
    ) -> Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight: Tensor | None = None
        for_logits, for_hidden = logits_times.seen(weight.t()), times.seen(weight)
        total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        for start, end in _pieces(hidden.shape[0], chunk):
            h, y = hidden[start:end], targets[start:end]
            logits = logits_times(h, for_logits).to(total.dtype)
            total -= (1 - smoothing) * logits.gather(1, y[:, None]).sum()
            if smoothing:
                total -= smoothing * logits.mean(1).sum()
            top = logits.amax(1, keepdim=True)
            mass = logits.sub_(top).exp_().sum(1, keepdim=True)
            total += (top + mass.log()).sum()
            if not (needs_hidden or needs_weight):
                continue
            logits.div_(mass)  # now the probabilities
            if smoothing:
                logits -= smoothing / logits.shape[1]
            logits[torch.arange(len(y), device=y.device), y] -= 1 - smoothing  # now the gradient of the logits
            if grad_hidden is not None:
                grad_hidden[start:end] = times(logits.to(weight.dtype), for_hidden)
            if needs_weight:
                h = h.to(logits.dtype)
                grad_weight = logits.t() @ h if grad_weight is None else grad_weight.addmm_(logits.t(), h)
        if needs_weight and grad_weight is None:  # no position is trained
            grad_weight = torch.zeros_like(weight, dtype=total.dtype)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        grad_hidden, grad_weight = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden.mul_(grad.to(grad_hidden.dtype)),
            None if grad_weight is None else grad_weight.mul_(grad).to(ctx.weight_dtype),
            None,
            None,
            None,
            None,
            None,
        )


def summed_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    smoothing: float = 0.0,
    chunk: int = CHUNK,
    times: Times = EXACT,
    logits_times: Times = EXACT,
) -> Tensor:
    """Sum of cross-entropies in nats, a scalar. hidden [n, d], weight [vocabulary, d], targets int64 [n].

    Logits are multiplied by `logits_times`, the gradient of `hidden` by `times`.
    """
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, targets, smoothing, chunk, times, logits_times)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int = CHUNK) -> Tensor:
    """Cross-entropy of each position in nats, float32 or wider [n]; logits are made `chunk` positions at a time."""
    parts = []
    for start, end in _pieces(hidden.shape[0], chunk):
        logits = EXACT(hidden[start:end], weight.t())
        parts.append(
            F.cross_entropy(
                logits.to(torch.promote_types(logits.dtype, torch.float32)),
                targets[start:end],
                reduction="none",
            )
        )
    return torch.cat(parts) if parts else hidden.new_zeros(0)


def _pieces(count: int, most: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the fewest pieces of at most `most`, about equally long: a short one would cost as a long one."""
    pieces = -(-count // most)
    for piece in range(pieces):
        yield count * piece // pieces, count * (piece + 1) // pieces
