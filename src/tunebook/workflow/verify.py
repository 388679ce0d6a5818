"""`tunebook verify`: does a run folder hold what it says? Every file against its manifest, events, report.

Nothing is changed, and nothing is taken on trust that can be computed again: hashes, numbers of events, the report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tunebook.errors import Fault, TunebookError
from tunebook.evaluate.report import make_report
from tunebook.export.staging import damage as export_damage
from tunebook.files import read_json, to_json
from tunebook.runs.checkpoints import damage, steps_saved
from tunebook.runs.events import read_events
from tunebook.runs.metrics import metric_rows
from tunebook.runs.status import read_status
from tunebook.runs.store import Run

# what of report.json follows from the run's record alone; reviews, a judge's words and exports may come later
_FROM_RECORD = ("settings", "indicators", "end", "curves", "answers", "regressions", "lengths")


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at (name -> how many), and every fault that was found."""

    run: str
    checked: dict[str, int]
    faults: list[Fault]

    def to_json(self) -> dict[str, Any]:
        """As `tunebook verify --json` prints it."""
        faults = [{"where": fault.where, "message": fault.message} for fault in self.faults]
        return {"run": self.run, "ok": not faults, "checked": self.checked, "faults": faults}


def verify_run(run: Run) -> Verified:
    """Look at everything in the run's folder; a fault in one thing does not keep the others from being looked at."""
    looks: dict[str, Callable[[Run], Iterator[Fault | None]]] = {
        "files": _files,
        "checkpoints": _checkpoints,
        "events": _events,
        "optimizer_steps": _optimizer_steps,
        "evaluations": _evaluations,
        "samples": _samples,
        "exports": _exports,
        "report": _report,
    }
    checked: dict[str, int] = {}
    faults: list[Fault] = []
    for name, look in looks.items():
        found = list(look(run))
        checked[name] = len(found)
        faults += [fault for fault in found if fault]
    return Verified(run.name, checked, faults)


def _files(run: Run) -> Iterator[Fault | None]:
    """The files that a run is opened by, and all that is JSON: can they be read?"""
    try:
        run.plan()
        yield None
    except TunebookError as error:
        yield Fault("plan.yaml", str(error))
    for path in sorted(run.folder.rglob("*.json")):
        if "checkpoints" in path.relative_to(run.folder).parts or path.name == "lock.json":
            continue
        try:
            read_json(path)
            yield None
        except (OSError, ValueError) as error:
            yield Fault(str(path.relative_to(run.folder)), f"cannot be read ({error})")


def _checkpoints(run: Run) -> Iterator[Fault | None]:
    """Every checkpoint against its manifest; those that the events tell of must be there.

    Where events were lost, the word that an earlier one was rotated away may be among them.
    """
    there = steps_saved(run.checkpoints)
    for step in there:
        wrong = damage(run.checkpoints, step)
        yield Fault(f"checkpoints/step-{step}", wrong) if wrong else None
    told = {step for step, kept in read_status(run).checkpoints.items() if kept["ok"]}
    before: set[int] = set()
    for event in read_events(run.events):
        if event["kind"] == "checkpoint":
            before.add(event["step"])
        elif event.get("code") == "events_lost":
            told -= before
    for step in sorted(told - set(there)):
        yield Fault(f"checkpoints/step-{step}", "is missing")


def _events(run: Run) -> Iterator[Fault | None]:
    """Each line of the event file is a whole event, and they are numbered from 1 without gaps."""
    if not run.events.exists():
        return
    expected = 1
    for place, line in enumerate(run.events.read_bytes().splitlines(keepends=True), 1):
        where = f"events.jsonl, line {place}"
        try:
            number = json.loads(line)["seq"] if line.endswith(b"\n") else None
        except (ValueError, TypeError, KeyError):
            number = None
        if number is None:
            yield Fault(where, "is not a whole event")
        elif number != expected:
            yield Fault(where, f"has the number {number} instead of {expected}")
        else:
            yield None
        expected = (number or expected) + 1


def _optimizer_steps(run: Run) -> Iterator[Fault | None]:
    """Each optimizer step has one row of metrics, in order."""
    steps = [row["step"] for row in metric_rows(run) if row["kind"] == "metrics"]
    for expected, step in enumerate(steps, 1):
        if step != expected:
            yield Fault("events.jsonl", f"metrics of step {step} stand where those of step {expected} are due")
            return
        yield None


def _evaluations(run: Run) -> Iterator[Fault | None]:
    """The held-out loss of each evaluation against the file of its measurement, summed again."""
    for row in metric_rows(run):
        if row["kind"] != "evaluation" or "validation_loss" not in row["values"]:
            continue
        name = f"evaluation/heldout-{'base' if row['step'] == 0 else 'step-' + str(row['step'])}.json"
        try:
            rows = read_json(run.folder / name)["per_example"]
            loss = sum(example["nats"] for example in rows) / sum(example["tokens"] for example in rows)
            same = abs(loss - row["values"]["validation_loss"]) <= 1e-9 * abs(loss)
            yield None if same else Fault(name, f"says {loss}, the events say {row['values']['validation_loss']}")
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            yield Fault(name, f"cannot be read ({error})")


def _samples(run: Run) -> Iterator[Fault | None]:
    """The answers that the events tell of are there."""
    for name in sorted({event["path"] for event in read_events(run.events) if event["kind"] == "samples"}):
        yield None if (run.folder / name).is_file() else Fault(name, "is missing")


def _exports(run: Run) -> Iterator[Fault | None]:
    """Every exported folder against its manifest."""
    path = run.folder / "export" / "export.json"
    try:
        formats = read_json(path)["formats"] if path.exists() else {}
    except (OSError, ValueError, KeyError):
        return  # named among the files
    for entry in formats.values():
        found: list[Fault | None] = [
            Fault(f"{entry['folder']}/{fault.where}", fault.message)
            for fault in export_damage(run.folder / entry["folder"])
        ]
        yield from found or [None]


def _report(run: Run) -> Iterator[Fault | None]:
    """The report against one that is made anew from the events and measurements.

    One that was written while the run went on, or before its last try, says less than they do by now: not compared.
    """
    try:
        written = read_json(run.report) if run.report.exists() else {}
    except (OSError, ValueError):
        return  # named among the files
    if not isinstance(written, dict):
        yield Fault("report.json", "is not a report")
        return
    again = json.loads(to_json(make_report(run.folder))) if written else {}
    if written.get("state") == "running" or written.get("state") != again.get("state"):
        return
    for key in _FROM_RECORD:
        if key in written:
            same = written[key] == again[key]
            yield None if same else Fault("report.json", f"{key} is not what the run's record says")
