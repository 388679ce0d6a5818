"""Time and memory of a plan on many devices, computed and not measured: arithmetic, memory and links of each device.

    step        = compute + communication, one after the other (gradients are summed once, behind the backward pass)
    compute     = 4 P T / (W A u) for LoRA, 6 P T / (W A u) in full     P parameters, T tokens, W devices, A their
                                                                        arithmetic, u the share of it that is reached
    all-reduce  = 2 (W - 1) / W x bytes of the gradients / link         a ring (Patarasu & Yuan 2009)
    fully_shard = (W - 1) / W x bytes / link, for the layers' weights twice a micro-batch and their gradients once

The link is the slowest that a ring over all devices crosses: within one machine, or between machines shared by their
devices. Numbers are float32, as Tunebook trains, but for a base in 4 bits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tunebook.errors import RunError
from tunebook.model.sources import read_config
from tunebook.plan.facts import Facts, optimizer_steps
from tunebook.plan.schema import Plan
from tunebook.workflow.memory import MICRO_BATCH_TOKENS, Shape, micro_batch_tokens

_REACHED = 0.5  # share of a GPU's arithmetic that training reaches: assumed, not measured
_NUMBER = 4  # bytes of a float32


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
            do=f"Name a folder in model.name that has config.json and the tokenizer of '{plan.model.name}'; "
            "weights are not needed there.",
        )
    work = _Work.of(plan, facts)
    ways = [False] if plan.model.quantization else [False, True]  # weights in 4 bits are not split
    for split in [sharded] if sharded is not None else ways:
        found = _reckon(work, DEVICES[device], workers, split=split)
        if found.fits:
            break
    return found


@dataclass(frozen=True, slots=True)
class _Work:
    """What a plan asks of all devices together. `embedding`: parameters that stay whole where the others are split."""

    optimizer_steps: int
    tokens: float  # of one optimizer step
    at_once: int  # tokens of a micro-batch
    longest: int
    shape: Shape
    parameters: int
    embedding: int
    trained: int
    lora: bool
    held: float  # the base's weights, in numbers of 4 bytes

    @staticmethod
    def of(plan: Plan, facts: Facts) -> _Work:
        assert facts.tokens is not None
        config = read_config(plan.model.name)
        parameters = parameters_of(config)
        shape = Shape.of(config, _NUMBER * parameters)
        lora = plan.training.method == "lora"
        return _Work(
            optimizer_steps=optimizer_steps(plan, facts),
            tokens=facts.tokens / max(1, facts.training) * min(plan.training.batch_size, facts.training),
            at_once=micro_batch_tokens(plan, MICRO_BATCH_TOKENS["cuda"]),
            longest=facts.longest or 0,
            shape=shape,
            parameters=parameters,
            embedding=_embedding_parameters(config),
            trained=_lora_parameters(plan, shape) if lora else parameters,
            lora=lora,
            held=shape.held_bytes(plan.model.quantization) / _NUMBER,
        )

    def copied(self) -> tuple[float, float]:
        """(numbers that each device sends a step, numbers that it holds) where each has a copy of the model."""
        return 2.0 * self.trained, self.held + 3.0 * self.trained

    def split(self, workers: int, passes: float) -> tuple[float, float]:
        """The same where the layers are split; a step takes so many forward and backward `passes`."""
        layers = self.parameters - self.embedding
        trained_whole = 0 if self.lora else self.embedding
        trained_parts = self.trained - trained_whole
        sent = (2 * layers + trained_parts) * passes + 2 * trained_whole
        held = self.embedding + 3 * trained_whole + (layers + 3 * trained_parts) / workers
        return sent, held + 2 * layers / max(1, self.shape.layers)  # two layers are put together at a time


def _reckon(work: _Work, device: Device, workers: int, *, split: bool) -> Scaled:
    tokens = work.tokens / workers
    at_once = max(min(work.at_once, tokens), work.longest)  # a longer example goes alone
    sent, held = work.split(workers, max(1.0, tokens / at_once)) if split else work.copied()
    memory = _NUMBER * held + at_once * work.shape.bytes_per_token()
    compute = (4 if work.lora else 6) * work.parameters * tokens / (device.arithmetic * _REACHED)
    communication = (workers - 1) / workers * sent * _NUMBER / slowest_link(device, workers)
    step = compute + communication
    return Scaled(
        workers=workers,
        device=device.name,
        parallelism="fully_shard" if split else "all-reduce",
        optimizer_steps=work.optimizer_steps,
        seconds_per_step=step,
        seconds=work.optimizer_steps * step,
        communication_share=communication / step,
        memory_bytes=memory,
        device_bytes=device.memory,
        parameters=work.parameters,
        fits=memory <= 0.95 * device.memory,
    )


def slowest_link(device: Device, workers: int) -> float:
    """Bytes a second that a ring over `workers` devices moves past its narrowest place."""
    return device.link if workers <= device.a_machine else min(device.link, device.network)


def parameters_of(config: dict[str, Any]) -> int:
    """Parameters of a model, from its config.json: embedding, attention, two or three matrices inside, head."""
    width = int(config.get("hidden_size") or config["n_embd"])  # GPT-2 has names of its own
    layers = int(config.get("num_hidden_layers") or config["n_layer"])
    heads = int(config.get("num_attention_heads") or config["n_head"])
    size = int(config.get("head_dim") or width // heads)
    keys = int(config.get("num_key_value_heads") or heads)
    attention = 2 * width * heads * size + 2 * width * keys * size
    gated = config.get("intermediate_size")
    inside = 3 * width * int(gated) if gated else 2 * width * int(config.get("n_inner") or 4 * width)
    return layers * (attention + inside + 2 * width) + width + _embedding_parameters(config)


def _embedding_parameters(config: dict[str, Any]) -> int:
    tables = 1 if config.get("tie_word_embeddings") else 2
    return tables * int(config["vocab_size"]) * int(config.get("hidden_size") or config["n_embd"])


def _lora_parameters(plan: Plan, shape: Shape) -> int:
    return plan.lora.rank * shape.layers * (8 * shape.width + 3 * (shape.width + shape.inner))
