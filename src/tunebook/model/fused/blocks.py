"""The two halves of a decoder layer, each one autograd function that keeps little and makes the rest again.

kept per token:  attention     x, q k v (rotated; where they are normed, before both), what the heads said
                 feed-forward  x, gate and up
made again:      the normed x, normed q and k, activation(gate) * up: elementwise, some 3 % of a layer's time

Every gradient is made in place where it can be; products of frozen weights are neither kept nor copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tunebook.model.fused.pieces import (
    Activation,
    Gradients,
    Layout,
    Linears,
    Norm,
    NormedLinears,
    attend,
    attend_backward,
    rotate,
)


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """x + o(attention(rotated(normed(q, k)), v)) with q, k, v linear in the normed x."""

    qkv: NormedLinears
    o: Linears
    dim: int
    scale: float
    q_norm: Norm | None = None  # per head: Qwen3
    k_norm: Norm | None = None

    def trained(self) -> list[Tensor]:
        """The block's trained parameters."""
        norms = [norm.weight for norm in (self.q_norm, self.k_norm) if norm is not None]
        return _trained([*self.qkv.parameters(), *norms, *self.o.parameters()])

    def by_head(self, x: Tensor) -> Tensor:
        """View [n, heads, dim] of x [n, heads * dim]."""
        return x.view(len(x), -1, self.dim)

    def placed(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """q and k [n, heads, dim] rotated, in place; where they are normed first, in memory of their own."""
        q = self.q_norm.forward(q, self.q_norm.rstd(q)) if self.q_norm else q
        k = self.k_norm.forward(k, self.k_norm.rstd(k)) if self.k_norm else k
        rotate(q, layout.cos, layout.sin)
        rotate(k, layout.cos, layout.sin)
        return q, k

    def unplaced(
        self, grads: tuple[Tensor, Tensor], kept: tuple[Tensor, Tensor], layout: Layout, found: Gradients
    ) -> None:
        """Turn the gradients of `placed`'s results into those of what it was given (`kept`), in place."""
        for norm, g, raw in zip((self.q_norm, self.k_norm), grads, kept, strict=True):
            rotate(g, layout.cos, -layout.sin)
            if norm:
                norm.backward(g, raw, norm.rstd(raw), found)


@dataclass(frozen=True, slots=True)
class FeedForwardBlock:
    """x + down(activation(gate) * up) with gate and up linear in the normed x."""

    gate_up: NormedLinears
    down: Linears
    activation: Activation

    def trained(self) -> list[Tensor]:
        """The block's trained parameters."""
        return _trained([*self.gate_up.parameters(), *self.down.parameters()])


def attention_block(block: AttentionBlock, x: Tensor, layout: Layout) -> Tensor:
    """The block's output [n, d] for x [n, d]."""
    out: Tensor = _Attention.apply(x, block, layout, *block.trained())  # type: ignore[no-untyped-call]
    return out


def feed_forward_block(block: FeedForwardBlock, x: Tensor) -> Tensor:
    """The block's output [n, d] for x [n, d]."""
    out: Tensor = _FeedForward.apply(x, block, *block.trained())  # type: ignore[no-untyped-call]
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, block: AttentionBlock, layout: Layout, *trained: Tensor) -> Tensor:
        outs, rstd, xa = block.qkv.forward(x)
        q, k, v = map(block.by_head, outs)
        said, norms = attend(*block.placed(q, k, layout), v, layout, block.scale)
        said = said.flatten(1)
        (out,), said_a = block.o.forward(said, onto=x)
        ctx.save_for_backward(x, rstd, q, k, v, xa, said, said_a, *norms)
        ctx.block, ctx.layout = block, layout
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (grad,) = grads
        x, rstd, q, k, v, xa, said, said_a, *norms = ctx.saved_tensors
        block: AttentionBlock = ctx.block
        layout: Layout = ctx.layout
        found: Gradients = {}
        grad_said = block.o.backward([grad], said, said_a, found)
        assert grad_said is not None
        placed = block.placed(q, k, layout) if block.q_norm else (q, k)  # kept as they were rotated, or before both
        made = attend_backward(block.by_head(grad_said), (*placed, v), block.by_head(said), norms, layout, block.scale)
        block.unplaced(made[:2], (q, k), layout, found)
        grad_x = block.qkv.backward([g.flatten(1) for g in made], x, rstd, xa, found, need_x=ctx.needs_input_grad[0])
        return (_past(grad_x, grad), None, None, *_in_order(block, found))


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, block: FeedForwardBlock, *trained: Tensor) -> Tensor:
        (gate, up), rstd, xa = block.gate_up.forward(x)
        (out,), inner_a = block.down.forward(block.activation.forward(gate).mul_(up), onto=x)
        ctx.save_for_backward(x, rstd, gate, up, xa, inner_a)
        ctx.block = block
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (grad,) = grads
        x, rstd, gate, up, xa, inner_a = ctx.saved_tensors
        block: FeedForwardBlock = ctx.block
        found: Gradients = {}
        active = block.activation.forward(gate)
        grad_inner = block.down.backward([grad], active * up, inner_a, found)
        assert grad_inner is not None
        grad_up = active.mul_(grad_inner)
        grad_gate = block.activation.backward(grad_inner.mul_(up), gate)
        del grad_inner
        grad_x = block.gate_up.backward([grad_gate, grad_up], x, rstd, xa, found, need_x=ctx.needs_input_grad[0])
        return (_past(grad_x, grad), None, *_in_order(block, found))


def _past(grad_x: Tensor | None, grad: Tensor) -> Tensor | None:
    """Gradient of a block's input: through the block (`grad_x`), and past it."""
    return None if grad_x is None else grad_x.add_(grad)


def _in_order(block: AttentionBlock | FeedForwardBlock, found: Gradients) -> Iterable[Tensor]:
    return (found[parameter] for parameter in block.trained())


def _trained(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [parameter for parameter in parameters if parameter.requires_grad]
