"""How much memory a plan asks for, reckoned from the model's shape before its weights are read.

weights                      4 bytes a parameter (float32); of layers held in 4 bits 0.5625
what is trained              12 more: gradient and AdamW's two moments
kept for the backward pass   per token and layer: rows as wide as the model, and rows as wide as its inner layer
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunebook.errors import RunError
from tunebook.model.fused import KNOWN
from tunebook.plan.schema import Plan
from tunebook.workflow.hardware import memory_bytes

# Tokens through the model at once where the plan names none. More does not make a CPU faster, and one number for every
# machine makes two runs of one plan equal to the bit.
MICRO_BATCH_TOKENS = {"cpu": 1024, "mps": 2048, "cuda": 8192}
_WIDE, _INNER = 20, 6  # rows that a layer keeps of a token: measured on Llama-style models
_WIDE_FUSED, _INNER_FUSED = 5, 2  # what `model/fused/blocks.py` keeps
_IMPORTS = 0.6e9  # Python, torch and Transformers
_FOUR_BITS = 0.5625 / 4  # of what float32 takes: `model/four_bits.py`


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model's config.json decides its memory; unknown models count with what their weights say."""

    layers: int
    width: int
    inner: int
    weights_bytes: int
    embedding_bytes: int = 0
    fused: bool = False  # on a CPU it trains through blocks of our own, which keep less

    @staticmethod
    def of(config: dict[str, Any], weights_bytes: int) -> Shape:
        """Read the usual names, and GPT-2's."""
        width = int(config.get("hidden_size") or config.get("n_embd") or 0)
        inner = int(config.get("intermediate_size") or config.get("n_inner") or 4 * width)
        layers = int(config.get("num_hidden_layers") or config.get("n_layer") or 0)
        tables = 1 if config.get("tie_word_embeddings") else 2
        embedding = 4 * tables * int(config.get("vocab_size") or 0) * width
        slides = config.get("sliding_window") and config.get("use_sliding_window", True)
        known = KNOWN.keys() & set(config.get("architectures") or ())
        fused = bool(known) and not slides
        return Shape(layers, width, inner, weights_bytes, min(embedding, weights_bytes), fused)

    def held_bytes(self, quantization: str | None) -> float:
        """The base's weights in memory."""
        share = _FOUR_BITS if quantization else 1.0
        return self.embedding_bytes + share * (self.weights_bytes - self.embedding_bytes)

    def bytes_per_token(self, *, fused: bool = False) -> float:
        """Kept for the backward pass by each token of a micro-batch."""
        wide, inner = (_WIDE_FUSED, _INNER_FUSED) if fused else (_WIDE, _INNER)
        return 4.0 * self.layers * (wide * self.width + inner * self.inner)


def needed_bytes(plan: Plan, shape: Shape, tokens: int, *, gpu: bool = False) -> float:
    """Memory of `plan` in bytes: of training with `tokens` in a micro-batch, or on a CPU of comparing an export."""
    held = shape.held_bytes(plan.model.quantization)
    trained = float(shape.weights_bytes)
    if plan.training.method == "lora":
        trained = 4.0 * plan.lora.rank * shape.layers * (8 * shape.width + 3 * (shape.width + shape.inner))
    adapters = trained if plan.training.method == "lora" else 0.0
    training = _IMPORTS + held + adapters + 3 * trained + kept_bytes(plan, shape, tokens, gpu=gpu)
    if gpu or not plan.model.quantization or not plan.export.formats:
        return training
    return max(training, 2 * _IMPORTS + held + adapters + shape.weights_bytes)  # an export holds whole weights


def kept_bytes(plan: Plan, shape: Shape, tokens: int, *, gpu: bool = False) -> float:
    """What a micro-batch of `tokens` keeps for its backward pass."""
    return tokens * shape.bytes_per_token(fused=shape.fused and not gpu and not plan.training.dropout)


def micro_batch_tokens(plan: Plan, usual: int) -> int:
    """Tokens through the model at once: what the plan says, else `usual`; a longer example goes alone."""
    return plan.training.micro_batch_tokens or usual


def check_memory(
    plan: Plan,
    shape: Shape,
    longest: int,
    per_step: int,
    usual: int,
    *,
    gpu_bytes: float | None = None,
    copies: int = 1,
) -> None:
    """RunError when the plan is beyond this machine, or beyond its GPU of `gpu_bytes`.

    `per_step`: tokens of the fullest optimizer step. `copies`: workers that hold the model on this machine.
    """
    tokens, gpu = max(longest, min(micro_batch_tokens(plan, usual), per_step)), gpu_bytes is not None
    there = float(memory_bytes()) if gpu_bytes is None else gpu_bytes
    needed = copies * needed_bytes(plan, shape, tokens, gpu=gpu)
    if needed <= there:
        return
    ways = ["choose a smaller model"]
    if plan.training.method == "full":
        ways.insert(0, "set training.method to lora")
    elif plan.lora.rank > 16:
        ways.insert(0, "lower lora.rank")
    if not plan.model.quantization:
        ways.insert(0, "set model.quantization to nf4, with training.method lora")
    elif plan.export.formats and not gpu:
        ways.insert(0, "set export.formats to [] and export where the whole model fits")
    if copies * kept_bytes(plan, shape, tokens, gpu=gpu) > there / 2:
        ways.insert(0, "lower data.max_length and training.micro_batch_tokens")
    if copies > 1:
        ways.insert(0, "take fewer workers")
    place, whose = "GPU" if gpu else "machine", f" for its {copies} workers" if copies > 1 else ""
    raise RunError(
        f"The plan needs about {needed / 1e9:.1f} GB of memory{whose} and this {place} has {there / 1e9:.1f} GB.",
        kept="Nothing was trained." if gpu else "Nothing was started.",
        do=f"You can {', or '.join(ways)}.",
    )
