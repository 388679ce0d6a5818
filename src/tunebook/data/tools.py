"""Tool calls made fit for a chat template: with ids, or as text where the template has no place for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tunebook.data.conversation import Conversation, Message

_INTRODUCTION = "You can call these tools. To call one, answer with a JSON object that has name and arguments."


def with_call_ids(conversation: Conversation) -> Conversation:
    """The same conversation with an id on every call and its answer: nine characters, as some templates ask for."""
    messages, waiting = [], []
    count = 0
    for message in conversation.messages:
        if "tool_calls" in message.extra:
            calls = []
            for call in message.extra["tool_calls"]:
                calls.append({"id": f"call{count:05d}", **call})
                count += 1
            waiting = [call["id"] for call in calls]
            message = replace(message, extra={**message.extra, "tool_calls": calls})
        elif message.role == "tool" and waiting:
            message = replace(message, extra={"tool_call_id": waiting.pop(0), **message.extra})
        messages.append(message)
    return replace(conversation, messages=tuple(messages))


def tools_as_text(conversation: Conversation) -> Conversation:
    """The same conversation with the tools described in the system message and each call as one line of JSON."""
    messages = [_call_as_text(message) for message in conversation.messages]
    if conversation.tools:
        listed = "\n".join([_INTRODUCTION, *(_json(tool.get("function", tool)) for tool in conversation.tools)])
        if messages[0].role == "system":
            messages[0] = Message("system", f"{messages[0].content}\n\n{listed}", extra=messages[0].extra)
        else:
            messages.insert(0, Message("system", listed))
    return replace(conversation, messages=tuple(messages), tools=())


def _call_as_text(message: Message) -> Message:
    if "tool_calls" not in message.extra:
        return message
    calls = [_json(call["function"]) for call in message.extra["tool_calls"]]
    extra = {key: value for key, value in message.extra.items() if key != "tool_calls"}
    return Message(message.role, "\n".join([*filter(None, [message.content]), *calls]), message.train, extra)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
