"""What all sides are asked: conversations up to an answer, from a file or from the held-out part of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.data.conversation import Conversation, Problem, Row
from tunebook.data.open import open_data
from tunebook.data.read import READERS, find_kind
from tunebook.errors import DataError, Fault, RunError
from tunebook.evaluate.asked import asked
from tunebook.evaluate.rows import last_answer, rows_by_id
from tunebook.files import read_json
from tunebook.runs.store import Run

Chat = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation that waits for an answer; `reference` is the answer in the data, None where there is none.

    `id` is that of the row in the data set, so that the same question in a run's files has the same; `group` is what
    the row's own column says that it belongs to.
    """

    id: str
    chat: Chat
    tools: tuple[Mapping[str, Any], ...] = ()
    reference: str | None = None
    group: str = ""

    @property
    def text(self) -> str:
        """The words of the last message, for people."""
        return str(self.chat[-1]["content"])


def from_file(path: Path, count: int | None) -> list[Question]:
    """The first `count` questions of a file (all for None): plain lines, prompts without answers, or any data set.

    DataError when it cannot be read, or a row of those is no question; every such row is named.
    """
    if path.suffix == ".txt" and path.is_file():
        texts = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        found = [_bare({"prompt": text}, number) for number, text in enumerate(texts, 1) if text]
    else:
        found = _without_answers(path) or _with_answers(path, count)
    questions = [question for question in found if question is not None][:count]
    if not questions:
        raise DataError(f"{path} holds no question.", do="Give a text file with a question a line, or a data set.")
    return questions


def from_run(run: Run, count: int) -> list[Question]:
    """`count` held-out rows of `run`: those that the run itself asks, as far as they go.

    RunError when the run has split no data yet or the data are no longer there.
    """
    plan = run.plan()
    held_out = split_ids(run, "validation")
    wanted = [held_out[place] for place in asked(len(held_out), count, plan.training.seed)]
    if not wanted:
        raise RunError(
            f"The run '{run.name}' has no held-out rows to ask.", do="Give questions of your own with --prompts FILE."
        )
    rows = rows_by_id(run, set(wanted))
    if lost := [row for row in wanted if row not in rows]:
        raise RunError(
            f"{len(lost)} of the {len(wanted)} held-out rows of '{run.name}' are no longer in its data.",
            do="Put the data back, or give questions of your own with --prompts FILE.",
        )
    return [_question(rows[row]) for row in wanted]


def split_ids(run: Run, side: str) -> list[str]:
    """Ids of the rows of one side, `training` or `validation`; empty before the split."""
    try:
        return [str(row) for row in read_json(run.folder / "data" / "split.json")[side]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _question(item: Conversation) -> Question:
    """The conversation up to its last trained answer, which is the reference."""
    last = last_answer(item)
    chat = [message.for_template() for message in item.messages[:last]]
    return Question(item.id, chat, item.tools, item.messages[last].content, item.group or "")


def _with_answers(path: Path, count: int | None) -> list[Question | None]:
    found: list[Question | None] = []
    faults = []
    for item in open_data(path).conversations():
        if len(found) == count:
            break
        if isinstance(item, Problem):
            faults.append(Fault(f"line {item.line}", item.message))
        else:
            found.append(_question(item))
    if faults:
        raise DataError(f"{path} has rows that cannot be asked.", do="Mend or remove them.", faults=faults[:20])
    return found


def _without_answers(path: Path) -> list[Question | None]:
    """Rows that hold a prompt and nothing else; empty when a row is not of that form."""
    try:
        kind = find_kind(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).", do="Check the path.") from error
    if kind == "lines":
        return []
    found = []
    for row in READERS[kind](path):
        question = _bare(row.value, row.line) if isinstance(row, Row) else None
        if question is None:
            return []
        found.append(question)
    return list(found)


def _bare(value: Any, line: int) -> Question | None:
    if not isinstance(value, Mapping) or not set(value) <= {"id", "prompt", "messages", "system"}:
        return None
    turns = value.get("messages") or value.get("prompt")
    chat: Sequence[Any] = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns or []
    if not _asks(chat):
        return None
    system = [{"role": "system", "content": str(value["system"])}] if value.get("system") else []
    return Question(str(value.get("id") or f"line {line}"), [*system, *(dict(turn) for turn in chat)])


def _asks(chat: Any) -> bool:
    """Is this a list of messages that ends with a user's words?"""
    if not isinstance(chat, list) or not chat:
        return False
    whole = all(isinstance(turn, Mapping) and isinstance(turn.get("content"), str) for turn in chat)
    return whole and chat[-1].get("role") == "user" and bool(chat[-1]["content"].strip())
