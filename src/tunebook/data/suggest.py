"""A column mapping to try, for a data set whose form is not recognised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_ROLE = ("role", "from", "speaker", "sender", "author", "who")
_TEXT = ("content", "value", "text", "utterance", "message", "body")
_PROMPT = (
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "text",
    "request",
    "source",
    "user",
    "title",
    "context",
)
_ANSWER = ("completion", "response", "output", "answer", "answers", "reply", "target", "chosen", "label", "category")


def suggest(rows: Sequence[Mapping[str, Any]], mapping: Mapping[str, str]) -> dict[str, str]:
    """Our names -> theirs, from names that often mean the same and from which columns hold text; empty for no idea."""
    return _turns(rows) or _alpaca(rows) or _pair(rows, mapping)


def _turns(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    for name, value in rows[0].items():
        turns = [turn for turn in value if isinstance(turn, dict)] if isinstance(value, list) else []
        role = next((key for key in _ROLE if turns and isinstance(turns[0].get(key), str)), None)
        text = next((key for key in _TEXT if turns and isinstance(turns[0].get(key), str)), None)
        if role and text:
            speakers = list(dict.fromkeys(str(turn.get(role)) for turn in turns))[:2]
            roles = dict(zip(("user", "assistant"), speakers, strict=False))
            return {"messages": name, "role": role, "content": text, **roles}
    return {}


def _alpaca(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    paths = {path.rpartition(".")[2]: path for path, _ in _texts(rows[0])}
    if "instruction" in paths and "output" in paths:
        return {name: paths[name] for name in ("instruction", "input", "output") if name in paths}
    return {}


def _pair(rows: Sequence[Mapping[str, Any]], mapping: Mapping[str, str]) -> dict[str, str]:
    """Prompt and completion by name, else the first two columns of text."""
    texts = [path for path, _ in _texts(rows[0])]
    prompt = mapping.get("prompt") or _by_name(texts, _PROMPT)
    answer = mapping.get("completion") or _by_name([path for path in texts if path != prompt], _ANSWER)
    rest = [path for path in texts if path not in (prompt, answer)]
    prompt = prompt or (rest.pop(0) if rest else None)
    answer = answer or (rest.pop(0) if rest else None)
    return {"prompt": prompt, "completion": answer} if prompt and answer else {}


def _by_name(paths: Sequence[str], names: Sequence[str]) -> str | None:
    leaves = {path.rpartition(".")[2].lower(): path for path in reversed(paths)}
    return next((leaves[name] for name in names if name in leaves), None)


def _texts(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """(path, text) of every text in a row; of a list, its first item alone."""
    if isinstance(value, str) and at:
        yield at, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{at}.{key}" if at else key)
    elif isinstance(value, list) and value:
        yield from _texts(value[0], f"{at}.0")
