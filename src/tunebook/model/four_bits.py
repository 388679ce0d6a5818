"""A base model whose frozen linear layers are held in 4 bits: QLoRA (Dettmers et al. 2023, arXiv:2305.14314).

    weight  [out, in] float32      64 weights of a row after another make a block
    codes   [out * in / 2] uint8   two weights in a byte, the first in the upper half; each names one of 16 levels
    scales  [out * in / 64]        the largest magnitude of a block; a weight is level x scale

Levels are the paper's 4-bit NormalFloat (NF4); its second rounding, of the scales, is left out: 4.5 bits a weight.
Adapters train on top in full precision, and whatever is measured or exported is this rounded model with them. Every
product makes its layer's weights anew and lets them go, forward and backward.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 64
BYTES_A_WEIGHT = 0.5 + 4 / BLOCK
# appendix E of the paper, to the digits that float32 holds
LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def round_to_nf4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(codes, scales) of a weight whose count 64 divides."""
    blocks = weight.detach().float().reshape(-1, BLOCK)
    scales = blocks.abs().amax(1)
    levels = torch.tensor(LEVELS, device=weight.device)
    nearest = torch.bucketize(blocks / scales.clamp_min(1e-30)[:, None], (levels[1:] + levels[:-1]) / 2)
    upper, lower = nearest.to(torch.uint8).view(-1, 2).unbind(1)
    return upper << 4 | lower, scales


def from_nf4(codes: Tensor, scales: Tensor) -> Tensor:
    """The weights that `round_to_nf4` stands for, flat, in the scales' type."""
    fours = F.embedding(codes.view(torch.uint16).int(), _fours(codes.device))
    return fours.view(-1, BLOCK).to(scales.dtype).mul_(scales[:, None]).flatten()


_tables: dict[torch.device, Tensor] = {}


def _fours(device: torch.device) -> Tensor:
    """The four levels that two bytes name, read as a number [65536, 4]: one look for four weights."""
    if device not in _tables:
        levels, pair = torch.tensor(LEVELS), torch.arange(256)
        pairs = torch.stack([levels[pair >> 4], levels[pair & 15]], 1)
        both = torch.arange(65536)  # the first byte is the low one
        _tables[device] = torch.cat([pairs[both & 255], pairs[both >> 8]], 1).to(device)
    return _tables[device]


class FourBitLinear(torch.nn.Linear):
    """y = x W^T + b with a frozen W in 4 bits: `weight` holds its codes, `whole()` makes W."""

    scales: Tensor

    def hold(self, weight: Tensor) -> None:
        """Round `weight` [out, in] and keep it. 64 must divide its count."""
        codes, scales = round_to_nf4(weight)
        self.weight = torch.nn.Parameter(codes, requires_grad=False)
        self.register_buffer("scales", scales)

    def whole(self) -> Tensor:
        """W [out, in] in memory of its own."""
        return from_nf4(self.weight, self.scales).view(self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """As torch.nn.Linear; the gradient goes to the input alone."""
        out: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias.to(out.dtype)


class _Product(torch.autograd.Function):
    """x W^T without keeping W for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FourBitLinear) -> Tensor:
        ctx.layer = layer
        return x @ layer.whole().to(x.dtype).t()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad @ ctx.layer.whole().to(grad.dtype), None


def weight_count(model: torch.nn.Module) -> int:
    """Weights of a model, those in 4 bits counted one by one."""
    twice = sum(m.weight.numel() for m in model.modules() if isinstance(m, FourBitLinear))
    return sum(parameter.numel() for parameter in model.parameters()) + twice
