"""A row in one of the known forms -> a Conversation, or the Problem that makes it none."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tunebook.data.columns import Shape, value_at
from tunebook.data.conversation import ROLES, Conversation, Message, Problem, Row, texts_in
from tunebook.data.json_text import from_json_text
from tunebook.data.jsonl import kind_of

ROLE_NAMES = {
    **{name: name for name in ROLES},
    **dict.fromkeys(("human", "user", "prompter", "customer"), "user"),
    **dict.fromkeys(("gpt", "assistant", "bot", "chatbot", "model", "ai", "chatgpt", "bard", "bing"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "ipython"), "tool"),
    "function_call": "assistant",
}
# White space, and characters that show nothing at all.
_BLANK = string.whitespace + "".join(map(chr, (0x85, 0xA0, 0x1680, *range(0x2000, 0x2010), 0x2028, 0x2029, 0x202F)))
_BLANK += "\u205f\u2060\u3000\ufeff\x1c\x1d\x1e\x1f"
_INNER = Shape("messages", {})
_EXTRA = ("name", "tool_calls", "tool_call_id", "reasoning_content", "thinking")


class BadRow(ValueError):
    """Why a row is no conversation: a problem code and a plain clause."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def to_conversation(row: Row, shape: Shape) -> Conversation | Problem:
    """Read `row` as `shape` says. The first thing wrong with it makes it a Problem."""
    try:
        messages, tools = _READERS[shape.name](row.value, shape), _tools(row.value, shape)
        group = value_at(row.value, shape.columns["group"]) if "group" in shape.columns else None
        conversation = Conversation(
            tuple(messages), tools, row.line, None if group is None else str(group), raw=row.value
        )
        _check(conversation)
        return conversation
    except BadRow as error:
        return Problem(row.line, error.code, error.message, raw=row.value)


def _messages(row: Mapping[str, Any], shape: Shape) -> list[Message]:
    turns = from_json_text(_required(row, shape, "messages"))
    if not isinstance(turns, list):
        raise BadRow("wrong_type", f"{shape.columns['messages']} is {kind_of(turns)}, not a list of messages")
    if not turns:
        raise BadRow("no_messages", f"{shape.columns['messages']} is an empty list")
    messages = [_message(turn, shape, number) for number, turn in enumerate(turns, 1)]
    system = _optional_text(row, shape, "system")
    if system and messages[0].role != "system":
        messages.insert(0, Message("system", system))
    return messages


def _message(turn: Any, shape: Shape, number: int) -> Message:
    where = f"message {number}"
    if not isinstance(turn, dict):
        raise BadRow("wrong_type", f"{where} is {kind_of(turn)}, not an object")
    role_key, text_key = shape.inner
    if role_key not in turn and shape.inner == ("from", "value") and "role" in turn:
        role_key, text_key = "role", "content"
    name = turn.get(role_key)
    if name is None:
        raise BadRow("missing_key", f"{where} has no {role_key}")
    role = shape.roles.get(name) or ROLE_NAMES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise BadRow("unknown_role", f"{where} has the role {name!r}; known are {', '.join(ROLES)}")
    # An empty list of calls, as some exports write it in every turn, is no call.
    extra = {key: turn[key] for key in _EXTRA if turn.get(key) not in (None, [])}
    if "tool_calls" in extra:
        extra["tool_calls"] = _tool_calls(extra["tool_calls"], where)
    content = turn.get(text_key)
    if content is None and "tool_calls" not in extra:
        raise BadRow("missing_key", f"{where} has no {text_key}")
    text = _text(content, f"{text_key} of {where}") if content is not None else ""
    if name == "function_call":
        text, extra["tool_calls"] = "", _tool_calls(from_json_text(text), where)
    return Message(role, text, _train_flag(turn, where), extra)


