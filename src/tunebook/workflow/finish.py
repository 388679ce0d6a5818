"""The steps after training: monitor, export, deploy. Each returns its evidence, or Skip with the reason."""

from __future__ import annotations

from typing import Any

from tunebook.errors import Stopped, TunebookError
from tunebook.evaluate.judge import judge_run
from tunebook.evaluate.report import write_report
from tunebook.export.steps import deploy_check, export_run
from tunebook.files import read_json
from tunebook.workflow.checkpoints import best_checkpoint, held_out_file, load_weights
from tunebook.workflow.context import Context, Skip
from tunebook.workflow.evaluation import answer_prompts, measure_held_out, measure_retention_of
from tunebook.workflow.result import load_tuned


def monitor(context: Context) -> dict[str, Any]:
    """Choose the checkpoint that is the result, measure it beside the base, and write the report."""
    step = context.workers.same(best_checkpoint(context) if context.workers.first else 0)
    context.best_step = step
    load_weights(context, step)
    context.engine.model.eval()
    if len(context.validation_rows):
        _held_out_of_result(context, step)
        if not context.workers.same(context.path("samples", f"step-{step}.json").exists()):
            answer_prompts(context, step)
    measure_retention_of(context, "tuned")
    context.write({"format": 1, "step": step}, "evaluation", "result.json")
    if not context.workers.first:
        return {"checkpoint": step}
    _ask_judge(context)
    report = write_report(context.run.folder)
    verdicts = {indicator["id"]: indicator["verdict"] for indicator in report["indicators"]}
    return {"checkpoint": step, **verdicts}


def export(context: Context) -> dict[str, Any] | Skip:
    """Write the result in the plan's formats; each is loaded again in a fresh process and compared."""
    if not context.plan.export.formats:
        return Skip("the plan names no export formats")
    prompts, limit = held_out_prompts(context)
    done = export_run(
        context.run.folder,
        context.plan,
        _whole_model(context),
        context.tokenizer,
        prompts,
        limit,
        context.progress("export"),
    )
    for text in done["parity"]["warnings"]:
        context.emit("warning", code="export", message=text)
    return {"formats": sorted(done["formats"]), "folder": "export"}


def _whole_model(context: Context) -> Any:
    """The result. Where it is split over workers, it is read again: the others are done, and their parts gone."""
    if not context.workers.sharded:
        return context.model
    context.model = context.engine = context.optimizer = None
    context.parameters = {}
    return load_tuned(context.run, context.best_step, "cpu")[0]  # one device may not hold the whole


def deploy(context: Context) -> dict[str, Any] | Skip:
    """Load the exported files in a fresh process and have it answer the held-out prompts as the tuned model did."""
    if not context.plan.export.formats:
        return Skip("the plan names no export formats, so there are no files to test")
    done = deploy_check(context.run.folder, on_progress=context.progress("deployment test"))
    return {name: done[name] for name in ("verdict", "equal", "total", "seconds") if name in done}


def held_out_prompts(context: Context) -> tuple[list[list[int]], int]:
    """Token ids of the prompts that the tuned model answered at its checkpoint, and the longest answer allowed."""
    path = context.path("samples", f"step-{context.best_step}.json")
    if path.exists():
        prompts = [answer["prompt_ids"] for answer in read_json(path)["answers"]]
    else:
        prompts = [context.examples[int(row)].prompt_ids.tolist() for row in context.train_rows[:3]]
    return prompts, context.plan.evaluation.max_new_tokens


def _ask_judge(context: Context) -> None:
    """Have the plan's judge model compare the answers; a judge that cannot be asked is a warning, and no more."""
    address = context.plan.quality.judge
    if not address:
        return
    try:
        judge_run(context.run.folder, address, context.progress("judge model"))
    except Stopped:
        raise
    except TunebookError as error:
        context.emit("warning", code="judge", message=str(error))


def _held_out_of_result(context: Context, step: int) -> None:
    measured = context.workers.same(held_out_file(context, step))
    if measured is None:
        measured = measure_held_out(context).to_json(step)
    context.write(measured, "evaluation", "heldout-tuned.json")
