"""What a decoder layer is made of, each piece with its forward and its backward pass on plain tensors.

No autograd here: `blocks.py` puts the pieces together into autograd functions and so decides what is kept. A backward
pass may write into the gradient that it is given. Shapes: n tokens, d width; weights as torch.nn.Linear has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tunebook.model.four_bits import FourBitLinear
from tunebook.model.products import Times

Gradients = dict[Tensor, Tensor]  # of trained parameters, each met once in a block


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x W^T + b, and with a LoRA adapter + scale * (x A^T) B^T. W [out, in], A [rank, in], B [out, rank].

    Of a layer held in 4 bits `weight` are the codes, and each `whole()` makes W anew.
    """

    weight: Tensor
    bias: Tensor | None = None
    a: Tensor | None = None
    b: Tensor | None = None
    scale: float = 1.0
    held: FourBitLinear | None = None

    def whole(self) -> Tensor:
        """W."""
        return self.weight if self.held is None else self.held.whole()


@dataclass(frozen=True, slots=True)
class Linears:
    """Linear layers of one input: the adapters' first products become one. `times` multiplies by the weights."""

    parts: tuple[Linear, ...]
    times: Times

    def parameters(self) -> list[Tensor]:
        """All weights, biases and adapters."""
        found = [t for part in self.parts for t in (part.weight, part.bias, part.a, part.b)]
        return [tensor for tensor in found if tensor is not None]

    def forward(self, x: Tensor, onto: Tensor | None = None) -> tuple[list[Tensor], Tensor | None]:
        """(each layer's output [n, out], x A^T of all adapters); `onto` is added to an output."""
        outs, down, seen = [], self._a(), self.times.seen(x)
        xa = None if down is None else self.times(seen, down.t())
        ranks = iter([] if xa is None else torch.split(xa, self._ranks(), 1))
        for part in self.parts:
            y = self.times(seen, part.whole().t(), onto)
            if part.bias is not None:
                y.add_(part.bias)
            if part.b is not None:
                y.addmm_(next(ranks), part.b.t(), alpha=part.scale)
            outs.append(y)
        return outs, xa

    def backward(
        self, grads: Sequence[Tensor], x: Tensor, xa: Tensor | None, found: Gradients, *, need_x: bool = True
    ) -> Tensor | None:
        """Gradient of x, None unless `need_x`; those of trained parameters go into `found`."""
        grad_x, seen_x = None, self.times.seen(x)
        ranks = iter([] if xa is None else torch.split(xa, self._ranks(), 1))
        grads_xa = []
        for part, g in zip(self.parts, grads, strict=True):
            seen = self.times.seen(g)
            if need_x:
                grad_x = self.times(seen, part.whole(), grad_x)
            if part.weight.requires_grad:
                found[part.weight] = self.times(seen.t(), seen_x)
            if part.bias is not None and part.bias.requires_grad:
                found[part.bias] = g.sum(0)
            if part.b is not None:
                # g.t() @ xa takes three times as long
                found[part.b] = self.times(next(ranks).t().contiguous(), seen).t().mul_(part.scale)
                grads_xa.append(self.times(seen, part.b).mul_(part.scale))
        down = self._a()
        if down is not None:
            grad_xa = torch.cat(grads_xa, 1)
            by_adapter = torch.split(self.times(grad_xa.t().contiguous(), seen_x), self._ranks())
            found |= zip((part.a for part in self.parts if part.a is not None), by_adapter, strict=True)
            if grad_x is not None:
                grad_x.addmm_(grad_xa, down)
        return grad_x

    def _ranks(self) -> list[int]:
        return [len(part.a) for part in self.parts if part.a is not None]

    def _a(self) -> Tensor | None:
        adapters = [part.a for part in self.parts if part.a is not None]
        return torch.cat(adapters) if adapters else None


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

    def parameters(self) -> list[Tensor]:
        """All weights, biases and adapters."""
        return [self.norm.weight, *self.linears.parameters()]

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """(each layer's output, 1 / root mean square of x, x A^T of all adapters); the normed x is not kept."""
        rstd = self.norm.rstd(x)
        outs, xa = self.linears.forward(self.norm.forward(x, rstd))
        return outs, rstd, xa

    def backward(
        self, grads: Sequence[Tensor], x: Tensor, rstd: Tensor, xa: Tensor | None, found: Gradients, *, need_x: bool
    ) -> Tensor | None:
        """Gradient of x, None unless `need_x`."""
        through = need_x or self.norm.weight.requires_grad
        grad_normed = self.linears.backward(grads, self.norm.forward(x, rstd), xa, found, need_x=through)
        grad_x = None if grad_normed is None else self.norm.backward(grad_normed, x, rstd, found)
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
class Look:
    """Tokens `rows`, of an example whose own tokens begin at `since`, look at the keys from there to themselves.

    And before these at the first `prefix` tokens of all. `mask` [rows, keys]; none means causal from the first key on.
    """

    rows: slice
    since: int
    prefix: int
    mask: Tensor | None

    def keys(self, x: Tensor) -> Tensor:
        """Of x [n, heads, dim] what is looked at, as attention wants it: the prefix, then the example's own."""
        own = x[self.since : self.rows.stop]
        return _heads(torch.cat([x[: self.prefix], own]) if self.prefix else own)

    def add_to(self, x: Tensor, grad: Tensor) -> None:
        """Add the gradient of `keys(x)` to x."""
        if self.prefix:
            _heads(x[: self.prefix]).add_(grad[:, :, : self.prefix])
        _heads(x[self.since : self.rows.stop]).add_(grad[:, :, self.prefix :])


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tokens of a micro-batch stand: `prefix` tokens that all examples begin with, then each one's own.

    cos, sin [n, 1, dim / 2]. `looks` cuts attention into blocks of rows: little work is done above the diagonal.

        prefix  own          each block of rows sees the keys left of its end;
        ######  ###          its mask is a window of one strip of zeros that ends in a triangle
        ######  ######
    """

    cos: Tensor
    sin: Tensor
    looks: tuple[Look, ...]

    @staticmethod
    def of(cos: Tensor, sin: Tensor, lengths: tuple[int, ...], prefix: int) -> Layout:
        """Each token sees the prefix and its own example up to itself."""
        strip = cos.new_zeros(_ROWS, prefix + max(*lengths, prefix) + _ROWS)
        strip[:, -_ROWS:].fill_(-torch.inf).triu_(1)
        looks = list(_looks(0, prefix, 0, strip))
        start = prefix
        for length in lengths:
            looks += _looks(start, length, prefix, strip)
            start += length
        return Layout(cos, sin, tuple(looks))


_ROWS = 64


def _looks(start: int, length: int, prefix: int, strip: Tensor) -> Iterator[Look]:
    for first in range(0, length, _ROWS):
        last = min(first + _ROWS, length)
        end = strip.shape[1] - _ROWS  # where the triangle begins
        mask = strip[: last - first, end - first - prefix : end + last - first] if first or prefix else None
        yield Look(slice(start + first, start + last), start, prefix, mask)


def attend(q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> tuple[Tensor, list[Tensor]]:
    """Causal attention of each example to the prefix and itself: ([n, heads, dim], log-normalizers for `backward`).

    q [n, heads, dim]; k and v [n, fewer heads, dim], on a CPU.
    """
    out = torch.empty_like(q)
    norms = []
    for look in layout.looks:
        said, norm = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            _heads(q[look.rows]), look.keys(k), look.keys(v), 0.0, look.mask is None,
            attn_mask=look.mask, scale=scale,
        )  # fmt: skip
        _heads(out[look.rows]).copy_(said)
        norms.append(norm)
    return out, norms


def attend_backward(
    grad: Tensor,
    qkv: tuple[Tensor, Tensor, Tensor],
    out: Tensor,
    norms: Sequence[Tensor],
    layout: Layout,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `attend`'s q, k and v: a key gets the sum of what each look gives it."""
    q, k, v = qkv
    grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for look, norm in zip(layout.looks, norms, strict=True):
        for_q, for_k, for_v = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            _heads(grad[look.rows]), _heads(q[look.rows]), look.keys(k), look.keys(v),
            _heads(out[look.rows]), norm, 0.0, look.mask is None, attn_mask=look.mask, scale=scale,
        )  # fmt: skip
        _heads(grad_q[look.rows]).copy_(for_q)
        look.add_to(grad_k, for_k)
        look.add_to(grad_v, for_v)
    return grad_q, grad_k, grad_v


def _heads(x: Tensor) -> Tensor:
    """x [tokens, heads, dim] as attention wants it: a view [1, heads, tokens, dim]."""
    return x.transpose(0, 1)[None]
