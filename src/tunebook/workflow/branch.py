"""A new run from the weights that another one has reached."""

from __future__ import annotations

from pathlib import Path

from tunebook.errors import RunError
from tunebook.export.staging import staged
from tunebook.export.steps import owner_of
from tunebook.export.weights import write_merged
from tunebook.plan.files import make_plan, put_value
from tunebook.plan.schema import Plan
from tunebook.runs.checkpoints import newest_good
from tunebook.runs.lock import hold_lock
from tunebook.runs.store import Run, check_free
from tunebook.workflow.result import load_tuned
from tunebook.workflow.start import prepare_run


def branch_run(run: Run, plan: Plan, name: str, runs: Path) -> Run:
    """Make the run `name` of `plan`, whose base model is the newest good checkpoint of `run`.

    The weights are written to `export/step-N/` in the folder of `run`, merged into its base where it trains adapters.
    The new run holds them whole, also where `run` holds its base in 4 bits.
    RunError when there is no good checkpoint, the name is taken, or another process works on `run`.
    """
    check_free(name, runs)
    with hold_lock(run.folder):
        target = _export_newest(run)
    value = plan.model_dump(mode="json", by_alias=True)
    put_value(value, "model.name", str(target))
    put_value(value, "model.sha256", None)
    put_value(value, "model.quantization", None)  # rounded to 4 bits once more, what was learned would be lost
    return prepare_run(make_plan(value), name, runs)


def _export_newest(run: Run) -> Path:
    """The folder into which the weights of the run's newest good checkpoint were written."""
    step = next((step for step, wrong in newest_good(run.checkpoints) if not wrong), None)
    if step is None:
        raise RunError(f"The run '{run.name}' has no good checkpoint to start from.", do="Resume it first.")
    model, tokenizer = load_tuned(run, step)
    target = run.folder / "export" / f"step-{step}"
    with staged(target, owner_of(run.folder, run.plan()), {"kind": "safetensors", "step": step}) as folder:
        write_merged(model, tokenizer, folder)
    return target
