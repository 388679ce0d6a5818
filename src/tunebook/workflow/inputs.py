"""What a run was started with: its inputs by hash, its plan by value. Changed ones are refused or asked about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunebook.errors import Fault, RunError
from tunebook.files import read_json
from tunebook.plan.files import make_plan, put_value, values_by_path
from tunebook.plan.schema import Plan
from tunebook.runs.store import Run

if TYPE_CHECKING:
    from tunebook.workflow.context import Context

INPUTS = {
    "template": "the chat template",
    "tokenizer": "the tokenizer",
    "data": "the data set",
    "validation_data": "the validation file",
    "split": "which rows are held out",
    "model": "the base model's weights",
    "model_config": "the base model's config.json",
}
_CAUSES = ("template", "tokenizer")  # when one of these changed, the tokens of the data did, too
# how paths begin that a run cannot change on its way; answers of two lengths cannot be held against each other
_SETTLED = ("training.", "lora.", "model.quantization", "evaluation.max_new_tokens")


def remember_inputs(context: Context, **digests: str) -> None:
    """Note the hashes of inputs (keys of INPUTS) the first time; RunError when a later try of the run finds others."""
    known = _read(context.run, "inputs.json")
    changed = [name for name in INPUTS if name in digests and known.setdefault(name, digests[name]) != digests[name]]
    if changed:
        causes = [name for name in changed if name in _CAUSES] or changed
        plan = [fault for fault in _faults(settings_changed(context.run, context.plan)) if fault.where[:5] == "data."]
        raise RunError(
            f"The run '{context.run.name}' cannot go on: {' and '.join(INPUTS[name] for name in causes)} changed since "
            f"it was started ({known[causes[0]][:12]}... then, {digests[causes[0]][:12]}... now).",
            kept="Its checkpoints are untouched.",
            do="Put back what changed, or start a new run.",
            faults=plan,
        )
    context.write(known, "data", "inputs.json")


def check_settings(context: Context) -> None:
    """Note the plan's values the first time; later RunError when settings of training changed, and a word on others."""
    if not context.path("data", "started.json").exists():
        context.write(values_by_path(context.plan), "data", "started.json")
        return
    refuse_changed(context.run, context.plan)
    for fault in _faults(settings_changed(context.run, context.plan)):
        context.emit("log", message=f"The plan changed: {fault}.")


def refuse_changed(run: Run, plan: Plan) -> None:
    """RunError when `plan` would train otherwise than the run was started: learning rate, batch, epochs, seed, ..."""
    changed = settings_changed(run, plan)
    if settled := {path: change for path, change in changed.items() if path.startswith(_SETTLED)}:
        raise RunError(
            f"The plan of '{run.name}' differs from what it was started with, in what a run cannot change on its way.",
            kept="Its checkpoints are untouched.",
            do=f"Go on with the values that it was started with: `tunebook resume {run.name} --as-planned`. Or start a "
            f"new run with the new values from the weights reached so far: `tunebook resume {run.name} --new NAME`.",
            faults=_faults(settled),
        )


def settings_changed(run: Run, plan: Plan) -> dict[str, tuple[Any, Any]]:
    """Path -> (value that the run was started with, value now) of each value of `plan` that differs."""
    before = _read(run, "started.json")
    now = values_by_path(plan)
    return {
        path: (before.get(path), now.get(path))
        for path in {**before, **now}
        if before and before.get(path) != now.get(path)
    }


def as_started(run: Run, plan: Plan) -> Plan:
    """`plan` with the values that a run cannot change as the run was started with them."""
    value = plan.model_dump(mode="json", by_alias=True)
    for path, (before, _) in settings_changed(run, plan).items():
        if path.startswith(_SETTLED):
            put_value(value, path, before)
    return make_plan(value)


def _faults(changed: Mapping[str, tuple[Any, Any]]) -> list[Fault]:
    return [Fault(path, f"was {before}, is {now}") for path, (before, now) in changed.items()]


def _read(run: Run, name: str) -> dict[str, Any]:
    path = run.folder / "data" / name
    try:
        return dict(read_json(path)) if path.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"{path} is damaged, so that nobody can say whether the run's inputs are still the same.",
            kept="Its checkpoints are untouched.",
            do="Restore it from a copy, or remove it to go on with the inputs as they are.",
        ) from error
