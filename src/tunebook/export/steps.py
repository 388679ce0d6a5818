"""What the step `export` does: write each format, prove it, record it.

run/export/<format>/      the exported folder, whole or not there
run/export/export.json    {"formats": {format: {"folder", "bytes", "sha256", "parity"}}, "parity": the worst of them}
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunebook.data.template import chat_template
from tunebook.evaluate.generate import stop_token_ids
from tunebook.evaluate.mode import base_of
from tunebook.export.card import indicators_of, licence_of, plan_text, shown_name, write_card
from tunebook.export.deploy import deploy_check as deploy_check
from tunebook.export.deploy import read_samples
from tunebook.export.gguf import write_gguf
from tunebook.export.gguf_settings import unread_settings
from tunebook.export.gguf_tokenizer import READ_AS_GPT2, read_vocabulary
from tunebook.export.gguf_types import kinds_at_hand
from tunebook.export.known import check_known
from tunebook.export.modelfile import write_modelfile
from tunebook.export.parity import How, Parity, compare, refuse
from tunebook.export.parity_llama import compare_llama, installed
from tunebook.export.reference import Reference, measure
from tunebook.export.staging import check_space, check_target, disk_errors, manifest_of, staged
from tunebook.export.weights import merged_tensors, weights_size, write_adapter, write_merged
from tunebook.files import read_json, to_json, write_json, write_text
from tunebook.model.sources import model_folder, weights_sha256
from tunebook.plan.files import values_by_path
from tunebook.plan.schema import Plan

PROMPTS = 4  # answered in the parity check of a run; its deployment test answers them all
ALL_PROMPTS = 20  # answered, at full length, in that of an export by hand, which no deployment test follows
NEW_TOKENS = 32
_MAKES_WEIGHTS = ("model.", "data.", "training.", "lora.")  # how paths of the plan begin that do

Progress = Callable[[int, int], None]


def export_run(
    run_folder: Path,
    plan: Plan,
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Write every format of the plan to `export/<format>/`, each compared with `model` in a fresh process first.

    Returns what `export/export.json` then holds. ExportError when a format cannot be written or differs; formats that
    were written before it stay.
    """
    reference = measure(model, tokenizer, list(prompts)[:PROMPTS], min(max_new_tokens, NEW_TOKENS))
    record: dict[str, Any] = {}
    for number, kind in enumerate(plan.export.formats):
        if on_progress:
            on_progress(number, len(plan.export.formats))
        target = run_folder / "export" / kind
        export_format(kind, target, run_folder, plan, model, tokenizer, reference)
        record = remember(run_folder, kind, target)
    if on_progress:
        on_progress(len(plan.export.formats), len(plan.export.formats))
    return record


def export_one(
    kind: str, target: Path, run_folder: Path, plan: Plan, model: Any, tokenizer: Any, say: Callable[[str], None]
) -> dict[str, Any]:
    """Export a finished run once more to `target`; export.json names it when that is `export/<kind>/` of the run.

    Returns its parity. `say` is told what is being done.
    """
    prompts = [sample["prompt_ids"] for sample in read_samples(run_folder)][:ALL_PROMPTS]
    say(f"Asking the tuned model in memory {len(prompts)} held-out prompts ...")
    reference = measure(model, tokenizer, prompts, plan.evaluation.max_new_tokens)
    say(f"Writing {target}, loading it again in a fresh process, and comparing ...")
    export_format(kind, target, run_folder, plan, model, tokenizer, reference)
    if target == run_folder / "export" / kind:
        remember(run_folder, kind, target)
    return dict((manifest_of(target) or {})["parity"])


def export_format(
    kind: str, target: Path, run_folder: Path, plan: Plan, model: Any, tokenizer: Any, reference: Reference
) -> None:
    """Write one format to `target`, load it again in a fresh process, and put it in place only if it is the same."""
    check_target(target, owner_of(run_folder, plan))
    if kind == "gguf":
        check_known(base_of(model).config, tokenizer)
    if kind != "adapter":
        check_space(target, weights_size(merged_tensors(model)))
    manifest: dict[str, Any] = {"kind": kind}
    with staged(target, owner_of(run_folder, plan), manifest) as folder:
        _WRITE[kind](folder, run_folder, plan, model, tokenizer)
        write_text(folder / "README.md", write_card(plan, kind, _facts(run_folder, plan)))
        write_text(folder / "plan.yaml", plan_text(plan))
        parities = {}
        for file in _loaded(kind):
            how = _how(kind, file, run_folder, plan, model, tokenizer)
            parities[file] = compare(reference, folder, how)
            refuse(parities[file], file or kind)
            if kind == "gguf" and installed():
                other = compare_llama(reference, folder, file, how.exact)
                refuse(other, file)
                parities[file] = parities[file].beside("llama_cpp", other)
        manifest["parity"] = _worst(parities) | {"dtype": how.dtype, "settings": how.settings}


