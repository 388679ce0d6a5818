"""From a plan file to a run folder: everything that can be known to fail is found before anything is spent or made."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunebook.errors import RunError
from tunebook.model.sources import cache_folder, find_model, load_tokenizer, loaded_bytes, model_folder, read_config
from tunebook.plan.files import load_plan, make_plan, set_values
from tunebook.plan.schema import Plan, is_task_file
from tunebook.runs.store import Run, check_free, create_run, free_name
from tunebook.runs.trackers import TRACKERS, missing
from tunebook.workflow.hardware import has_gpu
from tunebook.workflow.memory import MICRO_BATCH_TOKENS, Shape, check_memory


def read_plan(path: Path, settings: list[str]) -> Plan:
    """The plan at `path` with `--set` applied and its relative paths made absolute, counted from its folder."""
    return absolute_paths(plan_as_set(path, settings), path.absolute().parent)


def plan_as_set(path: Path, settings: list[str]) -> Plan:
    """The plan at `path` with `--set` applied, its paths as they stand."""
    plan = load_plan(path)
    return make_plan(set_values(plan.model_dump(mode="json", by_alias=True), settings)) if settings else plan


def absolute_paths(plan: Plan, base: Path) -> Plan:
    """`plan` with paths of data, tasks and model that do not depend on where it is read from."""
    paths = files_of(plan, base)
    source = find_model(plan.model.name, base)
    if source.kind == "folder" or (base / Path(plan.model.name).expanduser()).is_file():
        paths["model.name"] = str(Path(source.place).resolve())
    return with_paths(plan, paths)


def files_of(plan: Plan, base: Path) -> dict[str, Any]:
    """The values of `plan` that name files to read, by path, each as its whole path counted from `base`."""
    found: dict[str, Any] = {"data.path": str(base / plan.data.path)}
    if plan.data.validation_path:
        found["data.validation_path"] = str(base / plan.data.validation_path)
    if any(map(is_task_file, plan.evaluation.tasks)):
        tasks = plan.evaluation.tasks
        found["evaluation.tasks"] = [str(base / task) if is_task_file(task) else task for task in tasks]
    return found


def with_paths(plan: Plan, paths: dict[str, Any]) -> Plan:
    """`plan` with these values at these paths; where each came from stays as it was."""
    value = plan.model_dump(mode="json", by_alias=True)
    for path, new in paths.items():
        section, key = path.split(".")
        origin = value["origins"].get(path)
        if origin and origin["value"] == value[section][key]:  # still not a hand's doing
            origin["value"] = new
        value[section][key] = new
    return make_plan(value)


def prepare_run(
    plan: Plan, name: str | None, runs: Path, texts: dict[str, str] | None = None, *, copies: int = 1
) -> Run:
    """Check name, folder, model, memory and every row of the data; only then make the run folder.

    `copies`: workers that hold the model on this machine.
    """
    import numpy as np

    from tunebook.data.gate import check_data

    _check_extras(plan)
    name = name or free_name(Path(plan.data.path).stem, runs)
    check_free(name, runs)
    config = read_config(plan.model.name)
    shape = Shape.of(config, loaded_bytes(plan.model.name))
    usual = MICRO_BATCH_TOKENS["cpu"]
    gpu = has_gpu()  # what its memory holds is asked when torch is there: in the step that loads the model
    if not gpu:
        # the weights alone, before anything slow
        check_memory(plan, shape, longest=0, per_step=0, usual=usual, copies=copies)
    tokenizer = load_tokenizer(plan.model.name)
    checked = check_data(plan.data, Path.cwd(), tokenizer, cache_folder() / "data")
    lengths = checked.examples.lengths
    held_out = checked.validation.examples.lengths if checked.validation else lengths
    _check_positions(plan, config, int(max(lengths.max(), held_out.max())))
    _check_formats(plan, tokenizer)
    if not gpu:
        fullest = int(np.sort(lengths)[-plan.training.batch_size :].sum())
        check_memory(plan, shape, int(lengths.max()), fullest, usual, copies=copies)
    return create_run(name, runs, plan, texts)


def _check_positions(plan: Plan, config: dict[str, Any], longest: int) -> None:
    """RunError when an example is longer than the model has positions for."""
    most = config.get("max_position_embeddings") or config.get("n_positions") or longest
    if longest > most:
        raise RunError(
            f"The longest example has {longest:,} tokens, and {plan.model.name} was made for {most:,} at most.",
            kept="Nothing was started.",
            do=f"Set data.max_length to {most}; data.too_long says what becomes of longer rows.",
        )


def _check_formats(plan: Plan, tokenizer: Any) -> None:
    """ExportError when a format of the plan could not be written after training."""
    if set(plan.export.formats) <= {"safetensors"}:
        return
    from transformers import AutoConfig

    from tunebook.export.known import check_formats

    with suppress(OSError, ValueError):  # what nobody can read is told where the model is loaded
        check_formats(plan, AutoConfig.from_pretrained(model_folder(plan.model.name)), tokenizer)


def _check_extras(plan: Plan) -> None:
    """RunError when the plan names what comes in an extra that is not installed."""
    absent = {tracker: TRACKERS[tracker].title for tracker in missing(plan.trackers)}
    if plan.evaluation.tasks and importlib.util.find_spec("lm_eval") is None:
        absent["lm-eval"] = "the lm-evaluation-harness (evaluation.tasks)"
    if absent:
        raise RunError(
            f"The plan names what is not installed: {', '.join(absent.values())}.",
            kept="Nothing was started.",
            do=f"Install it (pip install 'tunebook[{','.join(absent)}]'), or take it out of the plan.",
        )


def start_detached(run: Run, options: Sequence[str] = ()) -> int:
    """Start the run in a session of its own, its words going to `run.log`; returns the process id."""
    with (run.folder / "run.log").open("ab") as log:
        command = [sys.executable, "-P", "-m", "tunebook", "resume", str(run.folder), *options]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=run.folder
        )
    return child.pid
