"""Time and memory of a plan on many devices, computed and not measured: arithmetic, memory and links of each device.

    step        = compute + communication, one after the other (gradients are summed once, behind the backward pass)
    compute     = 4 P T / (W A u) for LoRA, 6 P T / (W A u) in full     P parameters, T tokens, W devices, A their
                                                                        arithmetic, u the share of it that is reached
    all-reduce  = 2 (W - 1) / W x bytes of the gradients / link         a ring (Patarasu & Yuan 2009)
    fully_shard = (W - 1) / W x bytes / link, for the layers' weights twice a micro-batch and their gradients once

The link is the slowest that a ring over all devices crosses: within one machine, or between machines shared by their
devices. Numbers are float32, as Tunebook trains. `here` is this machine's processor, its constants measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tunebook.errors import RunError
from tunebook.model.sources import read_config
from tunebook.plan.facts import Facts, optimizer_steps
from tunebook.plan.schema import Plan
from tunebook.workflow.hardware import threads_of_each
from tunebook.workflow.memory import MICRO_BATCH_TOKENS, Shape, micro_batch_tokens

if TYPE_CHECKING:
    from tunebook.workflow.estimate import Estimate

_REACHED = 0.5  # share of a GPU's arithmetic that training reaches: assumed, not measured
_NUMBER = 4  # bytes of a float32
_LOOPBACK = 1e9  # bytes a second that two gloo workers on one machine sum


@dataclass(frozen=True, slots=True)
class Device:
    """Arithmetic in float32 FLOP/s, memory in bytes, links in bytes/s one way; `network` is a whole machine's."""

    name: str
    arithmetic: float
    memory: float
    link: float
    network: float
    a_machine: int  # devices in one machine


# The makers' data sheets: float32 without tensor cores; NVLink or PCIe one way; network as usually sold with them.
DEVICES = {
    device.name: device
    for device in (
        Device("h200", 67e12, 141e9, 450e9, 400e9, 8),
        Device("h100", 67e12, 80e9, 450e9, 400e9, 8),
        Device("a100-80gb", 19.5e12, 80e9, 300e9, 200e9, 8),
        Device("a100-40gb", 19.5e12, 40e9, 300e9, 200e9, 8),
        Device("l40s", 91.6e12, 48e9, 32e9, 25e9, 8),
        Device("l4", 30.3e12, 24e9, 16e9, 12.5e9, 8),
        Device("rtx-4090", 82.6e12, 24e9, 32e9, 1.25e9, 4),
        Device("t4", 8.1e12, 16e9, 16e9, 6.25e9, 4),
    )
}


@dataclass(frozen=True, slots=True)
class Scaled:
    """A plan on `workers` devices: `computed` says that nothing of it was measured."""

    workers: int
    device: str
    parallelism: str
    optimizer_steps: int
    seconds_per_step: float
    seconds: float
    communication_share: float
    memory_bytes: float
    device_bytes: float
    parameters: int
    fits: bool
    computed: bool = True

    def to_json(self) -> dict[str, Any]:
        """As `tunebook estimate --workers --json` prints it under `workers`."""
        return asdict(self)


def scale(plan: Plan, facts: Facts, workers: int, device: str, *, sharded: bool | None = None) -> Scaled:
    """Reckon `plan` on `workers` of `device`. `sharded` None: split the model only where a copy does not fit.

    RunError when the device is not known or the data's tokens are not.
    """
    if device not in DEVICES:
        known = ", ".join(DEVICES)
        raise RunError(f"The device '{device}' is not known here.", do=f"Known are: {known}.")
    if facts.tokens is None:
        raise RunError(
            f"The tokens of {plan.data.path} are not known, so neither is the time.",
            do="Put the model's tokenizer into its folder: the weights themselves are not needed.",
        )
    config = read_config(plan.model.name)
    numbers = parameters_of(config)
    shape = Shape.of(config, _NUMBER * numbers)
    split = [sharded] if sharded is not None else [False, True]
    for each in split:
        found = _reckon(plan, facts, workers, DEVICES[device], shape, numbers, config, each)
        if found.fits:
            break
    return found


