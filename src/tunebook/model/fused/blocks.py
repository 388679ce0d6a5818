"""The two halves of a decoder layer, each one autograd function that keeps little and makes the rest again.

kept per token:  attention     x, q k v before norm and rotation, what the heads said
                 feed-forward  x, gate and up
made again:      the normed x, rotated q and k, activation(gate) * up: elementwise, some 3 % of a layer's time

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

    def heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views [n, heads, dim] of q, k and v."""
        q, k, v = (self.by_head(part) for part in torch.split(qkv, self.qkv.widths, 1))
        return q, k, v

    def placed(self, qkv: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
        """q and k normed and rotated, in memory of their own, and v."""
        q, k, v = self.heads(qkv)
        q = self.q_norm.forward(q, self.q_norm.rstd(q)) if self.q_norm else q.clone()
        k = self.k_norm.forward(k, self.k_norm.rstd(k)) if self.k_norm else k.clone()
        rotate(q, layout.cos, layout.sin)
        rotate(k, layout.cos, layout.sin)
        return q, k, v

    def unplaced(self, grad: Tensor, qkv: Tensor, layout: Layout, found: Gradients) -> None:
        """Turn the gradient of `placed`'s q and k into that of qkv, in place."""
        for norm, g, raw in zip((self.q_norm, self.k_norm), self.heads(grad)[:2], self.heads(qkv)[:2], strict=True):
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
        qkv, rstd, xa = block.qkv.forward(x)
        said, norms = attend(*block.placed(qkv, layout), layout, block.scale)
        said = said.flatten(1)
        out, said_a = block.o.forward(said, onto=x)
        ctx.save_for_backward(x, rstd, qkv, xa, said, said_a, *norms)
        ctx.block, ctx.layout = block, layout
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (grad,) = grads
        x, rstd, qkv, xa, said, said_a, *norms = ctx.saved_tensors
        block: AttentionBlock = ctx.block
        layout: Layout = ctx.layout
        found: Gradients = {}
        grad_said, grad_qkv = block.o.backward(grad, said, said_a, found), torch.empty_like(qkv)
        attend_backward(
            block.by_head(grad_said),
            block.placed(qkv, layout),
            block.by_head(said),
            norms,
            layout,
            block.scale,
            into=block.heads(grad_qkv),
        )
        block.unplaced(grad_qkv, qkv, layout, found)
        grad_x = block.qkv.backward(grad_qkv, x, rstd, xa, found, need_x=ctx.needs_input_grad[0])
        return (_past(grad_x, grad), None, None, *_in_order(block, found))


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, block: FeedForwardBlock, *trained: Tensor) -> Tensor:
        gate_up, rstd, xa = block.gate_up.forward(x)
        gate, up = gate_up.chunk(2, 1)
        inner = block.activation.forward(gate).mul_(up)
        out, inner_a = block.down.forward(inner, onto=x)
        ctx.save_for_backward(x, rstd, gate_up, xa, inner_a)
        ctx.block = block
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (grad,) = grads
        x, rstd, gate_up, xa, inner_a = ctx.saved_tensors
        block: FeedForwardBlock = ctx.block
        found: Gradients = {}
        gate, up = gate_up.chunk(2, 1)
        active = block.activation.forward(gate)
        grad_inner = block.down.backward(grad, active * up, inner_a, found)
        grad_gate_up = torch.empty_like(gate_up)
        grad_gate, grad_up = grad_gate_up.chunk(2, 1)
        torch.mul(grad_inner, active, out=grad_up)
        grad_gate.copy_(block.activation.backward(grad_inner.mul_(up), gate))
        del active, grad_inner
        grad_x = block.gate_up.backward(grad_gate_up, x, rstd, xa, found, need_x=ctx.needs_input_grad[0])
        return (_past(grad_x, grad), None, *_in_order(block, found))


def _past(grad_x: Tensor | None, grad: Tensor) -> Tensor | None:
    """Gradient of a block's input: through the block (`grad_x`), and past it."""
    return None if grad_x is None else grad_x.add_(grad)


def _in_order(block: AttentionBlock | FeedForwardBlock, found: Gradients) -> Iterable[Tensor]:
    return (found[parameter] for parameter in block.trained())


def _trained(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [parameter for parameter in parameters if parameter.requires_grad]
