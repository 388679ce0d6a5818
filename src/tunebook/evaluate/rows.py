"""The rows of a run's data that its answers came from, found again by their ids."""

from __future__ import annotations

from collections.abc import Collection

from tunebook.data.conversation import Conversation
from tunebook.data.open import open_data
from tunebook.runs.store import Run


def rows_by_id(run: Run, ids: Collection[str]) -> dict[str, Conversation]:
    """Rows of the run's data that have one of `ids`, the held-out file first. DataError when it cannot be read."""
    data = run.plan().data
    found: dict[str, Conversation] = {}
    for path in filter(None, (data.validation_path, data.path)):
        for item in open_data(run.folder / path, data.columns).conversations():
            if isinstance(item, Conversation) and item.id in ids:
                found.setdefault(item.id, item)
    return found


def last_answer(row: Conversation) -> int:
    """The place of the last trained answer; what stands before it is what the model is asked."""
    return max(place for place, message in enumerate(row.messages) if message.trained)
