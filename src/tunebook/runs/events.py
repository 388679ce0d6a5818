"""`events.jsonl`: everything a run says about itself, one numbered line an event. One writer, one reader.

    {"seq": 17, "time": 1763800000.1, "kind": "metrics", "step": 12, "values": {"training_loss": 2.31}}

`seq` starts at 1 and has no gaps. `kind` says which other keys there are (see `docs/events.md`). A number that is
not finite is stored as null and its name is listed in `not_finite`. A last line that a crash cut short is not an
event: the reader passes it over and the next writer cuts it off.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunebook.files import to_json

Event = dict[str, Any]


class EventWriter:
    """Appends events to one file. A write that fails (disk full) is never raised: training goes on.

    How many were lost is told by a warning as soon as a write succeeds again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.seq = _cut_unfinished_line(path)
        self.lost = 0

    def emit(self, kind: str, **fields: Any) -> Event:
        """Append one event and return it."""
        event: Event = {"seq": self.seq + 1, "time": time.time(), "kind": kind, **fields}
        if bad := sorted(_not_finite(fields)):
            event["not_finite"] = bad
        try:
            self._append(event)
        except OSError:
            self.lost += 1
            return event
        self.seq += 1
        if self.lost:
            lost, self.lost = self.lost, 0
            what = f"{lost} event{'s' * (lost > 1)} before this one could not be written"
            message = f"{what} and {'are' if lost > 1 else 'is'} lost (a full disk, or an I/O error)."
            self.emit("warning", code="events_lost", message=message)
        return event

    def sync(self) -> None:
        """Make what was written survive a power cut; OSError when that fails."""
        if self.path.exists():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def _append(self, event: Event) -> None:
        """Add a line, whole or not at all."""
        with self.path.open("ab", buffering=0) as file:
            line, start = (to_json(event) + "\n").encode(), file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, "the event was cut short")
            except OSError:
                os.truncate(self.path, start)
                raise


def read_events(path: Path, since: int = 0) -> Iterator[Event]:
    """Events with `seq` above `since`, oldest first; nothing when the file is not there yet."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("seq", 0) > since:
                yield event


class EventTail:
    """The events that come from now on, in the order written; each is given once and nothing is read twice.

    Half a line at the end, which a writer that died has left, is cut off by the next one and does not count.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = _whole(path.read_bytes()) if path.exists() else 0

    def new(self) -> list[Event]:
        """Events since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.place)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self.place += whole
        return [json.loads(line) for line in data[:whole].splitlines()]


def _cut_unfinished_line(path: Path) -> int:
    """Cut a half-written last line off, or the zeros of a power cut; return the last event's number (0 for none)."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    whole = _whole(data)
    if whole < len(data):
        os.truncate(path, whole)
    last = 0
    for event in read_events(path):
        last = int(event["seq"])
    return last


def _whole(data: bytes) -> int:
    """How many bytes of `data` are whole lines: not half of one, nor the zeros of a power cut."""
    return data.rstrip(b"\0").rfind(b"\n") + 1


def _not_finite(fields: dict[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            yield name
        elif isinstance(value, dict):
            yield from _not_finite(value)
