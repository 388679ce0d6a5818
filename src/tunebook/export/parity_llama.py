"""A GGUF file in the runtime that it is for: llama.cpp, where the extra `llama` is installed.

Gated for exact files: mean KL of the next token at some positions, token ids of texts, token ids of rendered
conversations. Told: answers that changed. llama.cpp computes in other precisions, so answers may part sooner.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from tunebook.errors import Fault
from tunebook.export.fresh import patience, run_to_end
from tunebook.export.parity import MAX_KL, Parity, warn_of_change
from tunebook.export.reference import CHATS, TEXTS, Reference, spread
from tunebook.files import read_json, write_json

POSITIONS = 12  # each takes a list of the whole vocabulary


def installed() -> bool:
    """Is llama.cpp there to ask?"""
    return importlib.util.find_spec("xllamacpp") is not None


def compare_llama(reference: Reference, folder: Path, file: str, exact: bool) -> Parity:
    """Load `folder/file` in llama.cpp in a fresh process and compare. ExportError when it cannot be loaded there."""
    from safetensors.torch import load_file

    positions = _positions(reference)
    before = [spread(len(row), len(logits)) for row, logits in zip(reference.rows, reference.logits, strict=True)]
    request = {
        "file": file,
        "context": 512 + max(map(len, [*reference.rows, *reference.prompts])) + reference.max_new_tokens,
        "size": reference.logits[0].shape[-1],
        "rows": reference.rows,
        "positions": [(row, before[row][place] + 1) for row, place in positions],
        "prompts": reference.prompts,
        "max_new_tokens": reference.max_new_tokens,
        "chats": CHATS,
        "texts": TEXTS,
    }
    with tempfile.TemporaryDirectory(prefix=f".check-{os.getpid()}-", dir=folder.parent) as scratch:
        path = Path(scratch) / "request.json"
        write_json(path, request)
        arguments = [str(folder), str(path)]
        log = path.with_name("log.txt")
        limit = patience(len(reference.prompts), reference.max_new_tokens)
        run_to_end("tunebook.export.check_llama", arguments, log, what="llama.cpp", timeout=limit)
        result = read_json(path.with_name("result.json"))
        found = load_file(path.with_name("logprobs.safetensors"))["logprobs"]
    numbers = _numbers(reference, positions, found)
    same = [
        answer.text.strip() == other["text"].strip() and answer.ended == other["ended"]
        for answer, other in zip(reference.answers, result["answers"], strict=True)
    ]
    numbers |= {"answers_equal": sum(same), "answers": len(same), "read_by": result["read_by"]}
    where = _differences(reference, result)
    if exact and not numbers["mean_kl"] < MAX_KL:
        where.append(Fault("llama.cpp, logits", f"mean KL is {numbers['mean_kl']:.3g}, not below {MAX_KL}"))
    warnings = () if exact else warn_of_change(numbers["mean_kl"], result["read_by"])
    return Parity(not where, numbers, tuple(where), warnings)


def _positions(reference: Reference) -> list[tuple[int, int]]:
    """(row, place among its logits) of some positions, spread evenly over all rows, from the end of the first on."""
    every = [(row, place) for row, logits in enumerate(reference.logits) for place in reversed(range(len(logits)))]
    return every[:: max(1, len(every) // POSITIONS)][:POSITIONS]


def _numbers(reference: Reference, positions: list[tuple[int, int]], found: torch.Tensor) -> dict[str, Any]:
    divergence, top = [], []
    for (row, place), theirs in zip(positions, found.double(), strict=True):
        known = ~theirs.isnan()
        if known.any():
            mine = reference.logits[row][place].double().log_softmax(-1)
            theirs = theirs - theirs[known].logsumexp(0)
            divergence.append(float((mine.exp() * (mine - theirs))[known].sum()))
            top.append(int(theirs.nan_to_num(-1e9).argmax() == mine.argmax()))
    count = max(1, len(top))
    mean = sum(divergence) / count if divergence else float("nan")
    return {"mean_kl": mean, "top1": sum(top) / count, "positions": len(top)}


def _differences(reference: Reference, result: dict[str, Any]) -> list[Fault]:
    where = []
    for chat, mine, theirs in zip(CHATS, reference.chats, result["chats"], strict=True):
        if theirs != (None if isinstance(mine, str) else mine):
            name = chat[-1]["content"].strip()[:30]
            where.append(Fault("llama.cpp, chat template", f"renders '{name}' to other tokens"))
    for text, ids, others in zip(TEXTS, reference.texts, result["texts"], strict=True):
        if ids != others:
            where.append(Fault("llama.cpp, tokenizer", f"cuts {text!r} into other tokens"))
    return where