def _reckon(
    plan: Plan,
    facts: Facts,
    workers: int,
    device: Device,
    shape: Shape,
    numbers: int,
    config: dict[str, Any],
    split: bool,
) -> Scaled:
    steps = optimizer_steps(plan, facts)
    assert facts.tokens is not None
    tokens = facts.tokens / max(1, facts.training) * min(plan.training.batch_size, facts.training)  # of one step
    lora = plan.training.method == "lora"
    trained = _lora_numbers(plan, shape) if lora else numbers
    compute = (4 if lora else 6) * numbers * tokens / (workers * device.arithmetic * _REACHED)
    budget = min(micro_batch_tokens(plan, MICRO_BATCH_TOKENS["cuda"]), tokens / workers)
    budget = max(budget, facts.longest or 0)  # a longer example goes alone
    whole = _embedding_numbers(config) if split else 0  # stays whole on every device
    link, ring = slowest_link(device, workers), (workers - 1) / workers
    if split:
        passes = max(1.0, tokens / workers / budget)
        moved = (
            2 * (numbers - whole) * passes + (trained if lora else trained - whole) * passes + 2 * whole * (not lora)
        )
    else:
        moved = 2.0 * trained
    communication = ring * moved * _NUMBER / link
    parts = workers if split else 1
    held = _NUMBER * (
        whole + (numbers - whole) / parts + 3 * (trained - whole * (not lora)) / parts + 3 * whole * (not lora)
    )
    gathered = 2 * _NUMBER * (numbers - whole) / max(1, shape.layers) if split else 0.0
    memory = held + gathered + budget * shape.bytes_per_token()
    step = compute + communication
    return Scaled(
        workers,
        device.name,
        "fully_shard" if split else "all-reduce",
        steps,
        step,
        steps * step,
        communication / step,
        memory,
        device.memory,
        numbers,
        memory <= 0.95 * device.memory,
    )


def estimate_here(plan: Plan, workers: int) -> Estimate:
    """The plan on `workers` of this machine's processes: steps are measured with the threads that each will have."""
    import torch

    from tunebook.workflow.estimate import make_estimate

    if workers == 1:
        return make_estimate(plan)
    torch.set_num_threads(threads_of_each(workers))
    found = make_estimate(plan)
    parts = dict(found.factors["parts"])
    before = sum(parts.values())
    gradients = _NUMBER * found.factors["trainable_parameters"]
    parts["training"] /= workers
    parts["communication"] = found.optimizer_steps * 2 * (workers - 1) / workers * gradients / _LOOPBACK
    parts["evaluations"] /= workers
    ratio = sum(parts.values()) / before
    return replace(
        found,
        seconds={name: value * ratio for name, value in found.seconds.items()},
        memory_bytes=workers * found.memory_bytes,
        factors={
            **found.factors,
            "workers": workers,
            "parts": {name: round(value, 1) for name, value in parts.items()},
        },
    )


def slowest_link(device: Device, workers: int) -> float:
    """Bytes a second that a ring over `workers` devices moves past its narrowest place."""
    return device.link if workers <= device.a_machine else min(device.link, device.network)


def parameters_of(config: dict[str, Any]) -> int:
    """Parameters of a Llama-like model, from its config.json: embedding, attention, three matrices inside, head."""
    width, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    heads = int(config["num_attention_heads"])
    size = int(config.get("head_dim") or width // heads)
    keys = int(config.get("num_key_value_heads") or heads)
    attention = 2 * width * heads * size + 2 * width * keys * size
    inside = 3 * width * int(config["intermediate_size"])
    return layers * (attention + inside + 2 * width) + width + _embedding_numbers(config)


def _embedding_numbers(config: dict[str, Any]) -> int:
    tables = 1 if config.get("tie_word_embeddings") else 2
    return tables * int(config["vocab_size"]) * int(config["hidden_size"])


def _lora_numbers(plan: Plan, shape: Shape) -> int:
    return plan.lora.rank * shape.layers * (8 * shape.width + 3 * (shape.width + shape.inner))
