"""An Ollama Modelfile whose TEMPLATE renders what the chat template renders, or says plainly that it cannot.

Ollama's templates are Go, chat templates are Jinja; there is no general way from one to the other. Most chat templates,
though, only put fixed words around each message. Those words are found by rendering conversations with markers; the
Go template is made from them, and used only if it gives the same text on every probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunebook.data.template import chat_template
from tunebook.export.gguf_tokenizer import adds_bos

Chat = list[dict[str, str]]
_MARKS = ("\x01first\x01", "\x01second\x01", "\x01third\x01")
_SYSTEM = "\x01system\x01"


@dataclass(frozen=True, slots=True)
class Frame:
    """The words that a chat template puts before and behind each message, by role, and before all and the answer."""

    start: str
    before: dict[str, str]
    behind: dict[str, str]
    default_system: str | None
    ask: str

    def render(self, chat: Chat) -> str:
        """What the Go template below gives for `chat`, up to where the answer begins."""
        if self.default_system is not None and chat[0]["role"] != "system":
            chat = [{"role": "system", "content": self.default_system}, *chat]
        parts = [self.before[item["role"]] + item["content"] + self.behind[item["role"]] for item in chat]
        return self.start + "".join(parts) + self.ask


def write_modelfile(tokenizer: Any, weights: str, stops: Sequence[str]) -> str:
    """The text of a Modelfile beside `weights` (a file or `.`); `stops` are the texts of the stop tokens."""
    lines = ["# For Ollama: `ollama create NAME -f Modelfile` in this folder.", f"FROM {weights}"]
    frame, why = read_frame(tokenizer)
    if frame is not None and adds_bos(tokenizer):  # Ollama puts that token in front itself
        frame = replace(frame, start=frame.start.removeprefix(tokenizer.bos_token))
    if frame is None:
        lines += [
            "",
            f"# The chat template could not be turned into Ollama's own form exactly: {why}.",
            "# Without a TEMPLATE Ollama guesses one: its prompts may then differ from those in training.",
            "# `tunebook serve` and every server that reads chat_template.jinja render it as in training.",
        ]
    else:
        lines += ["", f'TEMPLATE """{_go_template(frame)}"""']
        if frame.default_system is not None:
            lines += [f'SYSTEM """{frame.default_system}"""']
    lines += [f'PARAMETER stop "{stop}"' for stop in stops if '"' not in stop]
    lines += ["PARAMETER temperature 0", "PARAMETER repeat_penalty 1"]  # Ollama's own is 1.1
    return "\n".join(lines) + "\n"


def read_frame(tokenizer: Any) -> tuple[Frame | None, str]:
    """The template's frame, or None and why there is none."""
    if not isinstance(tokenizer.chat_template, str | None):
        return None, "the tokenizer has several"
    if "strftime_now" in chat_template(tokenizer):
        return None, "it writes the date of the day"
    try:
        frame = _find_frame(tokenizer)
    except (ValueError, KeyError):
        return None, "it does more than put fixed words around each message"
    except Exception as error:  # a template may refuse a conversation, in words of its own
        return None, f"it refuses a plain conversation ({str(error)[:80]})"
    if '"""' in "".join([frame.start, frame.ask, *frame.before.values(), *frame.behind.values()]):
        return None, "it holds three quotation marks in a row"
    for chat in _probes("system" in frame.before):
        if frame.render(chat) != _render(tokenizer, chat, True):
            return None, "it changes messages, or treats some otherwise than others"
    return frame, ""