def _text(value: Any, where: str) -> str:
    """A text; a list of text parts, as some chat formats write it, is joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        if all(part.get("type", "text") == "text" and isinstance(part.get("text"), str) for part in value):
            return "".join(part["text"] for part in value)
        raise BadRow("not_text", f"{where} has a part that is no text; pictures and sound cannot be trained here")
    raise BadRow("wrong_type", f"{where} is {kind_of(value)}, not a text")


def _train_flag(turn: Mapping[str, Any], where: str) -> bool | None:
    for key in ("train", "weight"):
        value = turn.get(key)
        if value is None:
            continue
        if value in (0, 1, True, False) and isinstance(value, int | float):
            return bool(value)
        raise BadRow("wrong_type", f"{key} of {where} is {value!r}, not true or false")
    return None


def _tool_calls(value: Any, where: str) -> list[dict[str, Any]]:
    """Calls as chat templates take them: type, and a function with name and arguments (an object)."""
    calls = value if isinstance(value, list) and value else [value]
    result = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str):
            raise BadRow("bad_tool_call", f"{where} has a tool call without a name")
        arguments = from_json_text(function.get("arguments", {}))
        if not isinstance(arguments, dict):
            raise BadRow("bad_tool_call", f"{where} calls {name} with arguments that are no JSON object")
        made: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": dict(arguments)}}
        if isinstance(call.get("id"), str):
            made["id"] = call["id"]
        result.append(made)
    return result


def _tools(row: Mapping[str, Any], shape: Shape) -> tuple[Mapping[str, Any], ...]:
    if "tools" not in shape.columns:
        return ()
    tools = from_json_text(value_at(row, shape.columns["tools"]))
    if tools is None or tools == "":
        return ()
    result = []
    for tool in tools if isinstance(tools, list) else [tools]:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRow("bad_tools", "tools is not a list of functions with names")
        result.append({"type": "function", "function": dict(function)})
    return tuple(result)


def _alpaca(row: Mapping[str, Any], shape: Shape) -> list[Message]:
    messages = [*_system(row, shape), *_history(row, shape)]
    messages.append(Message("user", _question(row, shape, "instruction")))
    messages.append(Message("assistant", _required_text(row, shape, "output")))
    return messages


def _question(row: Mapping[str, Any], shape: Shape, our: str) -> str:
    """The text of `our` column, and below it what the row gives to it as `input`."""
    asked, extra = _required_text(row, shape, our), _optional_text(row, shape, "input")
    return f"{asked}\n\n{extra}" if extra.strip() else asked


def _history(row: Mapping[str, Any], shape: Shape) -> Iterator[Message]:
    history = from_json_text(value_at(row, shape.columns["history"])) if "history" in shape.columns else None
    if not isinstance(history, list | None):
        raise BadRow("wrong_type", f"history is {kind_of(history)}, not a list of pairs")
    for number, pair in enumerate(history or [], 1):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise BadRow("wrong_type", f"pair {number} of history is not a list of two texts")
        yield Message("user", pair[0])
        yield Message("assistant", pair[1])


def _prompt(row: Mapping[str, Any], shape: Shape) -> list[Message]:
    messages = _system(row, shape)
    for our, role in (("prompt", "user"), ("completion", "assistant")):
        turns = _turns(_required(row, shape, our))
        if turns is None:
            read = _question if our == "prompt" else _required_text
            messages.append(Message(role, read(row, shape, our)))
            continue
        for number, turn in enumerate(turns, 1):
            message = _message(turn, _INNER, number)
            # What stands in a prompt was said before: it is trained where the turn itself asks for that.
            before = our == "prompt" and message.trained
            messages.append(replace(message, train=bool(message.train)) if before else message)
    return messages


def _turns(value: Any) -> list[Any] | None:
    """The turns of a chat, or of its JSON text; None for words, which may be the JSON text of other objects."""
    turns = from_json_text(value)
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], dict) or "role" not in turns[0]:
        return None
    return turns if not isinstance(value, str) or all(map(_is_turn, turns)) else None


def _is_turn(value: Any) -> bool:
    known = isinstance(value, dict) and str(value.get("role")).lower() in ROLE_NAMES
    return known and ("content" in value or "tool_calls" in value)


def _choices(row: Mapping[str, Any], shape: Shape) -> list[Message]:
    choices = from_json_text(_required(row, shape, "choices"))
    gold = _required(row, shape, "gold")
    if not isinstance(choices, list) or not str(gold).isdecimal() or int(gold) >= len(choices):
        raise BadRow("wrong_type", f"gold is {gold!r}, which is not the place of one of the choices")
    answer = _text(choices[int(gold)], f"choice {int(gold)}")
    return [Message("user", _required_text(row, shape, "prompt")), Message("assistant", answer)]


def _system(row: Mapping[str, Any], shape: Shape) -> list[Message]:
    text = _optional_text(row, shape, "system")
    return [Message("system", text)] if text else []


def _required(row: Mapping[str, Any], shape: Shape, our: str) -> Any:
    path = shape.columns[our]
    value = value_at(row, path)
    if value is not None:
        return value
    if our in ("completion", "output") and path in row:
        raise BadRow("empty_answer", f"{path} is empty")
    raise BadRow("missing_key", f"there is no {path}" if path not in row else f"{path} is null")


def _required_text(row: Mapping[str, Any], shape: Shape, our: str) -> str:
    return _text(_required(row, shape, our), shape.columns[our])


def _optional_text(row: Mapping[str, Any], shape: Shape, our: str) -> str:
    value = value_at(row, shape.columns[our]) if our in shape.columns else None
    return "" if value is None else _text(value, shape.columns[our])


def _check_characters(texts: Iterable[str], where: str) -> None:
    for text in texts:
        if "\0" in text:
            raise BadRow("nul", f"{where} has a NUL character")
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            raise BadRow("lone_surrogate", f"{where} has half of a surrogate pair, which is no character")


def _check(conversation: Conversation) -> None:
    """What no conversation may be, whatever its form."""
    _check_characters(texts_in(conversation.tools), "tools")
    for number, message in enumerate(conversation.messages, 1):
        _check_characters(message.texts, f"message {number}")
        if message.trained and not message.content.strip(_BLANK) and "tool_calls" not in message.extra:
            raise BadRow("empty_answer", f"message {number}, an answer to train on, is empty")
    if conversation.messages[0].role == "assistant":
        raise BadRow("no_question", "the first message is the assistant's; nothing is asked")
    if not any(message.trained for message in conversation.messages):
        raise BadRow("no_answer", "no message of the assistant is trained")
    if not any(turn.role == "user" and turn.content.strip(_BLANK) for turn in conversation.messages):
        raise BadRow("no_question", "no message of the user has any words")


_READERS = {
    "messages": _messages,
    "sharegpt": _messages,
    "alpaca": _alpaca,
    "prompt": _prompt,
    "choices": _choices,
}
