"""What the step `deploy` does: a fresh process that has the exported files only answers the held-out prompts.

run/export/deployment.json  {"verdict": "passed"/"failed", "equal", "tied", "total", "seconds", "differences", ...}
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunebook.errors import ExportError, Fault, ModelError
from tunebook.export.fresh import patience, run_to_end
from tunebook.export.staging import damage, disk_errors
from tunebook.files import read_json, write_json
from tunebook.model.sources import model_folder, weights_sha256
from tunebook.plan.schema import Plan
from tunebook.runs.store import Run

ORDER = ("safetensors", "gguf", "adapter")
ROUNDING = 1e-3  # logits of one model differ by less than this from one batch to another


def deploy_check(run_folder: Path, on_progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Answer the held-out prompts from the exported folder in a fresh process, and compare with the tuned model's.

    Writes and returns `export/deployment.json`. ExportError, after writing it, when an answer differs by more than a
    tie of two tokens; also when the folder is damaged, its base is another one, or it cannot be loaded. A run without
    held-out answers gets the verdict `loaded`: the files work, and there was nothing to compare with.
    """
    plan = Run(run_folder).plan()
    kind, entry = chosen_export(run_folder)
    folder = run_folder / entry["folder"]
    whole(folder)
    samples = read_samples(run_folder)
    if on_progress:
        on_progress(0, len(samples))
    request = load_request(kind, entry, folder, run_folder, plan)
    started = time.perf_counter()
    result = reload_answers(request, samples, plan, folder)
    if on_progress:
        on_progress(len(samples), len(samples))
    equal, tied, faults = compare_answers(samples, result["answers"], rounding(entry))
    record = {
        "format": 1,
        "method": "reload",
        "verdict": "failed" if faults else "passed" if samples else "loaded",
        "exported": kind,
        "folder": entry["folder"],
        "read_by": result["read_by"],
        "equal": equal,
        "tied": tied,
        "total": len(samples),
        "seconds": round(time.perf_counter() - started, 1),
        "differences": [str(fault) for fault in faults],
    }
    note(run_folder, record)
    if faults:
        raise ExportError(
            f"The exported model answers {len(faults)} of {len(samples)} held-out prompts otherwise than in training.",
            kept=f"The exported files are in {folder}; export/deployment.json says what differs.",
            do="Do not deploy them; export again with `tunebook export`.",
            faults=faults[:5],
        )
    return record


def note(run_folder: Path, record: dict[str, Any]) -> None:
    """Write `export/deployment.json`; ExportError when the disk does not take it."""
    path = run_folder / "export" / "deployment.json"
    with disk_errors(path, "The exported files are untouched."):
        write_json(path, record)


def chosen_export(run_folder: Path, kinds: Sequence[str] = ORDER) -> tuple[str, dict[str, Any]]:
    """(format, its entry of export.json): the first of `kinds` that there is. ExportError when there is none."""
    try:
        formats = read_json(run_folder / "export" / "export.json")["formats"]
    except (OSError, ValueError, KeyError, TypeError):
        formats = {}
    for kind in kinds:
        if kind in formats:
            return kind, formats[kind]
    rest = f" to serve, only {' and '.join(formats)}" if formats else ""
    raise ExportError(
        f"The run '{run_folder.name}' has no exported model{rest}.",
        do=f"Make one with `tunebook export {run_folder.name}`.",
    )


def whole(folder: Path) -> None:
    """ExportError with every fault when an exported folder is damaged or was changed."""
    if faults := damage(folder):
        raise ExportError(
            f"The exported folder {folder} is not what was written.",
            kept="Nothing was started.",
            do="Export again with `tunebook export`.",
            faults=faults,
        )


