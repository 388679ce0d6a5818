"""Attention without padding: examples lie end to end in one row, and each attends to itself alone.

    ids        [a1 a2 a3 | b1 b2 | c1 c2 c3 c4]     one row of 9 tokens, lengths (3, 2, 4)
    positions  [ 0  1  2 |  0  1 |  0  1  2  3]

No token is padding, and what one example holds cannot reach another. On a CPU each example is one call of PyTorch's
attention; on a GPU, where many small calls would cost more than the work, one call of FlexAttention (`flex.py`) does
all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    """Where the examples of a row lie, as the model hands it to its attention.

    `masks` are FlexAttention's by sliding window, empty where each example is a call of its own.
    """

    lengths: tuple[int, ...]
    masks: Mapping[int | None, Any] = field(default_factory=dict)

    @staticmethod
    def for_flex(lengths: tuple[int, ...], prefix: int, device: torch.device, config: Any) -> Packed:
        """For one call: each token sees the prefix that all examples begin with, and its own example up to itself."""
        windows = {None, getattr(config, "sliding_window", None)}
        return Packed(lengths, {window: flex.mask(lengths, prefix, device, window) for window in windows})


def attend_per_example(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    packed: Packed | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each example. query [1, heads, tokens, dim]; key and value may have fewer heads.

    A token sees the last `sliding_window` tokens, itself among them.
    """
    if packed is None:
        raise ValueError("attention per example needs to know where the examples lie")
    if packed.masks:
        out = flex.attend(query, key, value, packed.masks[sliding_window], scaling)
    else:
        parts = zip(*(torch.split(tensor, list(packed.lengths), 2) for tensor in (query, key, value)), strict=True)
        out = torch.cat([_alone(q, k, v, scaling, dropout, sliding_window) for q, k, v in parts], 2)
    return out.transpose(1, 2).contiguous(), None


def _alone(q: Tensor, k: Tensor, v: Tensor, scale: float | None, dropout: float, window: int | None) -> Tensor:
    """Attention of one example, shorter than the window or not."""
    length, band = q.shape[2], None
    if window and length > window:
        band = torch.ones(length, length, dtype=torch.bool, device=q.device).tril_().triu_(1 - window)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=band, dropout_p=dropout, is_causal=band is None, scale=scale, enable_gqa=True
    )


ALL_ATTENTION_FUNCTIONS.register(NAME, attend_per_example)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, lambda *args, **kwargs: None)


# of Transformers' architectures those that attend through its table, handing it sliding windows
_KNOWN = {
    *("gemma", "gemma3_text", "gpt2", "gpt_neox", "granite", "llama", "mistral", "olmo2", "olmo3", "phi3"),
    *("qwen2", "qwen3", "smollm3", "starcoder2"),
}


def can_attend_per_example(model: Any) -> bool:
    """Does this architecture attend causally, in full or in sliding windows, through Transformers' attention table?

    Soft-capped scores, attention sinks, tokens that see what follows, positions that turn by the longest of a row, and
    layers that mix tokens otherwise are left to the plain way.
    """
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    changed = any(getattr(config, name, None) for name in ("attn_logit_softcapping", "use_bidirectional_attention"))
    changed |= bool({"dynamic", "longrope"} & _rope_types(getattr(config, "rope_parameters", None)))
    if "sliding_attention" in kinds:  # SmolLM3's mask then slides where its layers say that they do not
        changed |= not getattr(config, "use_sliding_window", True)
    return config.model_type in _KNOWN and kinds <= {"full_attention", "sliding_attention"} and not changed


def _rope_types(settings: Any) -> set[Any]:
    """The kinds of rotary positions in a configuration's entry, which may hold one for each kind of layer."""
    if not isinstance(settings, dict):
        return set()
    return {settings.get("rope_type")}.union(*map(_rope_types, settings.values()))


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