def _find_frame(tokenizer: Any) -> Frame:
    """Locate markers in rendered conversations; ValueError when the pieces do not fit together."""
    one, two, three = _MARKS
    user, answer, again = _message("user", one), _message("assistant", two), _message("user", three)
    open_end = _render(tokenizer, [user, answer, again], False)
    asked = _render(tokenizer, [user, answer, again], True)
    if not asked.startswith(open_end):
        raise ValueError("the prompt for an answer changes what stands before it")
    head, rest = _cut(open_end, one)
    middle, rest = _cut(rest, two)
    between, behind_user = _cut(rest, three)
    behind_answer = _cut(_render(tokenizer, [user, answer], False), two)[1]
    before_answer = _without_start(middle, behind_user)
    before_user = _without_start(between, behind_answer)
    start = _without_end(head, before_user)
    before = {"user": before_user, "assistant": before_answer}
    behind = {"user": behind_user, "assistant": behind_answer}
    default = None
    try:
        system_head, rest = _cut(_render(tokenizer, [_message("system", _SYSTEM), user], False), _SYSTEM)
    except ValueError:
        raise
    except Exception:  # a template without a system role
        return Frame(start, before, behind, None, asked[len(open_end) :])
    behind["system"] = _without_end(_cut(rest, one)[0], before_user)
    before["system"], start, default = _split_default(system_head, start, behind["system"])
    return Frame(start, before, behind, default, asked[len(open_end) :])


def _split_default(system_head: str, start: str, behind: str) -> tuple[str, str, str | None]:
    """(words before a system message, words before all, system message that the template adds when there is none)."""
    if start.startswith(system_head) and start.endswith(behind) and len(start) > len(system_head) + len(behind):
        return system_head, "", start[len(system_head) : len(start) - len(behind)]
    return _without_start(system_head, start), start, None


def _go_template(frame: Frame) -> str:
    def part(role: str) -> str:
        return f"{frame.before[role]}{{{{ .Content }}}}{frame.behind[role]}"

    first, *others = sorted(frame.before)
    choice = f'{{{{ if eq .Role "{first}" }}}}{part(first)}'
    choice += "".join(f'{{{{ else if eq .Role "{role}" }}}}{part(role)}' for role in others)
    return f"{frame.start}{{{{ range .Messages }}}}{choice}{{{{ end }}}}{{{{ end }}}}{frame.ask}"


def _probes(system: bool) -> list[Chat]:
    """Conversations that templates are known to treat otherwise: long, with blanks at the ends, empty answers."""
    plain = [_message("user", "Hello."), _message("assistant", "Hi."), _message("user", "How are you?")]
    blank = [
        _message("user", "  two lines\nand blanks  "),
        _message("assistant", " yes "),
        _message("user", "\tand?\n"),
    ]
    long = [*plain, _message("assistant", "Well.\n\nThanks."), _message("user", '{{ x }} {% y %} ""\' \\n')]
    chats = [plain[:1], plain, blank, long]
    return chats + ([[_message("system", "Be brief."), *chat] for chat in chats] if system else [])


def read_chat(tokenizer: Any, prompt: str) -> Chat | None:
    """The conversation that renders to `prompt`, if the template's frame tells it; proved by rendering it again."""
    try:
        frame = _find_frame(tokenizer)
        chat, rest = [], _without_end(_without_start(prompt, frame.start), frame.ask)
        while rest:
            role = next(role for role, words in frame.before.items() if words and rest.startswith(words))
            content, behind, rest = rest[len(frame.before[role]) :].partition(frame.behind[role])
            if not behind:
                return None
            chat.append(_message(role, content))
        return chat if chat and _render(tokenizer, chat, True) == prompt else None
    except Exception:  # no frame, no such role, or a template that refuses: then nothing is known
        return None


def _render(tokenizer: Any, chat: Chat, ask: bool) -> str:
    template = chat_template(tokenizer)
    return str(tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False, add_generation_prompt=ask))


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _cut(text: str, mark: str) -> tuple[str, str]:
    if text.count(mark) != 1:
        raise ValueError("a message is not rendered exactly once")
    head, _, rest = text.partition(mark)
    return head, rest


def _without_start(text: str, start: str) -> str:
    if not text.startswith(start):
        raise ValueError("pieces do not fit together")
    return text[len(start) :]


def _without_end(text: str, end: str) -> str:
    if not text.endswith(end):
        raise ValueError("pieces do not fit together")
    return text[: len(text) - len(end)]
