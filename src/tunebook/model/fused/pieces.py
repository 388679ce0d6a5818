"""What a decoder layer is made of, each piece with its forward and its backward pass on plain tensors.

No autograd here: `blocks.py` puts the pieces together into autograd functions and so decides what is kept. A backward
pass may write into the gradient that it is given. Shapes: n tokens, d width; weights as torch.nn.Linear has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Gradients = dict[Tensor, Tensor]  # of trained parameters, each met once in a block


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x W^T + b, and with a LoRA adapter + scale * (x A^T) B^T. W [out, in], A [rank, in], B [out, rank]."""

    weight: Tensor
    bias: Tensor | None = None
    a: Tensor | None = None
    b: Tensor | None = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Linears:
    """Linear layers of one input, their outputs side by side: the adapters' first products become one."""

    parts: tuple[Linear, ...]

    @property
    def widths(self) -> list[int]:
        return [part.weight.shape[0] for part in self.parts]

    def parameters(self) -> list[Tensor]:
        """All weights, biases and adapters."""
        found = [t for part in self.parts for t in (part.weight, part.bias, part.a, part.b)]
        return [tensor for tensor in found if tensor is not None]

    def forward(self, x: Tensor, onto: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """([n, sum of widths], x A^T of all adapters); with `onto` the result is added to a copy of it."""
        out = x.new_empty(len(x), sum(self.widths)) if onto is None else onto.clone()
        beta = 0 if onto is None else 1
        down = self._a()
        xa = None if down is None else x @ down.t()
        ranks = iter([] if xa is None else torch.split(xa, self._ranks(), 1))
        for part, y in zip(self.parts, torch.split(out, self.widths, 1), strict=True):
            y.addmm_(x, part.weight.t(), beta=beta)
            if part.bias is not None:
                y.add_(part.bias)
            if part.b is not None:
                y.addmm_(next(ranks), part.b.t(), alpha=part.scale)
        return out, xa

    def backward(self, grad: Tensor, x: Tensor, xa: Tensor | None, found: Gradients, *, need_x: bool = True) -> Tensor:
        """Gradient of x (not to be used unless `need_x`); those of trained parameters go into `found`."""
        grad_x = torch.empty_like(x) if need_x else x
        grad_xa = None if xa is None else torch.empty_like(xa)
        ranks = iter([] if xa is None or grad_xa is None else self._by_rank(xa, grad_xa))
        for i, (part, g) in enumerate(zip(self.parts, torch.split(grad, self.widths, 1), strict=True)):
            if need_x:
                grad_x.addmm_(g, part.weight, beta=min(i, 1))
            if part.weight.requires_grad:
                found[part.weight] = g.t() @ x
            if part.bias is not None and part.bias.requires_grad:
                found[part.bias] = g.sum(0)
            if part.b is not None:
                mine, grad_mine = next(ranks)
                found[part.b] = (mine.t() @ g).t().mul_(part.scale)  # g.t() @ mine takes three times as long
                grad_mine.addmm_(g, part.b, beta=0, alpha=part.scale)
        down = self._a()
        if grad_xa is not None and down is not None:
            grads = torch.split(grad_xa.t() @ x, self._ranks())
            found |= zip((part.a for part in self.parts if part.a is not None), grads, strict=True)
            if need_x:
                grad_x.addmm_(grad_xa, down)
        return grad_x

    def _ranks(self) -> list[int]:
        return [len(part.a) for part in self.parts if part.a is not None]

    def _a(self) -> Tensor | None:
        adapters = [part.a for part in self.parts if part.a is not None]
        return torch.cat(adapters) if adapters else None

    def _by_rank(self, xa: Tensor, grad_xa: Tensor) -> list[tuple[Tensor, Tensor]]:
        parts = (torch.split(tensor, self._ranks(), 1) for tensor in (xa, grad_xa))
        return list(zip(*parts, strict=True))


@dataclass(frozen=True, slots=True)
class Norm:
    """RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467) over the last dimension, by weight + offset (Gemma's is 1)."""

    weight: Tensor
    eps: float
    offset: float = 0.0

    def rstd(self, x: Tensor) -> Tensor:
        """1 / root mean square of x [..., 1]: all that is kept of a norm."""
        squares: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        return squares.div_(x.shape[-1]).add_(self.eps).rsqrt_()

    def forward(self, x: Tensor, rstd: Tensor) -> Tensor:
        """x normed, same shape."""
        return (x * rstd).mul_(self._scale())

    def backward(self, grad: Tensor, x: Tensor, rstd: Tensor, found: Gradients) -> Tensor:
        """Gradient of x, written into `grad`."""
        if self.weight.requires_grad:
            mine = (grad * x).mul_(rstd).flatten(0, -2).sum(0)
            found[self.weight] = found[self.weight] + mine if self.weight in found else mine
        grad.mul_(self._scale())
        pull = (grad * x).sum(-1, keepdim=True).mul_(rstd**3).div_(x.shape[-1])
        return grad.mul_(rstd).addcmul_(x, pull, value=-1)

    def _scale(self) -> Tensor:
        return self.weight + self.offset if self.offset else self.weight


@dataclass(frozen=True, slots=True)
class NormedLinears:
    """Linear layers of the normed x: how each half of a layer begins."""

    norm: Norm
    linears: Linears

    @property
    def widths(self) -> list[int]:
        return self.linears.widths

    def parameters(self) -> list[Tensor]:
        """All weights, biases and adapters."""
        return [self.norm.weight, *self.linears.parameters()]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """(output, 1 / root mean square of x, x A^T of all adapters); the normed x is not kept."""
        rstd = self.norm.rstd(x)
        out, xa = self.linears.forward(self.norm.forward(x, rstd))
        return out, rstd, xa

    def backward(
        self, grad: Tensor, x: Tensor, rstd: Tensor, xa: Tensor | None, found: Gradients, *, need_x: bool
    ) -> Tensor | None:
        """Gradient of x, None unless `need_x`."""
        through = need_x or self.norm.weight.requires_grad
        grad_normed = self.linears.backward(grad, self.norm.forward(x, rstd), xa, found, need_x=through)
        grad_x = self.norm.backward(grad_normed, x, rstd, found) if through else None
        return grad_x if need_x else None


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864) in place: x [n, heads, dim]; cos, sin [n, 1, dim / 2].

    The backward pass is the rotation by -sin.
    """
    one, two = x.chunk(2, -1)
    turned = (two * cos).addcmul_(one, sin)
    one.mul_(cos).addcmul_(two, sin, value=-1)
    two.copy_(turned)


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function and its backward (grad, x) -> gradient of x."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


ACTIVATIONS = {
    "silu": Activation(F.silu, torch.ops.aten.silu_backward),
    "gelu_pytorch_tanh": Activation(
        lambda x: F.gelu(x, approximate="tanh"),
        lambda grad, x: torch.ops.aten.gelu_backward(grad, x, approximate="tanh"),
    ),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tokens of a micro-batch stand: `prefix` tokens that all examples begin with, then each one's own.

    cos, sin [n, 1, dim / 2]; mask [longest, prefix + longest] is added to the scores of an example's own tokens.
    """

    cos: Tensor
    sin: Tensor
    lengths: tuple[int, ...]
    prefix: int
    mask: Tensor | None

    @staticmethod
    def of(cos: Tensor, sin: Tensor, lengths: tuple[int, ...], prefix: int) -> Layout:
        """With the mask that lets each token see the prefix and its own example up to itself."""
        longest, mask = max(lengths), None
        if prefix:
            mask = cos.new_full((longest, prefix + longest), -torch.inf).triu_(prefix + 1)
        return Layout(cos, sin, lengths, prefix, mask)

    def spans(self) -> list[tuple[slice, Tensor | None]]:
        """(tokens, mask) of the prefix and of each example; no mask means causal."""
        found: list[tuple[slice, Tensor | None]] = [(slice(0, self.prefix), None)] if self.prefix else []
        start = self.prefix
        for length in self.lengths:
            mask = None if self.mask is None else self.mask[:length, : self.prefix + length]
            found.append((slice(start, start + length), mask))
            start += length
        return found


