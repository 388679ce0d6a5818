"""A tokenizer's chat template: the text it makes, and the token with which it ends a turn.

A base model's tokenizer often has no chat template. It then gets a plain one:

    System: You answer briefly.
    User: What is the capital of France?
    Assistant: Paris.<eos>

with the tokenizer's beginning-of-text token in front where its encoding adds one. `chat_template` gives that text too,
so that training, evaluation, chat and the exported tokenizer all send the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

Chat = list[dict[str, Any]]
Tools = Sequence[Mapping[str, Any]]

_PLAIN = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize + ': ' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
# No message holds this: the gate refuses NUL.
_BETWEEN = "\0between\0"
# The newline behind the loop's head is not text (`trim_blocks`), and lets the template begin at the start of a line.
_LOOP = "{% for messages in many %}\n", "{{ '" + _BETWEEN + "' }}{% endfor %}"
_QUESTION, _ANSWER = "What is it?", "Xanadu"
_TURNS: Chat = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
_TOOL = {
    "type": "function",
    "function": {
        "name": "zzprobe",
        "description": "A probe.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}
_CALL = {"id": "call00000", "type": "function", "function": {"name": "zzprobe", "arguments": {"at": "zzplace"}}}
_TOLD = {"role": "tool", "content": "zztold", "tool_call_id": "call00000", "name": "zzprobe"}
_CALLING: Chat = [_TURNS[0], {"role": "assistant", "content": "", "tool_calls": [_CALL]}, _TOLD]


class Refused(ValueError):
    """The template refuses a conversation; the text is its own reason."""


def chat_template(tokenizer: Any) -> str:
    """The Jinja text that makes a conversation into text for this tokenizer: its own, or the plain one."""
    own = getattr(tokenizer, "chat_template", None)
    if own:
        return own if isinstance(own, str) else json.dumps(own, sort_keys=True)
    ids = tokenizer("")["input_ids"]
    adds_bos = bool(ids) and ids[0] == tokenizer.bos_token_id
    return ("{{ bos_token }}" if adds_bos else "") + _PLAIN


def prompt_text(tokenizer: Any, chat: Chat, tools: Tools = ()) -> str:
    """What inference sends before an answer to `chat` (dicts with role and content). Raises Refused."""
    return Template(tokenizer).text(chat, tools, prompt=True)


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """The tokens on which generation must stop: the template's end of turn, then the tokenizer's end of text."""
    template = Template(tokenizer)
    ids = [tokenizer.convert_tokens_to_ids(stop) for stop in template.stops]
    return tuple(dict.fromkeys(number for number in ids if isinstance(number, int)))


class Template:
    """The chat template of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        own = getattr(tokenizer, "chat_template", None)
        self._given = None if own else chat_template(tokenizer)
        one = chat_template(tokenizer).removesuffix("\n")
        self._looped = None if isinstance(own, dict) else _LOOP[0] + one + _LOOP[1]
        self._compared: set[bool] = set()

    @property
    def dated(self) -> bool:
        """Does the template write the date of the day?"""
        return "strftime_now" in chat_template(self.tokenizer)

    def text(self, chat: Chat, tools: Tools = (), *, prompt: bool = False) -> str:
        """The text of one conversation, with the opening of an answer when `prompt`. Raises Refused."""
        return str(self._apply(chat, tools, prompt))

    def texts(self, chats: Sequence[Chat], tools: Tools = (), *, prompt: bool = False) -> list[str | Refused]:
        """The texts of many conversations that have the same tools; in place of a refused one, the refusal."""
        if not chats:
            return []
        try:
            return self._at_once(chats, tools, prompt) or list(self._apply(chats, tools, prompt))
        except Refused:
            return [self._one(chat, tools, prompt) for chat in chats]

    def _at_once(self, chats: Sequence[Chat], tools: Tools, prompt: bool) -> list[str | Refused]:
        """The texts by one run of the template, in a loop around it: less than half the work. Empty: not so here.

        All of the first texts, and one of each later batch, are compared with the straight way; a template that minds
        the loop goes that way from then on.
        """
        if self._looped is None or len(chats) < 2 or any(len(message) != 2 for chat in chats for message in chat):
            return []
        try:
            joined = self._apply([{"role": "user", "content": ""}], tools, prompt, self._looped, many=chats)
        except Refused:
            return []
        texts: list[str | Refused] = [*str(joined).split(_BETWEEN)[:-1]]
        some = slice(-1, None) if prompt in self._compared else slice(None)
        if len(texts) != len(chats) or texts[some] != self._apply(chats[some], tools, prompt):
            self._looped = None
            return []
        self._compared.add(prompt)
        return texts

    def _one(self, chat: Chat, tools: Tools, prompt: bool) -> str | Refused:
        try:
            return self.text(chat, tools, prompt=prompt)
        except Refused as error:
            return error

    def _apply(self, chats: Any, tools: Tools, prompt: bool, template: str | None = None, **more: Any) -> Any:
        try:
            return self.tokenizer.apply_chat_template(
                chats,
                tools=list(tools) or None,
                chat_template=template or self._given,
                tokenize=False,
                add_generation_prompt=prompt,
                **more,
            )
        except Exception as error:  # a template is a program of the model's author: it may raise anything
            raise Refused(str(error).splitlines()[0] if str(error) else type(error).__name__) from error

    @cached_property
    def stops(self) -> tuple[str, ...]:
        """Tokens that end an assistant's turn: the one the template writes there, then the tokenizer's own."""
        specials = [self.end_of_turn, self.tokenizer.eos_token, "<|eom_id|>" if "<|eom_id|>" in self._special else None]
        return tuple(dict.fromkeys(token for token in specials if token))

    @cached_property
    def end_of_turn(self) -> str | None:
        """The special token that follows the words of an answer; None when the template writes none."""
        try:
            text = self.text(_TURNS)
        except Refused:
            return None
        found = self._special_tokens.search(text, text.find(_ANSWER) + len(_ANSWER)) if _ANSWER in text else None
        return found.group() if found else None

    @cached_property
    def ends_every_turn(self) -> bool:
        """Does a stop follow an earlier answer too, before the next question, or only the last one?"""
        return self._stops_between(_ANSWER, _QUESTION, [*_TURNS, *_TURNS])

    @cached_property
    def ends_every_call(self) -> bool:
        """Does a stop follow a tool call, before the tool's answer, or does the model's turn go on behind that?"""
        return self._stops_between("zzplace", "zztold", [*_CALLING, _TURNS[1]], [_TOOL])

    def _stops_between(self, first: str, second: str, chat: Chat, tools: Tools = ()) -> bool:
        try:
            _, _, rest = self.text(chat, tools).partition(first)
        except Refused:
            return True
        between, found, _ = rest.partition(second)
        return not found or any(stop in between for stop in self.stops)

    @cached_property
    def control(self) -> re.Pattern[str] | None:
        """Finds the tokens that build a conversation; inside a message they would forge a turn. None for no such."""
        used = {self.end_of_turn, self.tokenizer.bos_token, self.tokenizer.eos_token, self.tokenizer.pad_token}
        used |= {token for token in self._special if token in chat_template(self.tokenizer)}
        for text in self.texts([[{"role": role, "content": _QUESTION}, *_TURNS] for role in ("system", "user")]):
            used |= set(self._special_tokens.findall(text if isinstance(text, str) else ""))
        return _any_of([token for token in used if token])

    @cached_property
    def writes_tools(self) -> bool:
        """Does the template write both the tools that it is given and the calls of the assistant?"""
        try:
            described = "zzprobe" in self.text(_CALLING[:1], [_TOOL], prompt=True)
            called = "zzprobe" in self.text(_CALLING[:2])
            return described and called and bool(self.text(_CALLING, [_TOOL], prompt=True))
        except Refused:
            return False

    @cached_property
    def _special(self) -> list[str]:
        return [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]

    @cached_property
    def _special_tokens(self) -> re.Pattern[str]:
        return _any_of([*self._special, *filter(None, [self.tokenizer.eos_token])]) or re.compile("(?!)")


def _any_of(tokens: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted(set(tokens), key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
