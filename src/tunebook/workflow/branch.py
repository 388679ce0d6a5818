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
from tunebook.runs.store import Run, check_free
from tunebook.workflow.result import load_tuned
from tunebook.workflow.start import prepare_run


def branch_run(run: Run, plan: Plan, name: str, runs: Path) -> Run:
    """Make the run `name` of `plan`, whose base model is the newest good checkpoint of `run`.

    The weights are written to `export/step-N/` in the folder of `run`, merged into its base where it trains adapters.
    RunError when there is no good checkpoint, or the name is taken.
    """
    check_free(name, runs)
    step = next((step for step, wrong in newest_good(run.checkpoints) if not wrong), None)
    if step is None:
        raise RunError(f"The run '{run.name}' has no good checkpoint to start from.", do="Resume it first.")
    model, tokenizer = load_tuned(run, step)
    target = run.folder / "export" / f"step-{step}"
    with staged(target, owner_of(run.folder, run.plan()), {"kind": "safetensors", "step": step}) as folder:
        write_merged(model, tokenizer, folder)
    value = plan.model_dump(mode="json", by_alias=True)
    put_value(value, "model.name", str(target))
    put_value(value, "model.sha256", None)
    return prepare_run(make_plan(value), name, runs)