def attend(q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> tuple[Tensor, list[Tensor]]:
    """Causal attention of each example to the prefix and itself: ([n, heads, dim], log-normalizers for `backward`).

    q [n, heads, dim]; k and v [n, fewer heads, dim], on a CPU.
    """
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    norms = []
    for span, mask in layout.spans():
        keys, values = (_seen(tensor, span, layout, mask) for tensor in (k, v))
        said, norm = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            _heads(q[span]), keys, values, 0.0, mask is None, attn_mask=mask, scale=scale
        )
        _heads(out[span]).copy_(said)
        norms.append(norm)
    return out, norms


def attend_backward(
    grad: Tensor,
    qkv: tuple[Tensor, Tensor, Tensor],
    out: Tensor,
    norms: Sequence[Tensor],
    layout: Layout,
    scale: float,
    into: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Gradients of `attend`'s q, k and v, written to `into`; the prefix gets the sum of what each example gives it."""
    q, k, v = qkv
    for (span, mask), norm in zip(layout.spans(), norms, strict=True):
        keys, values = (_seen(tensor, span, layout, mask) for tensor in (k, v))
        grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            _heads(grad[span]), _heads(q[span]), keys, values, _heads(out[span]), norm, 0.0, mask is None,
            attn_mask=mask, scale=scale,
        )  # fmt: skip
        for place, g in zip(into, grads, strict=True):
            own = g.shape[2] - (span.stop - span.start)
            _heads(place[span]).copy_(g[:, :, own:])
            if own:
                _heads(place[: layout.prefix]).add_(g[:, :, :own])


def _heads(x: Tensor) -> Tensor:
    """x [tokens, heads, dim] as attention wants it: a view [1, heads, tokens, dim]."""
    return x.transpose(0, 1)[None]


def _seen(x: Tensor, span: slice, layout: Layout, mask: Tensor | None) -> Tensor:
    """Keys or values that the tokens of `span` see."""
    return _heads(x[span] if mask is None else torch.cat([x[: layout.prefix], x[span]]))
