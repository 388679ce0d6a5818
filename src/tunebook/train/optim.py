"""AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), its learning rate by step, gradient norms and clipping."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tunebook.plan.learning_rate import multiplier
from tunebook.plan.schema import TrainingPlan
from tunebook.workers.group import ALONE, Workers
from tunebook.workers.sharding import is_sharded, like, local


def make_optimizer(parameters: Mapping[str, torch.nn.Parameter], plan: TrainingPlan) -> torch.optim.AdamW:
    """AdamW over the trained parameters; weight decay on matrices only, not on norms and biases."""
    groups: list[dict[str, Any]] = []
    for split in (False, True):  # one group holds no split tensors beside whole ones
        mine = [parameter for parameter in parameters.values() if is_sharded(parameter) == split]
        matrices = [parameter for parameter in mine if parameter.dim() >= 2]
        others = [parameter for parameter in mine if parameter.dim() < 2]
        groups.append({"params": matrices, "weight_decay": plan.weight_decay})
        groups.append({"params": others, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, plan: TrainingPlan, step: int, steps: int) -> float:
    """Set and return the learning rate of optimizer step `step` (from 0) of `steps`."""
    rate = plan.learning_rate * multiplier(step, steps, plan.warmup)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def clip_gradients(
    parameters: Mapping[str, torch.nn.Parameter], max_norm: float, workers: Workers = ALONE
) -> dict[str, float]:
    """Scale all gradients so that their joint Euclidean norm is at most `max_norm`.

    Returns the norms before: the joint one as `gradient_norm`, and those of `norms_by_group`, which it is made of.
    """
    by_group = norms_by_group(parameters, workers)
    norm = math.sqrt(sum(each**2 for each in by_group.values()))
    factor = max_norm / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_ has it
    if factor < 1:
        for parameter in parameters.values():
            if parameter.grad is not None:
                local(parameter.grad).mul_(factor)
    return {"gradient_norm": norm, **by_group}


def norms_by_group(
    parameters: Mapping[str, torch.nn.Parameter], workers: Workers = ALONE, groups: int = 4
) -> dict[str, float]:
    """Euclidean norm of the gradient of each group: `gradient_norm/embeddings`, `.../layers 0-7`, ..., `.../head`.

    Layers are told by the first number in a parameter's name and joined into at most `groups` groups of neighbours.
    """
    layers = {name: int(found[1]) for name in parameters if (found := re.search(r"\.(\d+)\.", name))}
    highest = max(layers.values(), default=0)
    size = -(-(highest + 1) // groups)
    members: dict[str, list[Tensor]] = {}
    for name, parameter in parameters.items():
        if parameter.grad is None:
            continue
        if name in layers:
            first = layers[name] // size * size
            last = min(first + size - 1, highest)
            group = f"layers {first}-{last}" if last > first else f"layer {first}"
        else:
            group = "embeddings" if re.search(r"embed|wte|wpe", name) else "head"
        members.setdefault(group, []).append(parameter.grad)
    return {f"gradient_norm/{group}": _norm(grads, workers) for group, grads in members.items()}


def _norm(gradients: Sequence[Tensor], workers: Workers) -> float:
    """The joint Euclidean norm of gradients of which each worker may hold a part."""
    if not workers.sharded:
        return float(torch.nn.utils.get_total_norm(gradients))
    sides = [[local(gradient) for gradient in gradients if is_sharded(gradient) == split] for split in (False, True)]
    copies, split_up = (float(torch.nn.utils.get_total_norm(side)) if side else 0.0 for side in sides)
    return math.sqrt(copies**2 + workers.sum(split_up**2))


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, Tensor]:
    """The optimizer's state as named tensors: `<parameter>/exp_avg`, `/exp_avg_sq` and `/step`."""
    return {
        f"{name}/{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave. KeyError when a tensor is missing."""
    for name, parameter in parameters.items():
        keys = ("step", "exp_avg", "exp_avg_sq")
        if f"{name}/step" in tensors:
            given = {key: tensors[f"{name}/{key}"].clone() for key in keys}
            moments = {key: like(given[key], parameter) for key in keys[1:]}
            optimizer.state[parameter] = {"step": given["step"].to(parameter.device), **moments}
