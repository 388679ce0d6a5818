"""The one seam between the loop and the model: `forward_backward`, with a fast way and a plain way behind it.

    plain    the textbook: each example by itself through the model's own forward, all logits, cross-entropy; no
             padding, whose mask not every architecture survives
    joined   all examples at once, end to end, through the model's own layers; no logits are kept
    fused    the same through the blocks of `model/fused`, which keep and copy less

All give the same loss and gradients; tests prove the fast ways against the plain one, and what a way cannot take goes
the next one down, with the reason said.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tunebook.model import attention, flex
from tunebook.model.dropout import attention_draws, draws
from tunebook.model.fused.decoder import FusedDecoder, Unknown, take_apart
from tunebook.model.products import EXACT, Times
from tunebook.train.batches import MicroBatch, Row, join
from tunebook.train.loss import CHUNK, GPU_CHUNK, summed_loss, token_losses

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
    """How micro-batches go through this model.

    `why_plain` says why no fast way is taken, `why_joined` why not the fused one, `why_not_flex` why a GPU does not do
    the attention of all examples in one call; empty when it is. `trained` is the fused decoder that gradients come
    from, where it rounds; what is measured goes through the exact one.
    """

    model: Any
    why_plain: str
    why_joined: str = ""
    why_not_flex: str = ""
    fused: FusedDecoder | None = None
    smoothing: float = 0.0
    noise_alpha: float = 0.0
    trained: FusedDecoder | None = None
    autocast: bool = False  # the joined way's products in bfloat16
    flexible: bool = False  # the joined way's attention is one call for all examples
    shares: bool = False  # a beginning that all examples of a micro-batch have goes through the model once
    parts: Parts = field(default_factory=Parts)

    @property
    def head(self) -> torch.nn.Linear:
        """The layer that makes logits."""
        found: torch.nn.Linear = _bare(self.model).get_output_embeddings()
        return found

    @property
    def way(self) -> str:
        """`plain`, `joined` or `fused`."""
        return "plain" if self.why_plain else "joined" if self.fused is None else "fused"

    @property
    def precision(self) -> str:
        """What gradients are multiplied in: `bfloat16`, or `float32`, which stands for the weights' own type."""
        return "bfloat16" if self.trained is not None or self.autocast else "float32"

    def join(self, rows: Sequence[Row]) -> MicroBatch:
        """`rows` as this engine takes them. Noise is drawn for each example, so its beginning is not another's."""
        return join(rows, _device(self.model), share=self.shares and not self.noise_alpha)

    def forward_backward(self, batch: MicroBatch, divide_by: float) -> float:
        """Add the gradient of (summed loss / divide_by) to the trained parameters; returns the summed loss in nats.

        Label smoothing is in the gradient and not in what is returned, which can be held beside a held-out loss.
        """
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

    def _one(self, batch: MicroBatch, noise: Tensor | None, divide_by: float) -> float:
        start = time.perf_counter()
        if self.why_plain:
            logits = _wide(_own_logits(self.model, batch, noise))
            start = self.parts.add("forward", start)
            loss = F.cross_entropy(logits, batch.targets, reduction="sum", label_smoothing=self.smoothing)
            told = F.cross_entropy(logits.detach(), batch.targets, reduction="sum") if self.smoothing else loss
        else:
            hidden = self._hidden(batch, noise)
            start = self.parts.add("forward", start)
            times = Times(self.precision == "bfloat16")
            on_gpu = hidden.is_cuda
            loss = summed_loss(
                hidden,
                self.head.weight,
                batch.targets,
                self.smoothing,
                chunk=GPU_CHUNK if on_gpu else CHUNK,
                times=times,
                logits_times=times if on_gpu else EXACT,  # in float32 they would take as long as the layers
            )
            told = token_losses(hidden, self.head.weight, batch.targets).sum() if self.smoothing else loss
        start = self.parts.add("loss", start)
        (loss / divide_by).backward()  # type: ignore[no-untyped-call]
        summed = float(told.detach())  # waits for a GPU
        self.parts.add("backward", start)
        return summed

    @torch.no_grad()
    def losses(self, batch: MicroBatch) -> Tensor:
        """Cross-entropy of each trained token in nats [trained tokens], without smoothing, noise or gradient."""
        if not self.why_plain:
            return token_losses(self._hidden(batch, None), self.head.weight, batch.targets)
        logits = torch.cat([_own_logits(self.model, alone, None) for alone in _alone(batch)])
        return F.cross_entropy(_wide(logits), batch.targets, reduction="none")

    def _hidden(self, batch: MicroBatch, noise: Tensor | None) -> Tensor:
        """Last hidden states at the positions that predict a trained token [trained tokens, width]."""
        bare = _bare(self.model)
        embedded = _embedded(bare, batch.ids, noise)
        decoder = self.trained if torch.is_grad_enabled() and self.trained is not None else self.fused
        if decoder is not None:
            return decoder(embedded, batch.positions, batch.lengths, batch.prefix, batch.where)
        rounds = self.autocast and torch.is_grad_enabled()
        packed = attention.Packed(batch.lengths)
        if self.flexible:
            packed = attention.Packed.for_flex(batch.lengths, batch.prefix, batch.ids.device, bare.config)
        with torch.autocast(embedded.device.type, torch.bfloat16, cache_enabled=False) if rounds else nullcontext():
            out = bare.base_model(
                inputs_embeds=embedded[None], position_ids=batch.positions[None], use_cache=False, packed=packed
            )
        hidden: Tensor = out.last_hidden_state[0]
        return hidden[batch.where].to(embedded.dtype)

    def _noise(self, batch: MicroBatch) -> Tensor | None:
        """NEFTune (Jain et al. 2023, arXiv:2310.05914): uniform noise of alpha / sqrt(length x width) on embeddings."""
        if not self.noise_alpha:
            return None
        width = self.model.get_input_embeddings().weight.shape[1]
        lengths = torch.tensor(batch.lengths)
        size = self.noise_alpha / (lengths.repeat_interleave(lengths) * width).sqrt()
        device = batch.ids.device
        noise: Tensor = (torch.rand(batch.tokens, width, device=device) * 2 - 1) * size[:, None].to(device)
        return noise


