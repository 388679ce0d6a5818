"""A model, for a while, as a reader and not as a learner: dropout off, no gradients, attention that takes padding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from tunebook.model import attention


@contextmanager
def reading(model: Any) -> Iterator[None]:
    """Evaluation mode, no gradients, and attention that takes padded rows and a cache; then all is put back."""
    training = [(module, module.training) for module in model.modules()]
    core = base_of(model)
    for_training = core.config._attn_implementation == attention.NAME
    model.eval()
    try:
        with attention.attention(core, "sdpa") if for_training else nullcontext(), torch.no_grad():
            yield
    finally:
        for module, was in training:
            module.training = was


def base_of(model: Any) -> Any:
    """The Transformers model inside, when `model` carries adapters; else `model`."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def device_of(model: Any) -> torch.device:
    """Where the model's weights are."""
    return torch.device(next(model.parameters()).device)


def longest(model: Any) -> int | None:
    """How many tokens the model can take in all; None when its configuration does not say."""
    length = getattr(base_of(model).config.get_text_config(decoder=True), "max_position_embeddings", None)
    return int(length) if length else None
