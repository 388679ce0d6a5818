"""A run as the studio sees it: read once, then only what its events file has grown by.

`Live` keeps a run's status and, once somebody asked for curves, its metrics in columns. Ten thousand runs cost a stat
each; a run of 100,000 steps costs its new lines. What stands here can be thrown away at any time: the files are the
truth.
"""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_right
from dataclasses import replace
from threading import Lock
from typing import Any

from tunebook.runs.events import Event
from tunebook.runs.lock import writer_of
from tunebook.runs.status import Status, apply, order_of, read_status
from tunebook.runs.store import Run

_NOT_SAID, _NULL = math.nan, math.inf  # in a column: the row does not hold the metric; it holds null
_METRICS = b'"kind": "metrics"'


class Table:
    """Metrics in columns, a row a metrics or evaluation event; what a resumed try superseded is taken out."""

    def __init__(self) -> None:
        self.seq, self.step = array("q"), array("q")
        self.values: dict[str, array[float]] = {}
        self.not_finite: list[tuple[int, str]] = []
        self._evaluated: dict[int, int] = {}  # step -> number of the event that told its evaluation last

    def add(self, event: Event) -> None:
        """Take a row. Out go the later rows when the run is resumed, and an evaluation that is told again."""
        if event["kind"] == "run" and event["state"] == "resumed":
            self._drop([row for row, step in enumerate(self.step) if step > event["step"]])
        elif event["kind"] == "evaluation":
            if (earlier := self._evaluated.get(event["step"])) is not None:
                self._drop([self.seq.index(earlier)])
            self._append(event)
            self._evaluated[event["step"]] = event["seq"]
        elif event["kind"] == "metrics":
            self._append(event)

    def _append(self, event: Event) -> None:
        rows = len(self.seq)
        self.seq.append(event["seq"])
        self.step.append(event["step"])
        for name, value in event["values"].items():
            column = self.values.setdefault(name, array("d", [_NOT_SAID]) * rows)
            column.append(_NULL if value is None else value)
        for column in self.values.values():
            if len(column) == rows:
                column.append(_NOT_SAID)
        self.not_finite += [(event["seq"], name) for name in event.get("not_finite", ())]

    def _drop(self, rows: list[int]) -> None:
        gone = {self.seq[row] for row in rows}
        columns: list[array[Any]] = [self.seq, self.step, *self.values.values()]
        for column in columns:
            for row in reversed(rows):
                del column[row]
        self.values = {name: column for name, column in self.values.items() if _says(column)}
        self.not_finite = [pair for pair in self.not_finite if pair[0] not in gone]
        self._evaluated = {step: seq for step, seq in self._evaluated.items() if seq not in gone}

    def to_json(self, since: int = 0) -> dict[str, Any]:
        """As `tunebook metrics --json` prints it."""
        first = bisect_right(self.seq, since)
        table: dict[str, Any] = {"seq": self.seq[first:].tolist(), "step": self.step[first:].tolist()}
        for name in sorted(self.values):
            column = self.values[name][first:]
            if _says(column):
                table[name] = [value if math.isfinite(value) else None for value in column]
        table["not_finite"] = [{"seq": seq, "metric": name} for seq, name in self.not_finite if seq > since]
        return table


def _says(column: array[float]) -> bool:
    """Does any row hold this metric, if only as null?"""
    return any(value == value for value in column)


class Live:
    """One run, brought up to date on demand. Safe to use from several threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        self._offset, self._stamp, self.seq = 0, (0, 0, 0), 0
        self._table: Table | None = None
        self._killed: Status | None = None
        self._status = Status(self.run.name, str(self.run.folder), order=order_of(self.run))

    def status(self) -> Status:
        """The run's status now; `killed` when its process is gone without a word."""
        with self._lock:
            self._refresh()
            if self._status.state != "running" or writer_of(self.run.folder):
                now = self._status
                return replace(now, steps=dict(now.steps), last=dict(now.last), checkpoints=dict(now.checkpoints))
            if self._killed is None:
                self._killed = read_status(self.run)
            return self._killed

    def table(self, since: int = 0) -> tuple[int, dict[str, Any]]:
        """The last event's number, and the metrics of events above `since`."""
        with self._lock:
            if self._table is None:
                self._forget()
                self._table = Table()
            self._refresh()
            assert self._table is not None
            return self.seq, self._table.to_json(since)

    def _refresh(self) -> None:
        try:
            found = self.run.events.stat()
        except FileNotFoundError:
            return
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp == self._stamp:
            return
        if found.st_size < self._offset or (self._stamp[0] and found.st_ino != self._stamp[0]):
            table = self._table
            self._forget()
            self._table = Table() if table else None
        with self.run.events.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._take(data[:whole].split(b"\n")[:-1])
        self._offset += whole
        self._stamp, self._killed = stamp, None

    def _take(self, lines: list[bytes]) -> None:
        if self._table is None:  # a status needs the last metrics alone
            marks = [_METRICS in line[:120] for line in lines]
            last = len(marks) - 1 - marks[::-1].index(True) if True in marks else -1
            lines = [line for place, line in enumerate(lines) if place == last or not marks[place]]
        for line in lines:
            try:
                event = json.loads(line)
                seq = event["seq"]
            except (ValueError, TypeError, KeyError):
                continue
            self.seq = seq
            apply(self._status, event)
            if self._table is not None:
                self._table.add(event)