def make_engine(
    model: Any, *, smoothing: float = 0.0, noise_alpha: float = 0.0, way: str = "fused", precision: str = "float32"
) -> Engine:
    """Choose the fastest way for `model` (plain or PeftModel), at most `way`, and set its attention accordingly.

    `precision` bfloat16 rounds products, of the fused way as `model/products.py` says, of the joined way by PyTorch's
    autocast, attention included; the plain way multiplies in the weights' own type.
    """
    bare = _bare(model)
    engine = Engine(
        model, "asked for" if way == "plain" else _why_plain(bare), smoothing=smoothing, noise_alpha=noise_alpha
    )
    if engine.why_plain:
        return engine
    try:
        if way == "joined":
            raise Unknown("asked for")
        engine.fused = take_apart(bare)
        engine.shares = True
        if precision == "bfloat16":
            engine.trained = take_apart(bare, Times(bfloat16=True))
    except Unknown as reason:
        engine.why_joined = str(reason)
        engine.autocast = precision == "bfloat16"
        if _device(bare).type in flex.DEVICES:
            kinds = {next(bare.parameters()).dtype} | ({torch.bfloat16} if engine.autocast else set())
            random = "the model's attention has dropout" if attention_draws(bare) else ""
            engine.why_not_flex = random or flex.why_not(bare.config, _device(bare), kinds)
            engine.flexible = not engine.why_not_flex
            engine.shares = engine.flexible and not draws(bare)  # each example draws its own
        bare.set_attn_implementation(attention.NAME)
    return engine


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


def _device(model: Any) -> torch.device:
    return torch.device(next(model.parameters()).device)


def _alone(batch: MicroBatch) -> Iterator[MicroBatch]:
    """Each example of `batch` as a batch of its own."""
    start = done = 0
    for length, count in zip(batch.lengths, batch.trained, strict=True):
        span, mine = slice(start, start + length), slice(done, done + count)
        where, targets = batch.where[mine] - start, batch.targets[mine]
        yield MicroBatch(batch.ids[span], batch.positions[span], (length,), where, targets, (count,))
        start, done = start + length, done + count


def _own_logits(model: Any, batch: MicroBatch, noise: Tensor | None) -> Tensor:
    """Logits at the positions that predict a trained token [trained tokens, vocabulary], by the model's own forward."""
    ids = batch.ids[None]
    given = {"input_ids": ids} if noise is None else {"inputs_embeds": _embedded(_bare(model), ids, noise[None])}
    logits: Tensor = model(**given, use_cache=False).logits[0]
    return logits[batch.where]


def _embedded(bare: Any, ids: Tensor, noise: Tensor | None) -> Tensor:
    embedded: Tensor = bare.get_input_embeddings()(ids)
    return embedded if noise is None else embedded + noise.to(embedded.dtype)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
