"""The one seam between the loop and the model: `forward_backward`, with a fast way and a plain way behind it.

The plain way is the textbook: each example by itself through the model's own forward, all logits, cross-entropy; no
padding, whose mask not every architecture survives. The fast way takes all examples at once and keeps no logits. Both
give the same loss and gradients; tests prove the fast way against the plain one, and what it cannot take goes the plain
way, with the reason said.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tunebook.model import attention
from tunebook.train.batches import MicroBatch
from tunebook.train.loss import summed_loss, token_losses

# config entries under which a model changes its logits after the head; the chunked loss does not know them
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


@dataclass(slots=True)
class Parts:
    """Seconds spent in each part of the pipeline."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, part: str, since: float) -> float:
        """Book the time since `since` under `part`; returns now."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - since
        return now


@dataclass(slots=True)
class Engine:
    """How micro-batches go through this model. `why_plain` says why the fast way is not taken; empty when it is."""

    model: Any
    why_plain: str
    smoothing: float = 0.0
    noise_alpha: float = 0.0
    parts: Parts = field(default_factory=Parts)

    def forward_backward(self, batch: MicroBatch, divide_by: int) -> float:
        """Add the gradient of (summed loss / divide_by) to the trained parameters; returns the summed loss in nats."""
        noise = self._noise(batch)
        if self.why_plain:
            pieces = list(
                zip(
                    _alone(batch),
                    torch.split(noise, list(batch.lengths)) if noise is not None else repeat(None),
                    strict=False,
                )
            )
        else:
            pieces = [(batch, noise)]
        return sum(self._one(piece, its_noise, divide_by) for piece, its_noise in pieces if len(piece.targets))

    def _one(self, batch: MicroBatch, noise: Tensor | None, divide_by: int) -> float:
        start = time.perf_counter()
        if self.why_plain:
            logits = _own_logits(self.model, batch, noise)
            start = self.parts.add("forward", start)
            loss = F.cross_entropy(_wide(logits), batch.targets, reduction="sum", label_smoothing=self.smoothing)
        else:
            hidden = _hidden(self.model, batch, noise)
            start = self.parts.add("forward", start)
            loss = summed_loss(hidden, _head(self.model).weight, batch.targets, self.smoothing)
        start = self.parts.add("loss", start)
        (loss / divide_by).backward()  # type: ignore[no-untyped-call]
        self.parts.add("backward", start)
        return float(loss.detach())

    @torch.no_grad()
    def losses(self, batch: MicroBatch) -> Tensor:
        """Cross-entropy of each trained token in nats [trained tokens], without smoothing, noise or gradient."""
        if not self.why_plain:
            return token_losses(_hidden(self.model, batch, None), _head(self.model).weight, batch.targets)
        logits = torch.cat([_own_logits(self.model, alone, None) for alone in _alone(batch)])
        return F.cross_entropy(_wide(logits), batch.targets, reduction="none")

    def _noise(self, batch: MicroBatch) -> Tensor | None:
        """NEFTune (Jain et al. 2023, arXiv:2310.05914): uniform noise of alpha / sqrt(length x width) on embeddings."""
        if not self.noise_alpha:
            return None
        width = self.model.get_input_embeddings().weight.shape[1]
        lengths = torch.tensor(batch.lengths, device=batch.ids.device).repeat_interleave(
            torch.tensor(batch.lengths, device=batch.ids.device)
        )
        size = self.noise_alpha / (lengths * width).sqrt()
        noise: Tensor = (torch.rand(batch.tokens, width, device=batch.ids.device) * 2 - 1) * size[:, None]
        return noise


def make_engine(model: Any, *, smoothing: float = 0.0, noise_alpha: float = 0.0, plain: bool = False) -> Engine:
    """Choose the way for `model` (plain or PeftModel) and set its attention accordingly."""
    bare = _bare(model)
    why = "asked for" if plain else _why_plain(bare)
    if not why:
        bare.set_attn_implementation(attention.NAME)
    return Engine(model, why, smoothing, noise_alpha)


def _why_plain(bare: Any) -> str:
    config = bare.config
    if not attention.can_attend_per_example(bare):
        return f"the fast way does not know the attention of {config.model_type} models"
    head = bare.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None or type(head) is not torch.nn.Linear:
        return "the model's head is not one plain linear layer"
    if any(getattr(config, name, None) not in (None, 1, 1.0) for name in _LOGIT_CHANGES):
        return "the model changes its logits after the head"
    if not hasattr(bare, bare.base_model_prefix):
        return "the model has no separate decoder"
    return ""


def _bare(model: Any) -> Any:
    """The Transformers model inside a PeftModel, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _head(model: Any) -> Any:
    return _bare(model).get_output_embeddings()


def _hidden(model: Any, batch: MicroBatch, noise: Tensor | None) -> Tensor:
    """Last hidden states at the positions that predict a trained token [trained tokens, width]."""
    bare = _bare(model)
    decoder = getattr(bare, bare.base_model_prefix)
    given = (
        {"input_ids": batch.ids[None]}
        if noise is None
        else {"inputs_embeds": _noisy(bare, batch.ids[None], noise[None])}
    )
    out = decoder(**given, position_ids=batch.positions[None], use_cache=False, lengths=batch.lengths)
    hidden: Tensor = out.last_hidden_state[0]
    return hidden[batch.where]


def _alone(batch: MicroBatch) -> Iterator[MicroBatch]:
    """Each example of `batch` as a batch of its own."""
    start = 0
    for length in batch.lengths:
        mine = (batch.where >= start) & (batch.where < start + length)
        span = slice(start, start + length)
        yield MicroBatch(
            batch.ids[span], batch.positions[span], (length,), batch.where[mine] - start, batch.targets[mine]
        )
        start += length


def _own_logits(model: Any, batch: MicroBatch, noise: Tensor | None) -> Tensor:
    """Logits at the positions that predict a trained token [trained tokens, vocabulary], by the model's own forward."""
    ids = batch.ids[None]
    given = {"input_ids": ids} if noise is None else {"inputs_embeds": _noisy(_bare(model), ids, noise[None])}
    logits: Tensor = model(**given, use_cache=False).logits[0]
    return logits[batch.where]


def _noisy(bare: Any, ids: Tensor, noise: Tensor) -> Tensor:
    embedded: Tensor = bare.get_input_embeddings()(ids)
    return embedded + noise.to(embedded.dtype)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
