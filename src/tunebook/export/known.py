"""Can the formats of a plan be written for its model? Asked before training, which would else be for nothing."""

from __future__ import annotations

from typing import Any

from tunebook.errors import ExportError
from tunebook.export.gguf_settings import family_of, refuse_settings
from tunebook.export.gguf_tokenizer import read_vocabulary
from tunebook.plan.schema import Plan


def check_formats(plan: Plan, config: Any, tokenizer: Any) -> None:
    """ExportError when a format of the plan cannot be written for a model with this configuration and tokenizer."""
    if "adapter" in plan.export.formats and plan.training.method == "full":
        raise ExportError(
            "The plan exports an adapter and trains every weight, which makes none.",
            kept="Nothing was started.",
            do="Take adapter out of export.formats, or set training.method to lora.",
        )
    if "gguf" in plan.export.formats:
        check_known(config, tokenizer)


def check_known(config: Any, tokenizer: Any) -> None:
    """ExportError, before anything is written, when this architecture or tokenizer cannot be put into GGUF here."""
    family_of(config)
    refuse_settings(config)
    read_vocabulary(tokenizer, config.vocab_size)