def remember(run_folder: Path, kind: str, target: Path) -> dict[str, Any]:
    """Note the export at `target` in `export/export.json`, beside those of other formats; returns what it holds."""
    path = run_folder / "export" / "export.json"
    formats = read_json(path)["formats"] if path.is_file() else {}
    manifest = manifest_of(target) or {}
    files = manifest["files"]
    formats[kind] = {
        "folder": target.relative_to(run_folder).as_posix(),
        "bytes": sum(entry["bytes"] for entry in files.values()),
        "sha256": hashlib.sha256(
            "".join(f"{files[name]['sha256']} {name}\n" for name in sorted(files)).encode()
        ).hexdigest(),
        "parity": manifest["parity"],
    }
    record = {"format": 1, "formats": formats, "parity": _summary([entry["parity"] for entry in formats.values()])}
    with disk_errors(path, "The exported files are in place."):
        write_json(path, record)
    return record


def owner_of(run_folder: Path, plan: Plan) -> str:
    """Whose export it is: the run's name and the hash of what made its weights in the plan."""
    made = {path: value for path, value in values_by_path(plan).items() if path.startswith(_MAKES_WEIGHTS)}
    return f"{run_folder.name} {hashlib.sha256(to_json(made).encode()).hexdigest()[:16]}"


def _write_safetensors(folder: Path, run_folder: Path, plan: Plan, model: Any, tokenizer: Any) -> None:
    write_merged(model, tokenizer, folder)
    write_text(folder / "Modelfile", write_modelfile(tokenizer, ".", _stop_texts(model, tokenizer)))


def _write_adapter(folder: Path, run_folder: Path, plan: Plan, model: Any, tokenizer: Any) -> None:
    base = {"name": shown_name(plan.model.name), "sha256": weights_sha256(plan.model.name, run_folder)}
    if plan.model.quantization:
        base["quantization"] = plan.model.quantization
    write_adapter(model, tokenizer, folder, base)


def _write_gguf(folder: Path, run_folder: Path, plan: Plan, model: Any, tokenizer: Any) -> None:
    for kind in kinds_at_hand():
        write_gguf(model, tokenizer, folder / f"model-{kind}.gguf", kind, shown_name(plan.model.name))
    write_text(folder / "Modelfile", write_modelfile(tokenizer, "model-f16.gguf", _stop_texts(model, tokenizer)))
    write_text(folder / "chat_template.jinja", chat_template(tokenizer))


_WRITE = {"safetensors": _write_safetensors, "adapter": _write_adapter, "gguf": _write_gguf}


def _loaded(kind: str) -> list[str]:
    """Which files of a format are loaded again and compared; an empty name is the whole folder."""
    return [f"model-{stored}.gguf" for stored in kinds_at_hand()] if kind == "gguf" else [""]


def _how(kind: str, file: str, run_folder: Path, plan: Plan, model: Any, tokenizer: Any) -> How:
    base = str(model_folder(plan.model.name, run_folder)) if kind == "adapter" else ""
    dtype = str(model.dtype).removeprefix("torch.")
    if kind != "gguf":
        return How(kind, base=base, quantization=plan.model.quantization if base else None, dtype=dtype)
    cut = read_vocabulary(tokenizer, base_of(model).config.vocab_size).cut
    settings = unread_settings(base_of(model).config)
    return How(kind, file, "", dtype, exact="f16" in file, settings=settings, texts_known=cut not in READ_AS_GPT2)


def _facts(run_folder: Path, plan: Plan) -> dict[str, Any]:
    inputs = run_folder / "data" / "inputs.json"
    return {
        "data_sha256": read_json(inputs).get("data") if inputs.is_file() else None,
        "licence": licence_of(plan.model.name, model_folder(plan.model.name, run_folder)),
        "indicators": indicators_of(run_folder / "report.json"),
    }


def _stop_texts(model: Any, tokenizer: Any) -> list[str]:
    return [str(tokenizer.convert_ids_to_tokens(token)) for token in stop_token_ids(model, tokenizer)]


def _worst(parities: dict[str, Parity]) -> dict[str, Any]:
    """The parity of a format: that of its one file, or of its exact file with the others beside it."""
    first, *others = parities
    files = {name: parities[name].as_dict() for name in others}
    return parities[first].as_dict() | ({"file": first, "files": files} if others else {})


def _summary(parities: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One verdict over the exact files of all formats: the worst of each number."""
    return {
        "ok": all(parity["ok"] for parity in parities),
        "mean_kl": max(parity["mean_kl"] for parity in parities),
        "max_logit_difference": max(parity["max_logit_difference"] for parity in parities),
        "top1": min(parity["top1"] for parity in parities),
        "answers_equal": min(parity["answers_equal"] for parity in parities),
        "answers_tied": max(parity["answers_tied"] for parity in parities),
        "answers": max(parity["answers"] for parity in parities),
        "warnings": [text for parity in parities for text in _warnings(parity)],
    }


def _warnings(parity: dict[str, Any]) -> list[str]:
    return [*parity["warnings"], *(text for other in parity.get("files", {}).values() for text in other["warnings"])]
