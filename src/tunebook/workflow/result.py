"""The model that a run made, put together again from its folder."""

from __future__ import annotations

from typing import Any

from tunebook.errors import CheckpointError, RunError
from tunebook.files import read_json
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.model.sources import load_model, load_tokenizer, weights_sha256
from tunebook.runs.checkpoints import damage, steps_saved
from tunebook.runs.store import Run
from tunebook.train.checkpoint import load_checkpoint
from tunebook.workers.sharding import fill
from tunebook.workflow.hardware import pick_device


def result_step(run: Run) -> int:
    """The step of the run's result: what `monitor` chose; before that its newest good checkpoint.

    CheckpointError when the one chosen is damaged: another one is not what was measured.
    """
    folder = run.checkpoints
    path = run.folder / "evaluation" / "result.json"
    if path.exists() and (step := read_json(path)["step"]) is not None:
        if wrong := damage(folder, step):
            raise CheckpointError(
                f"The checkpoint of step {step}, the result of '{run.name}', is damaged: {wrong}.",
                kept="Its report and what was exported before stand.",
                do=f"Put its folder back, or use another checkpoint: `tunebook compare {run.name}@STEP`.",
            )
        return int(step)
    for step in steps_saved(folder):
        if not damage(folder, step):
            return step
    raise RunError(
        f"The run '{run.name}' has no good checkpoint yet.", do="Wait for its first evaluation, or resume it."
    )


def check_base(run: Run) -> None:
    """RunError when the base model is another one than the run was made with: its adapter would fit, and say nonsense.

    Reads all of the base's weights.
    """
    path = run.folder / "data" / "inputs.json"
    wanted = read_json(path).get("model") if path.exists() else None
    name = run.plan().model.name
    if wanted and (found := weights_sha256(name, run.folder)) != wanted:
        raise RunError(
            f"The base model '{name}' is not the one that '{run.name}' was made with "
            f"(weights {found[:12]}... instead of {wanted[:12]}...).",
            kept="Nothing was written.",
            do="Put the right base model back.",
        )


def load_tuned(run: Run, step: int | None = None, device: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) of the run's result, or of one of its checkpoints; a PeftModel when it trained adapters.

    On the GPU where there is one, unless `device` says another.
    """
    plan = run.plan()
    saved = load_checkpoint(run.checkpoints, result_step(run) if step is None else step)
    tokenizer = load_tokenizer(plan.model.name, run.folder)
    base = load_model(plan.model.name, run.folder, quantization=plan.model.quantization)
    model = make_trainable(base.to(device or pick_device()), plan)
    parameters = trainable_parameters(model)
    if missing := sorted(set(parameters) ^ set(saved.weights)):
        raise RunError(
            f"The checkpoint of '{run.name}' does not fit its base model ({missing[0]} is on one side only).",
            do="Put back the base model that the run was made from.",
        )
    fill(parameters, saved.weights)
    model.eval()
    return model, tokenizer
