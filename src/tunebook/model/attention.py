"""Attention without padding: examples lie end to end in one row, and each attends to itself alone.

    ids        [a1 a2 a3 | b1 b2 | c1 c2 c3 c4]     one row of 9 tokens, lengths (3, 2, 4)
    positions  [ 0  1  2 |  0  1 |  0  1  2  3]

No token is padding, and what one example holds cannot reach another. On a CPU each example is one call of PyTorch's
attention; on a GPU, where many small calls would cost more than the work, one call of FlexAttention (`flex.py`) does
all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tunebook.model import flex

NAME = "per_example"


@dataclass(frozen=True, slots=True)
class Packed:
    """Where the examples of a row lie, as the model hands it to its attention: after `prefix` tokens that all share.

    `mask` is FlexAttention's, or None where each example is a call of its own, which knows no prefix.
    """

    lengths: tuple[int, ...]
    mask: Any = None

    @staticmethod
    def of(lengths: tuple[int, ...], prefix: int, device: torch.device, *, flexible: bool) -> Packed:
        """Each token sees the prefix, and its own example up to itself."""
        return Packed(lengths, flex.mask(lengths, prefix, device) if flexible else None)


def attend_per_example(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed: Packed | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each example. query [1, heads, tokens, dim]; key and value may have fewer heads."""
    if packed is None:
        raise ValueError("attention per example needs to know where the examples lie")
    if packed.mask is not None:
        out = flex.attend(query, key, value, packed.mask, scaling)
    else:
        parts = zip(*(torch.split(tensor, list(packed.lengths), 2) for tensor in (query, key, value)), strict=True)
        said = [
            F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=True)
            for q, k, v in parts
        ]
        out = torch.cat(said, 2)
    return out.transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(NAME, attend_per_example)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, lambda *args, **kwargs: None)


def can_attend_per_example(model: Any) -> bool:
    """Does this architecture attend in full, causally, and through Transformers' own attention table?

    Sliding windows, soft-capped scores, attention sinks and layers that mix tokens otherwise are left to the plain way.
    """
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        config.model_type
        in {"llama", "qwen2", "qwen3", "mistral", "olmo2", "smollm3", "granite", "gemma", "gpt2", "gpt_neox"}
        and kinds == {"full_attention"}
        and not getattr(config, "sliding_window", None)
    )


@contextmanager
def attention(model: Any, name: str) -> Iterator[None]:
    """Run the block with another attention implementation, and put the old one back."""
    before = model.config._attn_implementation
    if before == name:
        yield
        return
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
