"""The success report: one object from what the run folder holds, written as JSON, Markdown and one HTML file.

The JSON says everything. The Markdown and the HTML leave out the run's name, its folder and the time it took, so that
two runs of one plan that come to the same result come to the same text.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tunebook.errors import TunebookError
from tunebook.evaluate.advice import next_steps
from tunebook.evaluate.indicators import Indicator, judge
from tunebook.evaluate.prompts import bare_prompts
from tunebook.evaluate.record import Answers, Record, read_pair, read_record
from tunebook.evaluate.review import steps_with_answers, summary
from tunebook.evaluate.scores import lengths, score_answers, signatures
from tunebook.evaluate.stats import paired_difference
from tunebook.files import write_json, write_text
from tunebook.runs.status import read_status

FORMAT = 1
CURVE_POINTS = 1000  # most points of a curve in the report
ALONG = 30  # most evaluations whose answers are compared with the base's


def make_report(folder: Path) -> dict[str, Any]:
    """The report on the run in `folder`, as `report.json` holds it (see docs/report.md). Nothing is written."""
    record = read_record(folder)
    status = read_status(record.run)
    indicators = judge(record)
    plan = record.plan
    report: dict[str, Any] = {
        "format": FORMAT,
        "name": record.run.name,
        "folder": str(folder.absolute()),
        "state": status.state,
        "headline": headline(indicators),
        "indicators": [indicator.to_json() for indicator in indicators],
        "model": shown_name(plan.model.name) if plan else None,
        "data": Path(plan.data.path).name if plan else None,
        "settings": _settings(record),
        "end": _end(record, status.reason),
        "curves": _curves(record),
        "answers": _answers(record),
        "along": _along(record),
        "regressions": _regressions(record),
        "lengths": _lengths(record),
        "gradient_norms": _gradient_norms(record),
        "measured": _measured(record),
        "signatures": signatures([row["reference"] for row in record.answers[0]]) if record.answers else {},
        "reviews": summary(folder),
        "judge": record.judged,
        "export": _export(record),
        "not_understood": list(plan.not_understood) if plan else [],
        "warnings": _warnings(record),
        "seconds": status.spent or None,
        "parts": status.parts,
    }
    return report | {"next": next_steps(report, plan)}


def write_report(folder: Path) -> dict[str, Any]:
    """Make the report, write `report.json`, `report.md` and `report.html` into the run folder, and return it."""
    from tunebook.evaluate.report_html import to_html
    from tunebook.evaluate.report_markdown import to_markdown

    report = make_report(folder)
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", to_markdown(report))
    write_text(folder / "report.html", to_html(report))
    return report


def renew_report(folder: Path) -> None:
    """Write the report again where there is one, so that it says how the run ended; what cannot be written is left."""
    if (folder / "report.json").exists():
        with suppress(OSError, TunebookError):
            write_report(folder)


def headline(indicators: list[Indicator]) -> str:
    """The result in one sentence."""
    verdicts = {indicator.id: indicator.verdict for indicator in indicators}
    kept = {
        "yes": "and it kept its general ability.",
        "no": "but it lost general ability.",
        "unclear": "but whether it kept its general ability is unclear.",
    }[verdicts["retention"]]
    return {
        "yes": f"Measured by the references, the tuned model answers better than its base, {kept}",
        "no": "Measured by the references, the tuned model does not answer better than its base.",
        "unclear": "Whether the tuned model answers better than its base is unclear.",
    }[verdicts["answers"]]


def shown_name(name: str) -> str:
    """A model's name without the place of its folder; a hub id and the alias stay whole."""
    outside = name.startswith((".", "/", "~")) or os.sep != "/" and os.sep in name or name.count("/") > 1
    return Path(name).name if outside else name


def _settings(record: Record) -> dict[str, Any]:
    """What was trained and how, from the plan and the totals that the run settled."""
    if record.plan is None:
        return {}
    plan = record.plan
    totals = next((event for event in reversed(record.events) if event["kind"] == "totals"), {})
    names = ("training_examples", "validation_examples", "trainable_parameters", "parameters", "steps_per_epoch")
    return {
        "method": plan.training.method,
        "learning_rate": plan.training.learning_rate,
        "batch_size": plan.training.batch_size,
        "epochs": [plan.training.epochs.min, plan.training.epochs.max],
        "seed": plan.training.seed,
        "checks": list(plan.quality.checks),
        **({"rank": plan.lora.rank} if plan.training.method == "lora" else {}),
        **{name: totals[name] for name in names if name in totals},
    }


def _end(record: Record, reason: str) -> dict[str, Any]:
    """How training ended, and which checkpoint is the result."""
    totals = next((event for event in reversed(record.events) if event["kind"] == "totals"), {})
    done = [event for event in record.events if event["kind"] == "step" and event["id"] == "train"]
    ended = next((e["evidence"].get("ended", "") for e in reversed(done) if e.get("evidence")), "")
    last = record.metrics[-1]["step"] if record.metrics else 0
    planned = totals.get("optimizer_steps")
    return {
        "reason": reason or ended,
        "step": last,
        "planned_steps": planned,
        "early": planned is not None and last < planned,
        "result_step": record.step,
        "chosen_of": _chosen_of(record),
        "epoch": record.metrics[-1].get("epoch") if record.metrics else None,
        "stopping": record.evaluations[-1].get("stopping", []) if record.evaluations else [],
    }


