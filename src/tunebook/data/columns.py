"""Which form a data set has, found by looking at its column names, or given as a mapping of our names to theirs.

| form       | our names                                                                  |
|------------|----------------------------------------------------------------------------|
| messages   | messages (a list of objects), role, content, system                        |
| sharegpt   | the same with `from` and `value` inside the list                           |
| alpaca     | instruction, input, output, system, history                                |
| prompt     | prompt, input, completion, system                                          |
| choices    | prompt, choices (a list of texts), gold (the place of the right one)       |

Every form may have `tools`, and `group`: rows of one group stay on one side of the split. A name of theirs may be a
path into a row: `instances.0.output`. `user`, `assistant`, `system` and `tool` map a role's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunebook.data.conversation import ROLES
from tunebook.data.json_text import from_json_text
from tunebook.data.suggest import suggest
from tunebook.errors import DataError, Fault

MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("query", "answer"),
    ("question", "response"),
    ("instruction", "completion"),
    ("input", "output"),
    ("input", "response"),
    ("source", "target"),
)
# What a question is about, in a column beside it.
INPUT, ASKS = ("input", "context"), ("instruction", "question", "query")
GROUPS = ("conversation_id", "dialogue_id", "conv_id", "session_id", "thread_id", "group_id", "group")
_OURS = ("messages", "role", "content", "tools", "instruction", "input", "output", "history")
OURS = (*_OURS, "prompt", "completion", "choices", "gold", "group", *ROLES)
_TURNS, _ALL = {"messages", "role", "content", "system"}, {"tools", "group"}
# Our names that each form reads.
_READ = {
    "messages": _TURNS | _ALL,
    "sharegpt": _TURNS | _ALL,
    "alpaca": {"instruction", "input", "output", "system", "history"} | _ALL,
    "prompt": {"prompt", "input", "completion", "system"} | _ALL,
    "choices": {"prompt", "choices", "gold"} | _ALL,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of a data set: its name and the path of each of our columns. `inner` are role and content of a turn."""

    name: str
    columns: Mapping[str, str]
    inner: tuple[str, str] = ("role", "content")
    roles: Mapping[str, str] = field(default_factory=dict)


def find_shape(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None, where: str) -> Shape:
    """The form of a data set from its first rows (at least one) and the user's mapping, all of which it reads.

    DataError names the columns there are and the mapping to give.
    """
    mapping = dict(columns or {})
    there = list(dict.fromkeys(name for row in rows for name in row))
    _check_mapping(mapping, rows, there, where)
    roles: dict[str, str] = {mapping.pop(role): role for role in ("user", "assistant", "tool") if role in mapping}
    if mapping.get("system") and not any(has(row, mapping["system"]) for row in rows):
        roles[mapping.pop("system")] = "system"
    fitting = list(_shapes(rows, there, mapping))
    for shape in fitting:
        if mapping.keys() <= _READ[shape.name]:
            inner = mapping.get("role", shape.inner[0]), mapping.get("content", shape.inner[1])
            return Shape(shape.name, {**shape.columns, **_tools(rows), **_group(there), **mapping}, inner, roles)
    raise _mixed(fitting, mapping, where) if fitting else _unrecognised(rows, there, mapping, where)


def unused_texts(rows: Sequence[Mapping[str, Any]], shape: Shape) -> list[str]:
    """Columns that hold text, of which the form makes nothing."""
    used = {part for path in shape.columns.values() for part in (path, path.partition(".")[0])}
    names = dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, str) and value)
    return [name for name in names if name not in used]


