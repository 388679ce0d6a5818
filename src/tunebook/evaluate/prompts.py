"""Prompts for people and judges to read, without the marks that a chat template puts around them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunebook.files import to_json

# What templates are known to begin and to end a turn with. A line, a colon or a bracket alone may be the user's own.
_MARK = r"(?:<[|｜][^<>\n]{1,40}[|｜]>|<(?:s|bos|start_of_turn)>|\[INST\])"
_ROLE = r"(?:system|user|human|assistant|model|tool)"
_HEAD = re.compile(rf"(?:{_MARK}(?:{_ROLE}(?=[\s:<]))?|^{_ROLE}:|^#+ \w+:)[:\s]*", re.I | re.M)
_TAIL = re.compile(rf"\s*(?:{_MARK}|</s>|<end_of_turn>|\[/INST\]|\n{_ROLE}:|\n#+ \w+:)", re.I)


def bare_prompts(prompts: list[str]) -> list[str]:
    """Prompts without what the chat template puts around each of them; what all users wrote alike stays."""
    if len(prompts) < 2:
        return [prompt.strip() for prompt in prompts]
    start = os.path.commonprefix(prompts)
    end = os.path.commonprefix([prompt[::-1] for prompt in prompts])[::-1]
    start = start[: max((found.end() for found in _HEAD.finditer(start)), default=0)]
    tail = _TAIL.search(end)
    end = end[tail.start() :] if tail else ""
    bare = [prompt.removeprefix(start).removesuffix(end).strip() for prompt in prompts]
    return bare if all(bare) else [prompt.strip() for prompt in prompts]


def in_words(chat: Sequence[Mapping[str, Any]]) -> str:
    """A whole conversation up to an answer, turn by turn; a question alone stands without a name."""
    if len(chat) == 1:
        return str(chat[0]["content"])
    return "\n\n".join(f"{turn['role'].capitalize()}: {_said(turn)}" for turn in chat)


def _said(turn: Mapping[str, Any]) -> str:
    calls = turn.get("tool_calls")
    return " ".join(filter(None, [str(turn["content"] or ""), to_json(calls) if calls else ""]))
