"""Answers that reviewers fixed, as training rows: the row of the data set with its last answer replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunebook.data.conversation import Conversation, Message
from tunebook.errors import RunError
from tunebook.evaluate.review import read_reviews
from tunebook.evaluate.rows import last_answer, rows_by_id
from tunebook.files import to_json, write_text
from tunebook.runs.store import Run


def fixed_rows(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows in chat-messages form, the last fix of each answer; and the ids whose row is no longer in the data.

    RunError when nobody fixed an answer; DataError when the data set cannot be read.
    """
    fixes = {row["id"]: row["fixed"] for row in read_reviews(folder) if row["kind"] == "answer" and row["fixed"]}
    if not fixes:
        raise RunError(
            f"No answer of the run '{folder.name}' was fixed.",
            do=f"Fix some with `tunebook review {folder.name}`, then export them.",
        )
    rows = rows_by_id(Run(folder), fixes.keys())
    return [_row(row, fixes[name]) for name, row in rows.items()], sorted(fixes.keys() - rows.keys())


def write_fixed(folder: Path, to: Path) -> tuple[int, list[str]]:
    """Write the rows to `to` as JSONL; returns how many, and the ids that are no longer in the data."""
    rows, lost = fixed_rows(folder)
    try:
        write_text(to, "".join(to_json(row) + "\n" for row in rows))
    except OSError as error:
        raise RunError(
            f"{to} could not be written ({error.strerror or error}).", do="Give another file with --to."
        ) from error
    return len(rows), lost


def _row(conversation: Conversation, answer: str) -> dict[str, Any]:
    """The conversation up to and with its last trained answer, which now says `answer`."""
    turns = [*map(_turn, conversation.messages[: last_answer(conversation)]), {"role": "assistant", "content": answer}]
    tools = {"tools": list(conversation.tools)} if conversation.tools else {}
    return {"messages": turns} | tools | ({"group": conversation.group} if conversation.group is not None else {})


def _turn(message: Message) -> dict[str, Any]:
    """A turn that is trained, or not, as in the row that it comes from."""
    return message.for_template() | ({"train": False} if message.train is False else {})
