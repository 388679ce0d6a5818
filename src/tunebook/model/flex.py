"""Attention of all examples of a row in one call: FlexAttention (Dong et al. 2024, arXiv:2412.05496).

Its kernel is compiled from the rule of who sees whom, and skips blocks of 128 by 128 in which nobody sees anybody:

             p1 p2 | a1 a2 | b1
    p1        #
    p2        #  #
    a1        #  #    #
    a2        #  #    #  #
    b1        #  #           #      prefix 2, lengths (2, 1)

A compiled kernel depends on the GPU, its driver and Triton, so `why_not` has it prove itself on the machine at hand
before anything is trained with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

DEVICES = ("cuda",)  # where there is a kernel to compile
_BOUNDS = {torch.bfloat16: 0.05, torch.float16: 0.01}  # of `largest_difference`; 1e-3 where it is wider


def mask(lengths: tuple[int, ...], prefix: int, device: torch.device, window: int | None = None) -> Any:
    """The mask of a row: `prefix` tokens that every example begins with, then each one's own.

    With a `window` a token sees the last so many, itself among them.
    """
    spans = torch.tensor([prefix, *lengths])
    tokens = int(spans.sum())
    example = torch.arange(len(spans)).repeat_interleave(spans).to(device)  # 0 is the prefix
    position = torch.cat([torch.arange(prefix), *(torch.arange(prefix, prefix + n) for n in lengths)]).to(device)

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        before = ((example[query] == example[key]) | (example[key] == 0)) & (query >= key)
        return before if window is None else before & (position[query] - position[key] < window)

    return create_block_mask(sees, None, None, tokens, tokens, device=str(device))


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Any, scale: float | None) -> Tensor:
    """Attention under `mask`: [1, heads, tokens, dim] like query; key and value may have fewer heads."""
    kernel = _compiled() if query.device.type == "cuda" else flex_attention
    out: Tensor = kernel(query, key, value, block_mask=mask, scale=scale, enable_gqa=query.shape[1] != key.shape[1])
    return out


@cache
def _compiled() -> Any:
    # one for each kind of call: precision, with gradients or not, short or long; past the limit a call is not compiled
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    return torch.compile(flex_attention)


def why_not(config: Any, device: torch.device, dtypes: Iterable[torch.dtype]) -> str:
    """Why the attention of this model should not be flexible on `device`, or '': a trial in each of `dtypes` tells."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    for dtype in dtypes:
        try:
            apart = largest_difference(heads, kv_heads, dim, device, dtype)
        except Exception as error:  # whatever a compiler, a driver or a library may raise
            return f"its kernel failed on this machine ({type(error).__name__})"
        if not apart < _BOUNDS.get(dtype, 1e-3):
            return f"its kernel is wrong by {apart:.2g} in {dtype} on this machine"
    return ""


# lengths and prefix of the rows of a trial: long, short, and with a beginning that all share
_ROWS = (((100, 137, 1, 62), 0), ((40, 23), 0), ((90, 1, 150), 70))


def largest_difference(heads: int, kv_heads: int, dim: int, device: torch.device, dtype: torch.dtype) -> float:
    """How far output and gradients are from PyTorch's own attention under a written-out mask, over made-up rows.

    Relative to the largest number of each; with and without gradients. NaN where one of them is.
    """
    made = torch.Generator().manual_seed(0)
    apart = []
    for lengths, prefix in _ROWS:
        tokens = prefix + sum(lengths)
        *inputs, pull = (
            torch.randn(1, count, tokens, dim, generator=made).to(device, dtype)
            for count in (heads, kv_heads, kv_heads, heads)
        )
        rule, written = mask(lengths, prefix, device), _written_out(lengths, prefix).to(device)
        q, k, v = (tensor.requires_grad_() for tensor in inputs)
        with torch.no_grad():
            read = attend(q, k, v, rule, None)
        out = attend(q, k, v, rule, None)
        found = (read, out, *torch.autograd.grad(out, (q, k, v), pull))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=written, enable_gqa=True)
        right = (out, out, *torch.autograd.grad(out, (q, k, v), pull))
        apart += [((a - b).abs().max() / b.abs().max()).detach() for a, b in zip(found, right, strict=True)]
    return float(torch.stack(apart).max())


def _written_out(lengths: tuple[int, ...], prefix: int) -> Tensor:
    """Who sees whom [tokens, tokens], drawn block by block."""
    tokens = prefix + sum(lengths)
    sees = torch.zeros(tokens, tokens, dtype=torch.bool)
    start = 0
    for span in (prefix, *lengths):
        sees[start : start + span, start : start + span] = torch.ones(span, span, dtype=torch.bool).tril()
        start += span
    sees[prefix:, :prefix] = True
    return sees
