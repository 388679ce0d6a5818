"""A run's metrics in columns: one row an optimizer step, what a resumed try superseded left out."""

from __future__ import annotations

from typing import Any

from tunebook.runs.events import Event, read_events
from tunebook.runs.store import Run


def metric_rows(run: Run) -> list[Event]:
    """Metrics and evaluation events in order; after a resume from step s, earlier rows beyond s are dropped.

    What a later try did once more, such as the base's measurement, stands once.
    """
    rows: dict[tuple[str, int], Event] = {}
    for event in read_events(run.events):
        if event["kind"] == "run" and event["state"] == "resumed":
            rows = {key: row for key, row in rows.items() if row["step"] <= event["step"]}
        elif event["kind"] in ("metrics", "evaluation"):
            rows.pop((event["kind"], event["step"]), None)
            rows[event["kind"], event["step"]] = event
    return list(rows.values())


def columns(run: Run, since: int = 0) -> dict[str, Any]:
    """`{"seq": [...], "step": [...], metric: [...]}`; what was not measured or not finite is None.

    `not_finite` lists `{"seq", "metric"}` of the values that were measured and were not finite.
    """
    rows = [row for row in metric_rows(run) if row["seq"] > since]
    names = sorted({name for row in rows for name in row["values"]})
    table: dict[str, Any] = {"seq": [row["seq"] for row in rows], "step": [row["step"] for row in rows]}
    table |= {name: [row["values"].get(name) for row in rows] for name in names}
    table["not_finite"] = [{"seq": row["seq"], "metric": name} for row in rows for name in row.get("not_finite", [])]
    return table
