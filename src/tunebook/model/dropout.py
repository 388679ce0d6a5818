"""Dropout of a model: what its modules draw while they train, whatever its configuration says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

# as Transformers' models name the rates that their modules read while they run
_RATES = ("dropout", "attention_dropout", "activation_dropout", "residual_dropout", "embedding_dropout")
_OF_ATTENTION = ("attention_dropout", "attn_dropout")


def set_dropout(model: Any, rate: float) -> None:
    """Let the plan's dropout be the model's, instead of what its makers trained it with (0.1 in GPT-2).

    Its configuration stays: an export says what its base says.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate
        for name in _RATES:
            if isinstance(getattr(module, name, None), int | float):
                setattr(module, name, rate)


def draws(model: Any) -> bool:
    """Is anything in `model`, adapters included, dropped at random?"""
    modules = list(model.modules())
    return any(isinstance(module, torch.nn.Dropout) and module.p for module in modules) or any(
        rate for module in modules for _, rate in _rates(module, _RATES)
    )


def attention_draws(model: Any) -> bool:
    """Are attention's probabilities dropped at random?"""
    return any(rate for module in model.modules() for _, rate in _rates(module, _OF_ATTENTION))


def _rates(module: Any, names: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """(name, rate) of the attributes among `names` that are rates, or modules of dropout with one."""
    for name in names:
        found = getattr(module, name, None)
        rate = found.p if isinstance(found, torch.nn.Dropout) else found
        if isinstance(rate, int | float) and not isinstance(rate, bool):
            yield name, rate
