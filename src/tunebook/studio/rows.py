"""Statuses as the studio shows them: a row of the run list, and one run with its steps named."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from tunebook.files import to_json
from tunebook.runs.status import Status
from tunebook.steps import BY_ID

_LIST = ("name", "folder", "state", "reason", "optimizer_step", "optimizer_steps", "eta_seconds", "started", "updated")


def list_row(status: Status) -> dict[str, Any]:
    """One run in `tunebook runs --json`'s words, with the time left."""
    return {key: getattr(status, key) for key in _LIST} | {
        "spent": status.spent,
        "last": status.last,
        "result_loss": status.result_loss,
    }


def run_json(status: Status) -> dict[str, Any]:
    """`tunebook status --json`, each step with its title and what it does."""
    value = status.to_json()
    for step in value["steps"]:
        known = BY_ID.get(step["id"])
        step["title"], step["does"] = (known.title, known.does) if known else (step["id"], "")
    return value


class Listing:
    """The run list as JSON, made at most once a second, however many tabs follow it."""

    def __init__(self, statuses: Callable[[], list[Status]]) -> None:
        self._statuses, self._lock = statuses, Lock()
        self._rows: dict[str, str] = {}
        self._at = -1.0

    def rows(self) -> dict[str, str]:
        """Each run's row by name, the one that changed last first; the very same dict while nothing was read anew."""
        with self._lock:
            if not 0 <= time.monotonic() - self._at < 0.9:
                self._rows = {status.name: to_json(list_row(status)) for status in self._statuses()}
                self._at = time.monotonic()
            return self._rows
