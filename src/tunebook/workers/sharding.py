"""FSDP2: each layer's weights are split over the workers and put together only while that layer works.

The decoder's layers and last norm are split with `fully_shard` (Zhao et al. 2023, arXiv:2304.11277). The token
embedding and the head stay whole on every worker: the chunked loss reads the head's rows itself, and both may be one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from tunebook.errors import RunError


def shard(model: Any, world: int, device: str) -> None:
    """Split `model` (plain or PeftModel), which is on the CPU, over `world` workers' devices, in place.

    RunError when it was not split.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    bare = model.get_base_model() if hasattr(model, "peft_config") else model
    decoder = getattr(bare, bare.base_model_prefix)
    mesh = init_device_mesh(device, (world,))
    kept = {bare.get_input_embeddings().weight}
    layers = set(bare._no_split_modules or ())
    for module in list(decoder.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    fully_shard(decoder, mesh=mesh, ignored_params=kept)
    for module in model.modules():
        for own in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if not is_sharded(own):
                own.data = own.data.to(device)
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # the loss is divided by the trained tokens of all workers already
            module.set_force_sum_reduction_for_comms(True)  # gloo cannot multiply and sum in one
    split = sum(parameter.numel() for parameter in model.parameters() if is_sharded(parameter))
    if not layers or split == 0:
        raise RunError(
            f"The weights of this {bare.config.model_type} model cannot be split over workers.",
            do="Run it without --sharded, so that every worker holds a copy.",
        )


def is_sharded(tensor: Tensor) -> bool:
    """Is this worker's tensor a part of a whole?"""
    return isinstance(tensor, DTensor)


def local(tensor: Tensor) -> Tensor:
    """This worker's part of `tensor`; all of it when it is not split."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All parts of `tensor` put together; every worker has to call."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """This worker's part of the whole `tensor`, split as `pattern` is and where it is; without a word to the others."""
    tensor = tensor.to(pattern.device)
    if not isinstance(pattern, DTensor):
        return tensor
    return distribute_tensor(tensor, pattern.device_mesh, pattern.placements, src_data_rank=None)


@torch.no_grad()
def fill(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Copy whole weights into `parameters`, whichever part of them each worker holds."""
    for name, parameter in parameters.items():
        parameter.copy_(like(weights[name], parameter))
