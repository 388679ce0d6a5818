"""Is the exported folder the model that was measured? A fresh process loads it, and both are asked the same.

Compared: logits on fixed token rows (mean Kullback-Leibler divergence of the export from the tuned model in nats,
largest absolute difference, share of positions with the same top token), greedy answers, the chat template's bytes,
token ids of rendered conversations and of plain texts, and the stop tokens.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tunebook.errors import ExportError, Fault
from tunebook.export.fresh import patience, run_to_end
from tunebook.export.reference import CHATS, TEXTS, Reference, measure, spread
from tunebook.files import read_json, write_json

MAX_KL = 1e-3
MIN_TOP1 = 0.99
WARN_KL = 0.05


@dataclass(frozen=True, slots=True)
class Parity:
    """`ok` is the verdict; `numbers` what was measured; `where` each thing that differs; `warnings` what to know."""

    ok: bool
    numbers: dict[str, Any]
    where: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()

    def beside(self, name: str, other: Parity) -> Parity:
        """This parity with the numbers and warnings that another runtime gave for the same file."""
        return replace(self, numbers={**self.numbers, name: other.numbers}, warnings=self.warnings + other.warnings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for export.json."""
        return {
            "ok": self.ok,
            **self.numbers,
            "differences": [str(fault) for fault in self.where],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class How:
    """How the fresh process loads the folder. `exact` is False for quantized files, whose numbers are told, not gated.

    `settings` go to the GGUF reader, which does not take them from the file; `texts_known` is False when that reader
    is known to cut text otherwise than the file says.
    """

    kind: str = "safetensors"
    file: str = ""
    base: str = ""
    dtype: str = "float32"
    exact: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    texts_known: bool = True
    quantization: str | None = None  # of the base, under an adapter


def compare(reference: Reference, folder: Path, how: How | None = None) -> Parity:
    """Load `folder` in a fresh process and compare. ExportError when it cannot be loaded there or takes too long."""
    how = how or How()
    with tempfile.TemporaryDirectory(prefix=f".check-{os.getpid()}-", dir=folder.parent) as scratch:
        result, logits = _ask(reference, folder, how, Path(scratch))
    numbers = _logit_numbers(reference.logits, logits)
    where = _compare_text(reference, result, how)
    warnings: tuple[str, ...] = ()
    # two tokens that rounding can swap: each logit may be off by the largest difference seen
    rounding = min(1.0, 2 * numbers["max_logit_difference"]) if how.exact else 0.0
    tied, changed = _compare_answers(reference, result, rounding)
    numbers |= {
        "answers_equal": len(reference.prompts) - tied - len(changed),
        "answers_tied": tied,
        "answers": len(reference.prompts),
        "read_by": result["read_by"],
    }
    faults = _logit_faults(numbers) + changed
    if how.exact:
        where += faults
    else:
        numbers["changed_answers"] = [str(fault) for fault in changed]
        warnings = warn_of_change(numbers["mean_kl"], result["read_by"])
    return Parity(not where, numbers, tuple(where), warnings)


def warn_of_change(mean_kl: float, read_by: str) -> tuple[str, ...]:
    """A plain warning when quantization changed a model much, as `read_by` computes it."""
    if mean_kl <= WARN_KL:
        return ()
    return (
        f"Quantization changed this model much (mean KL {mean_kl:.3g} in {read_by}, above {WARN_KL}): "
        "read its answers before you use it, or use the F16 file.",
    )


def check_export(
    model: Any, tokenizer: Any, folder: Path, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> Parity:
    """`measure` and `compare` in one, for one folder of merged weights."""
    how = How(dtype=str(model.dtype).removeprefix("torch."))
    return compare(measure(model, tokenizer, prompts, max_new_tokens), folder, how)


def refuse(parity: Parity, what: str) -> None:
    """ExportError with every difference, unless the parity is good."""
    if not parity.ok:
        raise ExportError(
            f"The exported {what} is not the model that was measured.",
            kept="It was not put in place.",
            do="Run the export again; if it differs again, report it with these lines.",
            faults=parity.where,
        )


def _ask(reference: Reference, folder: Path, how: How, scratch: Path) -> tuple[dict[str, Any], list[torch.Tensor]]:
    from safetensors.torch import load_file

    request = {
        "kind": how.kind,
        "file": how.file,
        "base": how.base,
        "quantization": how.quantization,
        "dtype": how.dtype,
        "settings": how.settings,
        "threads": torch.get_num_threads(),
        "rows": reference.rows,
        "keep": [spread(len(row), len(kept)) for row, kept in zip(reference.rows, reference.logits, strict=True)],
        "prompts": reference.prompts,
        "expected": [list(answer.ids) for answer in reference.answers],
        "max_new_tokens": reference.max_new_tokens,
        "chats": CHATS,
        "texts": TEXTS,
    }
    write_json(scratch / "request.json", request)
    run_to_end(
        "tunebook.export.check",
        [str(folder), str(scratch / "request.json")],
        scratch / "log.txt",
        what="The fresh process that loads the export",
        timeout=patience(len(reference.prompts), reference.max_new_tokens),
        allowed=(0, 3),
    )
    result = read_json(scratch / "result.json")
    if "error" in result:
        raise ExportError(
            f"The exported folder cannot be loaded in a fresh process ({result['error']}).",
            do="Run the export again; if it fails again, report it.",
        )
    logits = load_file(scratch / "logits.safetensors")
    return result, [logits[name] for name in sorted(logits)]


def _logit_numbers(tuned: list[torch.Tensor], exported: list[torch.Tensor]) -> dict[str, Any]:
    kl, top, largest, count = 0.0, 0, 0.0, 0
    for mine, theirs in zip(tuned, exported, strict=True):
        if mine.shape != theirs.shape:
            return {"mean_kl": float("inf"), "max_logit_difference": float("inf"), "top1": 0.0, "positions": 0}
        p, q = mine.double().log_softmax(-1), theirs.double().log_softmax(-1)
        kl += float((p.exp() * (p - q)).sum())
        top += int((mine.argmax(-1) == theirs.argmax(-1)).sum())
        largest = max(largest, float((mine - theirs).abs().max()))
        count += len(mine)
    return {"mean_kl": kl / count, "max_logit_difference": largest, "top1": top / count, "positions": count}


def _logit_faults(numbers: dict[str, Any]) -> list[Fault]:
    faults = []
    if not numbers["mean_kl"] < MAX_KL:
        faults.append(Fault("logits", f"mean KL is {numbers['mean_kl']:.3g}, not below {MAX_KL}"))
    if not numbers["top1"] >= MIN_TOP1:
        faults.append(
            Fault("logits", f"the top token agrees at {numbers['top1']:.1%} of positions, below {MIN_TOP1:.0%}")
        )
    return faults


def _compare_text(reference: Reference, result: dict[str, Any], how: How) -> list[Fault]:
    faults = []
    if result["missing"]:
        faults.append(Fault("weights", f"{len(result['missing'])} are missing, such as {result['missing'][0]}"))
    if result["template"] != reference.template:
        faults.append(Fault("chat template", "its text differs from the one used in training"))
    for chat, mine, theirs in zip(CHATS, reference.chats, result["chats"], strict=True):
        if mine != theirs and how.texts_known:
            faults.append(Fault("chat template", f"renders '{chat[-1]['content'].strip()[:30]}' to other tokens"))
    for text, mine_ids, their_ids in zip(TEXTS, reference.texts, result["texts"], strict=True):
        if mine_ids != their_ids and how.texts_known:
            faults.append(Fault("tokenizer", f"cuts {text!r} into other tokens"))
    # a GGUF file names one stop token only: the one that ends a turn
    needed = set(reference.stops)
    if how.kind == "gguf" and reference.end_of_turn is not None:
        needed = {reference.end_of_turn}
    if lost := needed - set(result["stops"]):
        faults.append(Fault("stop tokens", f"{sorted(lost)} ended an answer in training and do not here"))
    return faults


def _compare_answers(reference: Reference, result: dict[str, Any], tolerance: float) -> tuple[int, list[Fault]]:
    """(answers that part at a tie, faults of the others). A tie: the two logits differ by no more than rounding."""
    tied, faults = 0, []
    for number, (mine, theirs) in enumerate(zip(reference.answers, result["answers"], strict=True), start=1):
        found = theirs["difference"]
        if found is not None and found["gap"] is not None and found["gap"] <= tolerance:
            tied += 1
        elif found is not None:
            faults.append(Fault(f"answer {number}, token {found['at'] + 1}", _sides(mine.text, theirs["text"])))
        elif mine.ended != theirs["ended"]:
            faults.append(Fault(f"answer {number}", "ended in training and does not here, or the other way round"))
    return tied, faults


def _sides(mine: str, theirs: str) -> str:
    return f"was {mine[:60]!r}, is {theirs[:60]!r}"
