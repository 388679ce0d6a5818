"""Statuses as the studio shows them: a row of the run list, and one run with its steps named."""

from __future__ import annotations

from typing import Any

from tunebook.runs.status import Status
from tunebook.steps import BY_ID

_LIST = ("name", "folder", "state", "reason", "optimizer_step", "optimizer_steps", "eta_seconds", "started", "updated")


def list_row(status: Status) -> dict[str, Any]:
    """One run in `tunebook runs --json`'s words, with the time left."""
    return {key: getattr(status, key) for key in _LIST} | {"last": status.last}


def run_json(status: Status) -> dict[str, Any]:
    """`tunebook status --json`, each step with its title and what it does."""
    value = status.to_json()
    for step in value["steps"]:
        known = BY_ID.get(step["id"])
        step["title"], step["does"] = (known.title, known.does) if known else (step["id"], "")
    return value