def _chosen_of(record: Record) -> int | None:
    """Among how many evaluations the result is the best on held-out data; None where it is the last step."""
    if record.plan is None or not record.plan.stopping.keep_best:
        return None
    values = (row["values"] for row in record.evaluations if row["step"] > 0)
    return sum(value.get("validation_loss") is not None for value in values)


def _curves(record: Record) -> dict[str, Any]:
    return {
        "training": _curve(record.metrics, "training_loss"),
        "validation": _curve(record.evaluations, "validation_loss"),
        "learning_rate": _curve(record.metrics, "learning_rate"),
    }


def _curve(rows: list[dict[str, Any]], name: str) -> dict[str, list[float]]:
    """Steps and values; a long curve becomes means of neighbours."""
    points = [(row["step"], row["values"][name]) for row in rows if row["values"].get(name) is not None]
    size = -(-len(points) // CURVE_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return {
        "step": [group[-1][0] for group in groups],
        "value": [sum(value for _, value in group) / len(group) for group in groups],
    }


def _answers(record: Record) -> list[dict[str, Any]]:
    """Each held-out prompt with the reference, both answers and their scores, in the order of the samples."""
    if record.answers is None:
        return []
    base, tuned = record.answers
    references = [row["reference"] for row in base]
    before, after = (score_answers([row["answer"] for row in rows], references) for rows in (base, tuned))
    questions = bare_prompts([row["prompt"] for row in base])
    return [
        {
            "id": one["id"],
            "prompt": question,
            "reference": one["reference"],
            "base": _answer(one, score_one),
            "tuned": _answer(two, score_two),
            "change": score_two.likeness - score_one.likeness,
        }
        for one, two, question, score_one, score_two in zip(base, tuned, questions, before, after, strict=True)
    ]


def _along(record: Record) -> list[dict[str, Any]]:
    """At each step whose answers were written down: mean likeness, and the interval of its change from the base's.

    Of many steps every second (third, ...) is taken, the last among them.
    """
    found: list[dict[str, Any]] = []
    steps = steps_with_answers(record.run.folder)
    for step in sorted(steps[:: -(len(steps) // ALONG + 1)]):
        if pair := read_pair(record, step):
            references = [row["reference"] for row in pair[0]]
            before, after = (
                [score.likeness for score in score_answers([row["answer"] for row in rows], references)]
                for rows in pair
            )
            change = paired_difference(before, after, groups=[row["group"] for row in pair[0]])
            found.append({"step": step, "likeness": fmean(after), "change": change.to_json()})
    return found


def _answer(row: dict[str, Any], score: Any) -> dict[str, Any]:
    return {"text": row["answer"], "tokens": row["tokens"], "ended": row["ended"], "scores": score.to_json()}


def _regressions(record: Record, most: int = 10) -> list[dict[str, Any]]:
    """Held-out examples whose loss rose most, worst first: {"id", "base", "tuned", "change"} in nats per token."""
    if record.held_out is None:
        return []
    pairs = zip(*record.held_out, strict=True)
    worse = sorted(
        ((two.loss - one.loss, one, two) for one, two in pairs if two.loss > one.loss), key=lambda row: -row[0]
    )
    return [{"id": a.id, "base": a.loss, "tuned": b.loss, "change": change} for change, a, b in worse[:most]]


def _lengths(record: Record) -> dict[str, Any]:
    if record.answers is None:
        return {}
    pairs = zip(("base", "tuned"), record.answers, strict=True)
    return {name: _length(rows) for name, rows in pairs}


def _length(rows: Answers) -> dict[str, float]:
    return lengths([row["tokens"] for row in rows], [row["ended"] for row in rows])


def _gradient_norms(record: Record) -> dict[str, dict[str, float]]:
    """Mean norm in the first and the last tenth of the steps, of the whole gradient and of each group of layers."""
    tenth = max(1, len(record.metrics) // 10)
    found = {}
    for name in dict.fromkeys(name for row in record.metrics for name in row["values"]):
        values = [row["values"].get(name) for row in record.metrics]
        if name.startswith("gradient_norm") and None not in values:
            group = name.partition("/")[2] or "whole"
            found[group] = {"first": sum(values[:tenth]) / tenth, "last": sum(values[-tenth:]) / tenth}
    return found


def _measured(record: Record) -> dict[str, float]:
    """Speed in the middle of the steps (tokens per second), and the most memory (bytes), where they were chosen."""
    values = {
        name: [row["values"][name] for row in record.metrics if row["values"].get(name) is not None]
        for name in ("throughput", "memory_peak", "memory_device")
    }
    return {name: median(found) if name == "throughput" else max(found) for name, found in values.items() if found}


def _export(record: Record) -> dict[str, Any] | None:
    """Where the exported files lie, how they compare, and what the deployment test found; None before an export."""
    if record.export is None:
        return None
    formats: dict[str, Any] = record.export.get("formats", {})
    first: dict[str, Any] = next(iter(formats.values()), {})
    return {
        "folder": first.get("folder"),
        "parity": record.export.get("parity"),
        "formats": formats,
        "deployment": record.deployment,
    }


def _warnings(record: Record) -> list[str]:
    """What went wrong on the way, each once. That a dead process's lock was taken over is of no interest here."""
    events = [event for event in record.events if event["kind"] == "warning" and event["code"] != "lock_taken_over"]
    return list(dict.fromkeys([*(event["message"] for event in events), *record.gaps]))
