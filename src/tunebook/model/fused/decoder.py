"""A Transformers decoder taken apart into the blocks of this room, where its every part is known.

The weights stay where they are: blocks hold the model's own parameters, so optimizer, checkpoints and export see
nothing of this. Known are Llama, Mistral, Qwen2, Qwen3 and Gemma, as they are and with PEFT's LoRA on linear layers, on
a CPU; what is not known is named, and the caller takes another way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tunebook.model.four_bits import FourBitLinear
from tunebook.model.fused import KNOWN
from tunebook.model.fused.blocks import AttentionBlock, FeedForwardBlock, attention_block, feed_forward_block
from tunebook.model.fused.pieces import ACTIVATIONS, Layout, Linear, Linears, Norm, NormedLinears
from tunebook.model.products import EXACT, Times


class Unknown(Exception):
    """This decoder has a part that the fused blocks do not know; the message names it."""


@dataclass(frozen=True, slots=True)
class FusedDecoder:
    """Embeddings and positions by the model's own modules, layers by blocks."""

    core: Any
    layers: tuple[tuple[AttentionBlock, FeedForwardBlock], ...]

    def __call__(
        self, embedded: Tensor, positions: Tensor, lengths: tuple[int, ...], prefix: int, where: Tensor
    ) -> Tensor:
        """Last hidden states [len(where), d] at the positions `where`; the last feed-forward block sees them alone.

        embedded [n, d]: the examples' common prefix, then what each has of its own, end to end.
        """
        cos, sin = (part[0].chunk(2, -1)[0][:, None] for part in self.core.rotary_emb(embedded, positions[None]))
        layout = Layout.of(cos.contiguous(), sin.contiguous(), lengths, prefix)
        hidden = embedded
        for number, (attention, feed_forward) in enumerate(self.layers, 1):
            hidden = attention_block(attention, hidden, layout)
            if number == len(self.layers):
                hidden = hidden.index_select(0, where)
            hidden = feed_forward_block(feed_forward, hidden)
        normed: Tensor = self.core.norm(hidden)
        return normed


def take_apart(bare: Any, times: Times = EXACT) -> FusedDecoder:
    """The fused form of a Transformers model, adapters included, multiplying by `times`.

    Unknown says what stands in the way.
    """
    name = type(bare).__name__
    if name not in KNOWN or not type(bare).__module__.startswith("transformers."):
        raise Unknown(f"{name} is not among the known architectures")
    first = next(bare.parameters())
    if first.device.type != "cpu" or first.dtype not in (torch.float32, torch.float64):
        raise Unknown(f"its weights are {first.dtype} on {first.device.type}, not float32 on a CPU")
    if bare.config.hidden_act not in ACTIVATIONS:
        raise Unknown(f"its activation is {bare.config.hidden_act}")
    if getattr(bare.config, "sliding_window", None):
        raise Unknown("its attention has a sliding window")
    return FusedDecoder(
        bare.model, tuple(_blocks(layer, bare.config, KNOWN[name], times) for layer in bare.model.layers)
    )


def _blocks(layer: Any, config: Any, offset: float, times: Times) -> tuple[AttentionBlock, FeedForwardBlock]:
    attention, mlp = layer.self_attn, layer.mlp
    if attention.attention_dropout:
        raise Unknown("its attention has dropout")
    qkv = _linears(times, attention.q_proj, attention.k_proj, attention.v_proj)
    head_norms = [
        _norm(getattr(attention, name), config) if hasattr(attention, name) else None for name in ("q_norm", "k_norm")
    ]
    return (
        AttentionBlock(
            NormedLinears(_norm(layer.input_layernorm, config, offset), qkv),
            _linears(times, attention.o_proj),
            attention.head_dim,
            attention.scaling,
            *head_norms,
        ),
        FeedForwardBlock(
            NormedLinears(
                _norm(layer.post_attention_layernorm, config, offset), _linears(times, mlp.gate_proj, mlp.up_proj)
            ),
            _linears(times, mlp.down_proj),
            ACTIVATIONS[config.hidden_act],
        ),
    )


def _norm(module: Any, config: Any, offset: float = 0.0) -> Norm:
    return Norm(module.weight, config.rms_norm_eps, offset)


def _linears(times: Times, *modules: Any) -> Linears:
    return Linears(tuple(_linear(module) for module in modules), times)


_PLAIN = (torch.nn.Linear, FourBitLinear)


def _linear(module: Any) -> Linear:
    """The weights of a torch.nn.Linear, alone or inside PEFT's LoRA layer."""
    if type(module) in _PLAIN:
        return Linear(module.weight, module.bias, held=_held(module))
    from peft.tuners.lora.layer import Linear as LoraLinear

    base: Any = getattr(module, "base_layer", None)
    if type(module) is not LoraLinear or type(base) not in _PLAIN:
        raise Unknown(f"it has a layer of type {type(module).__name__}")
    names = [name for name in module.active_adapters if name in module.lora_A]
    if len(names) != 1 or module.merged or module.disable_adapters or module.lora_variant or module.lora_bias[names[0]]:
        raise Unknown("it has adapters that are more than one plain LoRA")
    (name,) = names
    if getattr(module.lora_dropout[name], "p", 0):
        raise Unknown("its adapters have dropout")
    a, b = (getattr(module, side)[name].weight for side in ("lora_A", "lora_B"))
    return Linear(base.weight, base.bias, a, b, module.scaling[name], _held(base))


def _held(layer: Any) -> FourBitLinear | None:
    return layer if isinstance(layer, FourBitLinear) else None