def has(row: Mapping[str, Any], path: str) -> bool:
    """Does the row have a value at `path`?"""
    return value_at(row, path) is not None


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path (`instances.0.output`), or None. A column that has the whole name goes first."""
    if path in row or "." not in path:
        return row.get(path)
    value: Any = row
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _shapes(rows: Sequence[Mapping[str, Any]], there: list[str], mapping: Mapping[str, str]) -> Iterator[Shape]:
    """The forms that fit, best first."""
    for name in [mapping["messages"]] if "messages" in mapping else MESSAGES:
        turn = next((turn for row in rows if (turn := _first_turn(value_at(row, name)))), {})
        if "from" in turn and "value" in turn and "role" not in mapping:
            yield Shape("sharegpt", {"messages": name, "tools": "tools", "system": "system"}, ("from", "value"))
        elif ("role" in turn and ("content" in turn or "tool_calls" in turn)) or (turn and "role" in mapping):
            yield Shape("messages", {"messages": name, "tools": "tools", "system": "system"})
    names = {our: mapping.get(our, our) for our in OURS}
    found = {our for our, path in names.items() if any(has(row, path) for row in rows)}
    if {"prompt", "completion"} <= set(mapping):
        yield Shape("prompt", {"system": "system"})
    if {"instruction", "output"} <= found:
        ours = {our: names[our] for our in ("instruction", "output", "system", "history")}
        yield Shape("alpaca", {**ours, "input": _input(there)})
    if {"instruction", "response"} <= set(there):
        ours = {"instruction": "instruction", "output": "response", "system": "system", "history": "history"}
        yield Shape("alpaca", {**ours, "input": _input(there)})
    for prompt, completion in PAIRS:
        prompt, completion = mapping.get("prompt", prompt), mapping.get("completion", completion)
        there_too = any(has(row, prompt) for row in rows) and any(has(row, completion) for row in rows)
        if there_too and prompt != completion:
            columns = {"prompt": prompt, "completion": completion, "system": "system"}
            beside = _input(there)
            texts = all(isinstance(row.get(beside, ""), str | None) for row in rows)
            if prompt in ASKS and "prompt" not in mapping and texts and beside != completion:
                columns["input"] = beside
            yield Shape("prompt", columns)
    for prompt in [mapping.get("prompt", name) for name in ("query", "question", "prompt")]:
        choices, gold = mapping.get("choices", "choices"), mapping.get("gold", "gold")
        lists = (from_json_text(value_at(row, choices)) for row in rows if has(row, prompt) and has(row, gold))
        if any(isinstance(item, list) for item in lists):
            yield Shape("choices", {"prompt": prompt, "choices": choices, "gold": gold})


def _input(there: list[str]) -> str:
    return next((name for name in INPUT if name in there), "input")


def _first_turn(value: Any) -> Mapping[str, Any]:
    turns = from_json_text(value)
    return turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}


def _tools(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {"tools": "tools"} if any(_first_turn(row.get("tools")) for row in rows) else {}


def _group(there: list[str]) -> dict[str, str]:
    return next(({"group": name} for name in GROUPS if name in there), {})


def _check_mapping(mapping: Mapping[str, str], rows: Sequence[Mapping[str, Any]], there: list[str], where: str) -> None:
    faults = []
    for our, path in mapping.items():
        if our not in OURS:
            close = difflib.get_close_matches(our, OURS, 1)
            hint = f"did you mean {close[0]}?" if close else f"ours are {', '.join(OURS)}"
            faults.append(Fault(our, f"is no column name of ours; {hint}"))
        elif our not in ("role", "content", *ROLES) and not any(has(row, path) for row in rows):
            faults.append(Fault(path, f"is no column of {where}; there are {', '.join(there) or 'none'}"))
    if faults:
        raise DataError("The column mapping does not fit.", do="Its form is our name = your name.", faults=faults)


def _mixed(fitting: Sequence[Shape], mapping: Mapping[str, str], where: str) -> DataError:
    """The fault of a mapping with names that the form does not read, told of the form that reads most of them."""
    name = min((shape.name for shape in fitting), key=lambda name: len(mapping.keys() - _READ[name]))
    unread = ", ".join(sorted(mapping.keys() - _READ[name]))
    return DataError(
        f"The column mapping does not fit {where}: the form {name}, which it comes nearest to, has no {unread}.",
        do=f"Our names for that form are {', '.join(sorted(_READ[name]))}.",
    )


def _unrecognised(
    rows: Sequence[Mapping[str, Any]], there: list[str], mapping: Mapping[str, str], where: str
) -> DataError:
    given = suggest(rows, mapping)
    if {"chosen", "rejected"} <= set(there):
        given = {"prompt": "prompt", "completion": "chosen"} if "prompt" in there else {}
    asked = " ".join(f"--columns {our}={their}" for our, their in given.items())
    yaml = ", ".join(f"{our}: {their}" for our, their in given.items())
    do = (
        f"Give the mapping: {asked} (in a plan: data.columns {{{yaml}}})."
        if given
        else "Give a mapping of our names to yours, such as --columns prompt=YOURS --columns completion=YOURS."
    )
    return DataError(f"The form of {where} is not recognised; its columns are {', '.join(there) or 'none'}.", do=do)
