"""Which weights are trained: every one, or LoRA adapters (Hu et al. 2021, arXiv:2106.09685) through PEFT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from tunebook.collector import no_collecting
from tunebook.errors import ModelError
from tunebook.model.dropout import set_dropout
from tunebook.plan.schema import Plan


@no_collecting()
def make_trainable(model: Any, plan: Plan) -> Any:
    """`model` with the plan's trainable parts: itself (full) or wrapped in a PeftModel (lora).

    Adapters start so that the model answers as its base does. Their first weights come from `training.seed`.
    """
    full = plan.training.method == "full"
    set_dropout(model, plan.training.dropout if full else 0.0)
    if full:
        return model.requires_grad_(True)
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=plan.lora.rank,
        lora_alpha=plan.lora.alpha or 2 * plan.lora.rank,  # type: ignore[arg-type]
        lora_dropout=plan.training.dropout,
        target_modules=list(plan.lora.targets) or "all-linear",
    )
    state = torch.random.get_rng_state()
    torch.manual_seed(plan.training.seed)
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(
            f"LoRA adapters do not fit this model: {error}.",
            do="Name modules of the model in lora.targets, or set training.method to full.",
        ) from error
    finally:
        torch.random.set_rng_state(state)


def trainable_parameters(model: Any) -> dict[str, torch.nn.Parameter]:
    """The trained parameters by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Run the block with LoRA adapters inside the weights, where each layer then is one product; needs them twice.

    The weights come back as the very tensors that they were: undoing a merge by subtraction would not give their bits.
    On a GPU whose memory does not hold them twice, the block is run with the adapters beside the weights.
    Layers that cannot be merged without loss (quantized), or are split over workers, or whose adapters are off, stay as
    they are.
    """
    kept: list[tuple[Any, torch.Tensor]] = []
    layers = [layer for layer in model.modules() if _can_merge(layer)]
    try:
        try:
            for layer in layers:
                weight = layer.get_base_layer().weight
                kept.append((layer, weight.data))
                weight.data = weight.data.clone()
                layer.merge()
        except torch.OutOfMemoryError:
            _put_back(kept)
        yield
    finally:
        _put_back(kept)


def _put_back(kept: list[tuple[Any, torch.Tensor]]) -> None:
    """Give layers their weights from before a merge; `kept` is empty then."""
    while kept:
        layer, before = kept.pop()
        layer.get_base_layer().weight.data = before
        layer.merged_adapters.clear()


def _can_merge(layer: Any) -> bool:
    if not hasattr(layer, "lora_A") or not hasattr(layer, "merge") or layer.merged or layer.disable_adapters:
        return False
    base = layer.get_base_layer()
    if type(base) not in (torch.nn.Linear, Conv1D) or any(layer.lora_bias.values()):
        return False
    return type(base.weight.data) is torch.Tensor  # a split one (DTensor) does not come back by assigning its data