def read_samples(run_folder: Path) -> list[dict[str, Any]]:
    """What the tuned model answered to the held-out prompts; empty when the run has no such answers."""
    try:
        step = read_json(run_folder / "evaluation" / "result.json")["step"]
        return list(read_json(run_folder / "samples" / f"step-{step}.json")["answers"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def load_request(kind: str, entry: dict[str, Any], folder: Path, run_folder: Path, plan: Plan) -> dict[str, Any]:
    """How the fresh process loads the folder; ExportError when an adapter's base is missing or another one."""
    base = ""
    if kind == "adapter":
        base = str(_base_of_adapter(folder, run_folder, plan))
    return {
        "kind": kind,
        "file": entry["parity"].get("file", ""),
        "base": base,
        "quantization": plan.model.quantization if base else None,
        "dtype": entry["parity"]["dtype"],
        "settings": entry["parity"]["settings"],
        "threads": None,
    }


def rounding(entry: dict[str, Any]) -> float:
    """Two logits closer than this may come out in either order: twice what the export's logits were seen to be off."""
    return max(ROUNDING, 2 * float(entry["parity"]["max_logit_difference"] or 0))


def compare_answers(
    samples: list[dict[str, Any]], answers: list[dict[str, Any]], tolerance: float
) -> tuple[int, int, list[Fault]]:
    """(equal, tied, faults of the others): an answer is tied when it leaves the expected one where two tokens tie."""
    equal, tied, faults = 0, 0, []
    for number, (sample, answer) in enumerate(zip(samples, answers, strict=True), start=1):
        where = f"prompt {number} ({sample['id']})"
        gap = (answer.get("difference") or {}).get("gap")
        if answer["text"] == sample["answer"] and answer["ended"] == sample["ended"]:
            equal += 1
        elif gap is not None and gap <= tolerance:
            tied += 1
        elif answer["text"] == sample["answer"]:
            faults.append(
                Fault(where, "it ended in training and does not here" if sample["ended"] else "it ends here only")
            )
        else:
            faults.append(Fault(where, f"was {sample['answer'][:60]!r}, is {answer['text'][:60]!r}"))
    return equal, tied, faults


def _base_of_adapter(folder: Path, run_folder: Path, plan: Plan) -> Path:
    wanted = read_json(folder / "base.json")
    try:
        base = model_folder(plan.model.name, run_folder)
        found = weights_sha256(plan.model.name, run_folder)
    except ModelError as error:
        raise ExportError(
            f"The base model of the adapter is not there: {error.what}",
            kept="The adapter is untouched.",
            do="Put the base model back, or export merged weights with --format safetensors.",
        ) from error
    if found != wanted["sha256"]:
        raise ExportError(
            f"The adapter belongs to another base model (weights {wanted['sha256'][:12]}...) than '{plan.model.name}' "
            f"holds now ({found[:12]}...).",
            kept="The adapter is untouched.",
            do="Put the base model back that the run was made with.",
        )
    return base


def reload_answers(request: dict[str, Any], samples: list[dict[str, Any]], plan: Plan, folder: Path) -> dict[str, Any]:
    """What `tunebook.export.check` says in a fresh process to the prompts of `samples`."""
    request |= {
        "rows": [],
        "keep": [],
        "prompts": [sample["prompt_ids"] for sample in samples],
        "expected": [sample.get("answer_ids") or sample["answer"] for sample in samples],
        "max_new_tokens": plan.evaluation.max_new_tokens,
        "chats": [],
        "texts": [],
    }
    with (
        disk_errors(folder.parent, "The exported files are untouched."),
        tempfile.TemporaryDirectory(prefix=f".deploy-{os.getpid()}-", dir=folder.parent) as scratch,
    ):
        path = Path(scratch) / "request.json"
        write_json(path, request)
        run_to_end(
            "tunebook.export.check",
            [str(folder), str(path)],
            path.with_name("log.txt"),
            what="The fresh process that loads the exported folder",
            timeout=patience(len(samples), plan.evaluation.max_new_tokens),
            allowed=(0, 3),
        )
        result: dict[str, Any] = read_json(path.with_name("result.json"))
    if "error" in result:
        raise ExportError(
            f"The exported folder {folder} cannot be loaded in a fresh process ({result['error']}).",
            do="Export again with `tunebook export`.",
        )
    return result
