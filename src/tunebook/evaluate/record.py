"""What a run folder holds that a judgement needs, read once. What is missing or damaged is None and named in `gaps`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunebook.errors import TunebookError
from tunebook.evaluate.ability import Retention
from tunebook.files import read_json
from tunebook.plan.schema import Plan
from tunebook.runs.events import Event, read_events
from tunebook.runs.metrics import metric_rows
from tunebook.runs.store import Run

Answers = list[dict[str, Any]]  # id, group, prompt, reference, answer, tokens, ended


@dataclass(frozen=True, slots=True)
class HeldOutRow:
    """One held-out example's loss, summed over its trained tokens. Those of one `group` are not independent."""

    id: str
    nats: float
    tokens: int
    group: str = ""

    @property
    def loss(self) -> float:
        """Nats per trained token."""
        return self.nats / self.tokens if self.tokens else 0.0


@dataclass(slots=True)
class Record:
    """`step` is the optimizer step whose weights are the run's result; pairs are (base, tuned)."""

    run: Run
    plan: Plan | None = None
    step: int | None = None
    metrics: list[Event] = field(default_factory=list)
    evaluations: list[Event] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    answers: tuple[Answers, Answers] | None = None
    held_out: tuple[list[HeldOutRow], list[HeldOutRow]] | None = None
    retention: tuple[Retention, Retention] | None = None
    export: dict[str, Any] | None = None
    deployment: dict[str, Any] | None = None
    judged: dict[str, Any] | None = None
    gaps: list[str] = field(default_factory=list)


def read_record(folder: Path) -> Record:
    """Read the run in `folder`; nothing in it is changed."""
    run = Run(folder)
    record = Record(run)
    rows = metric_rows(run)
    record.metrics = [row for row in rows if row["kind"] == "metrics"]
    record.evaluations = [row for row in rows if row["kind"] == "evaluation"]
    record.events = [event for event in read_events(run.events) if event["kind"] not in ("metrics", "evaluation")]
    record.plan = _take(record, folder / "plan.yaml", lambda path: run.plan())
    record.step = _result_step(record, folder)
    record.answers = read_pair(record, record.step) if record.step is not None else None
    place = folder / "evaluation"
    record.held_out = _pair(record, place, "heldout-base.json", "heldout-tuned.json", _held_out)
    record.retention = _pair(
        record, place, "retention-base.json", "retention-tuned.json", lambda path: Retention.from_json(read_json(path))
    )
    record.judged = _take(record, place / "judge.json", _object)
    record.export = _take(record, folder / "export" / "export.json", _object)
    record.deployment = _take(record, folder / "export" / "deployment.json", _object)
    return record


def read_pair(record: Record, step: int) -> tuple[Answers, Answers] | None:
    """Answers of the base and of `step` to the same prompts; None when either was not asked."""
    pair: tuple[Answers, Answers] | None = _pair(
        record, record.run.folder / "samples", "step-0.json", f"step-{step}.json", _answers
    )
    return pair


def read_held_out(folder: Path, name: str) -> list[HeldOutRow]:
    """The rows of `evaluation/heldout-<name>.json`. Raises what a missing or damaged file raises."""
    return _held_out(folder / "evaluation" / f"heldout-{name}.json")


def chosen_step(folder: Path) -> int | None:
    """The step that the run chose as its result; None before it did."""
    try:
        return int(read_json(folder / "evaluation" / "result.json")["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _result_step(record: Record, folder: Path) -> int | None:
    """The step of the result: as the monitor step wrote it, else the best evaluation so far."""
    path = folder / "evaluation" / "result.json"
    written: int | None = _take(record, path, lambda path: int(read_json(path)["step"]))
    if written is not None:
        return written
    best = [row["step"] for row in record.evaluations if row.get("best")]
    return int(best[-1]) if best else None


def _pair(record: Record, folder: Path, base: str, tuned: str, read: Callable[[Path], Any]) -> Any:
    """Both files of a comparison, in the same order; None when either is missing."""
    first, second = _take(record, folder / base, read), _take(record, folder / tuned, read)
    if first is None or second is None:
        return None
    if isinstance(first, list) and isinstance(second, list):
        return _aligned(first, second) or None
    return first, second


def _aligned(first: list[Any], second: list[Any]) -> tuple[list[Any], list[Any]] | None:
    """The rows that both lists have, by id, in the order of the first; ids may repeat."""
    waiting: dict[str, list[Any]] = {}
    for row in reversed(second):
        waiting.setdefault(_id(row), []).append(row)
    pairs = [(row, waiting[_id(row)].pop()) for row in first if waiting.get(_id(row))]
    return ([row for row, _ in pairs], [row for _, row in pairs]) if pairs else None


def _id(row: Any) -> str:
    return str(row["id"] if isinstance(row, dict) else row.id)


def _take(record: Record, path: Path, read: Callable[[Path], Any]) -> Any:
    """What `read` makes of the file; None when it is not there, or is damaged, which is noted."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except (OSError, ValueError, KeyError, TypeError, TunebookError) as error:
        record.gaps.append(f"{path.relative_to(record.run.folder)} cannot be used ({error}).")
    return None


def _answers(path: Path) -> Answers:
    return [
        {
            "id": str(row["id"]),
            "group": str(row.get("group", "")),
            "prompt": str(row["prompt"]),
            "reference": str(row["reference"]),
            "answer": str(row["answer"]),
            "tokens": int(row["tokens"]),
            "ended": bool(row["ended"]),
        }
        for row in read_json(path)["answers"]
    ]


def _held_out(path: Path) -> list[HeldOutRow]:
    rows = read_json(path)["per_example"]
    found = [
        HeldOutRow(str(row["id"]), float(row["nats"]), int(row["tokens"]), str(row.get("group", ""))) for row in rows
    ]
    return [row for row in found if row.tokens]


def _object(path: Path) -> dict[str, Any]:
    return dict(read_json(path))
