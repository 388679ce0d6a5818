"""Model settings as GGUF metadata: which families are known, what llama.cpp takes for granted, rotary scaling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunebook.errors import ExportError

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Family:
    """`arch` is GGUF's name. `unread`: settings that Transformers' reader does not take from the file."""

    arch: str
    unread: tuple[str, ...]
    interleaved: bool = False
    norm_offset: float = 0.0


_GEMMA = ("query_pre_attn_scalar", "layer_types", "hidden_activation")
_SCALING = ("rope_parameters",)
FAMILIES = {
    "llama": Family("llama", ("attention_bias", "mlp_bias", *_SCALING), interleaved=True),
    "mistral": Family("llama", _SCALING, interleaved=True),
    "qwen2": Family("qwen2", _SCALING),
    "qwen3": Family("qwen3", ("head_dim", "attention_bias", *_SCALING)),
    "gemma2": Family("gemma2", (*_GEMMA, "attn_logit_softcapping", "final_logit_softcapping"), norm_offset=1.0),
    "gemma3_text": Family("gemma3", (*_GEMMA, *_SCALING), norm_offset=1.0),
}


def family_of(config: Any) -> Family:
    """The family of a model's configuration; ExportError names it when it is none of ours."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ExportError(
            f"GGUF export does not know the architecture '{config.model_type}'.",
            kept="Nothing was written.",
            do=f"It knows {', '.join(FAMILIES)}. Export safetensors and use llama.cpp's own converter on it.",
        )
    return family


def unread_settings(config: Any) -> dict[str, Any]:
    """The settings that must be handed to Transformers' GGUF reader, since it does not take them from the file."""
    found = {name: getattr(config, name, None) for name in family_of(config).unread}
    return {name: value for name, value in found.items() if value is not None}


def add_settings(writer: Any, config: Any, family: Family) -> None:
    import gguf

    head = _head_size(config)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(head)
    rope = _rope(config)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if family.arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if family.arch == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def refuse_settings(config: Any) -> None:
    """ExportError for settings that llama.cpp takes for granted otherwise than this model has them."""
    rope, head = _rope(config), _head_size(config)
    wrong = []
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3"):
        wrong.append(f"rope scaling of the type {rope['rope_type']}")
    if float(rope.get("partial_rotary_factor", 1.0)) != 1.0:
        wrong.append("rotary positions on a part of each head")
    if config.model_type in ("mistral", "qwen2", "qwen3", "llama") and "sliding_attention" in _layer_kinds(config):
        wrong.append("a sliding window")
    if config.model_type == "mistral" and config.sliding_window:
        wrong.append("a sliding window")
    if getattr(config, "hidden_act", "silu") not in ("silu", "gelu_pytorch_tanh"):
        wrong.append(f"the activation {config.hidden_act}")
    if config.model_type.startswith("gemma"):
        period = 2 if config.model_type == "gemma2" else 6
        usual = ["full_attention" if (layer + 1) % period == 0 else "sliding_attention" for layer in range(period * 99)]
        if _layer_kinds(config) != usual[: config.num_hidden_layers]:
            wrong.append("an unusual order of sliding and full attention")
        if config.query_pre_attn_scalar != head:
            wrong.append(f"attention scaled by {config.query_pre_attn_scalar} and not by the size of a head, {head}")
        local = (config.rope_parameters.get("sliding_attention") or {}).get("rope_theta", 10_000.0)
        if config.model_type == "gemma3_text" and local != 10_000.0:
            wrong.append(f"a rotary base of {local:g} in sliding layers")
    if wrong:
        raise ExportError(
            f"GGUF export cannot write this {config.model_type} model: it has {' and '.join(dict.fromkeys(wrong))}.",
            kept="Nothing was written.",
            do="Export safetensors and use llama.cpp's own converter on it.",
        )


def _layer_kinds(config: Any) -> list[str]:
    return list(getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers)


def _rope(config: Any) -> dict[str, Any]:
    rope = dict(config.rope_parameters or {})
    return dict(rope["full_attention"]) if "full_attention" in rope else rope


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def llama3_factors(config: Any) -> Float32 | None:
    """Llama 3's rope scaling as divisors of the frequencies: 1 for short waves, `factor` for long, blended between."""
    rope = _rope(config)
    if rope.get("rope_type") != "llama3":
        return None
    head = _head_size(config)
    waves = 2 * math.pi * float(rope["rope_theta"]) ** (np.arange(0, head, 2, dtype=np.float64) / head)
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    factor, old = float(rope["factor"]), float(rope["original_max_position_embeddings"])
    share = np.clip((old / waves - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - share) / factor + share)).astype(np.float32)
