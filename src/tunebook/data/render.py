"""A conversation -> token ids and which of them are trained.

The whole conversation is rendered and tokenized once. A turn that is trained begins where the text that inference would
send for it ends (`add_generation_prompt`), and that text must be the very beginning of the training text; it ends with
the first token on which generation stops. What comes after that token (a newline, say) is not trained.

    <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello.<|im_end|>\\n
    |---------- what inference sends ------------------||-- trained --|
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tunebook.data.conversation import Conversation, Message, Problem, texts_in
from tunebook.data.encode import Encoder, Encoding
from tunebook.data.examples import Example
from tunebook.data.sketch import normal
from tunebook.data.template import Chat, Refused, Template
from tunebook.data.tools import tools_as_text, with_call_ids

TooLong = Literal["drop", "cut", "refuse"]
_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text. `spans` are the trained places, start and end in characters, one for each trained turn.

    `reference` are the words of the last one, and `thinking_dropped` counts turns whose thinking the template left out.
    """

    conversation: Conversation
    text: str
    spans: tuple[tuple[int, int], ...]
    reference: str = ""
    thinking_dropped: int = 0
    tools_as_text: bool = False


class Unmaskable(ValueError):
    """Why it cannot be told which part of the template's text is the answer: a problem code and a plain clause."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def render(
    conversation: Conversation, tokenizer: Any, *, max_length: int, too_long: TooLong = "drop"
) -> Example | Problem:
    """One conversation as an Example, or the Problem that keeps it out of training."""
    template = Template(tokenizer)
    (rendered,) = render_texts([conversation], template)
    if isinstance(rendered, Problem):
        return rendered
    ((example, _),) = tokenize([rendered], Encoder(tokenizer)([rendered.text]))
    return fit(example, max_length, too_long, tokenizer.bos_token_id)


def render_texts(conversations: Sequence[Conversation], template: Template) -> list[Rendered | Problem]:
    """Render many conversations, in order; those without tools go through the template together."""
    ready = [_for_training(conversation, template) for conversation in conversations]
    by_tools: dict[str, list[int]] = defaultdict(list)
    for index, conversation in enumerate(ready):
        by_tools[repr(conversation.tools) if conversation.tools else ""].append(index)
    results: dict[int, Rendered | Problem] = {}
    for indices in by_tools.values():
        some = [ready[index] for index in indices]
        results.update(zip(indices, _render_alike(some, template), strict=True))
    return [_of(conversation, results[index], template) for index, conversation in enumerate(conversations)]


def _of(conversation: Conversation, result: Rendered | Problem, template: Template) -> Rendered | Problem:
    """The result, told of the conversation as the user wrote it."""
    if isinstance(result, Problem):
        return result
    return replace(
        result, conversation=conversation, tools_as_text=_has_tools(conversation) and not template.writes_tools
    )


def _for_training(conversation: Conversation, template: Template) -> Conversation:
    """The conversation up to its last trained answer, tool calls as text where the template has no place for them."""
    last = max(index for index, message in enumerate(conversation.messages) if message.trained)
    if last + 1 < len(conversation.messages):
        conversation = replace(conversation, messages=conversation.messages[: last + 1])
    if not _has_tools(conversation):
        return conversation
    return with_call_ids(conversation) if template.writes_tools else tools_as_text(conversation)


def _has_tools(conversation: Conversation) -> bool:
    return bool(conversation.tools) or any("tool_calls" in turn.extra for turn in conversation.messages)


def _render_alike(conversations: Sequence[Conversation], template: Template) -> Iterator[Rendered | Problem]:
    tools = conversations[0].tools
    chats = [conversation.for_template() for conversation in conversations]
    fulls = template.texts(chats, tools)
    turns = [[i for i, turn in enumerate(item.messages) if turn.trained] for item in conversations]
    asked: list[Chat] = [chat[:i] for chat, places in zip(chats, turns, strict=True) for i in places]
    prompts = iter(template.texts(asked, tools, prompt=True))
    for conversation, full, places in zip(conversations, fulls, turns, strict=True):
        before = [next(prompts) for _ in places]
        yield _rendered(conversation, full, places, before, template)


def _rendered(
    conversation: Conversation,
    full: str | Refused,
    places: Sequence[int],
    before: Sequence[str | Refused],
    template: Template,
) -> Rendered | Problem:
    try:
        refusal = next((text for text in (full, *before) if isinstance(text, Refused)), None)
        if refusal is not None or isinstance(full, Refused):
            raise Unmaskable("template_refused", f"the chat template refuses the conversation: {refusal}")
        _no_forged_turn(conversation, template)
        spans, dropped = [], 0
        for place, prompt in zip(places, before, strict=True):
            last = place == places[-1]
            span = _answer_span(full, str(prompt), conversation, place, last, template)
            thinking_lost = _thinking_lost(conversation.messages[place], full[slice(*span)])
            dropped += thinking_lost
            # An earlier turn without its thinking would teach the model to answer without any.
            if not thinking_lost or last:
                spans.append(span)
        return Rendered(
            conversation, full, tuple(spans), _reference(conversation, full[slice(*spans[-1])], template), dropped
        )
    except Unmaskable as error:
        return Problem(conversation.line, error.code, error.message, raw=conversation.raw)


def _reference(conversation: Conversation, written: str, template: Template) -> str:
    """The words of the last answer; where it is a tool call alone, what the template writes for it."""
    stop = next((stop for stop in template.stops if written.endswith(stop)), "")
    return conversation.messages[-1].content.strip() or written.removesuffix(stop).strip()


def _no_forged_turn(conversation: Conversation, template: Template) -> None:
    if template.control is None:
        return
    places = [(f"message {number}", message.texts) for number, message in enumerate(conversation.messages, 1)]
    for where, texts in [*places, ("tools", texts_in(conversation.tools))]:
        for found in filter(None, map(template.control.search, texts)):
            raise Unmaskable(
                "special_token", f"{where} holds {found.group()!r}, which the tokenizer reads as a control token"
            )


def _answer_span(
    full: str, prompt: str, conversation: Conversation, place: int, last: bool, template: Template
) -> tuple[int, int]:
    """Where the answer and the token that ends it stand in `full`; of an earlier answer that none ends, its words.

    A call that none ends reaches as far as what the template writes when nothing follows it.
    """
    message, number = conversation.messages[place], place + 1
    if not full.startswith(prompt):
        raise Unmaskable("template_mask", _how_they_part(full, prompt, number))
    start = len(prompt)
    ends = [at + len(stop) for stop in template.stops if (at := full.find(stop, start)) >= 0]
    words = message.content.strip()
    bare = _THINKING.sub("", words).strip()  # some templates leave out thinking; every other word must be there
    calls = message.extra.get("tool_calls", ())
    ended = last or (template.ends_every_call if calls else template.ends_every_turn)
    if ends and template.end_of_turn is not None and ended:
        end = min(ends)
    elif calls:
        end = len(full) if last else _end_of_call(full, start, conversation, place, template)
    else:
        said = next((text for text in (words, bare) if text and full.find(text, start) >= 0), None)
        if said is None and not last:
            raise Unmaskable("template_mask", f"the chat template does not show where message {number} ends")
        end = full.find(said, start) + len(said) if said else len(full)
    written = full[start:end]
    if words not in written and bare not in written:
        raise Unmaskable("words_changed", f"the chat template changes the words of message {number}")
    for call in calls:
        if call["function"]["name"] not in written:
            raise Unmaskable("tool_calls_dropped", f"the chat template leaves out the tool call of message {number}")
    return start, end


def _end_of_call(full: str, start: int, conversation: Conversation, place: int, template: Template) -> int:
    try:
        alone = template.text(conversation.for_template()[: place + 1], conversation.tools)
    except Refused:
        alone = ""
    if len(alone) <= start or not full.startswith(alone):
        raise Unmaskable("template_mask", f"the chat template does not show where message {place + 1} ends")
    return len(alone)


def _thinking_lost(message: Message, written: str) -> bool:
    thinking = [str(message.extra.get("reasoning_content") or message.extra.get("thinking") or "")]
    thinking += [block.removeprefix("<think>").removesuffix("</think>") for block in _THINKING.findall(message.content)]
    return any(block.strip() and block.strip() not in written for block in thinking)


def _how_they_part(full: str, prompt: str, number: int) -> str:
    same = next((i for i, (a, b) in enumerate(zip(full, prompt, strict=False)) if a != b), min(len(full), len(prompt)))
    there, here = full[max(0, same - 20) : same + 20], prompt[max(0, same - 20) : same + 20]
    return (
        f"the chat template writes another text before message {number} in training than inference sends: "
        f"{there!r} in training, {here!r} at inference"
    )


def tokenize(rendered: Sequence[Rendered], encodings: Sequence[Encoding]) -> list[tuple[Example, bool]]:
    """Examples of rendered conversations and the encodings of their texts, in order, at their full length.

    The truth value says that the last answer begins with a token of its own. When one token holds the end of the prompt
    too (it is trained then), inference, which sends the prompt alone, begins with other tokens.
    """
    return [_example(item, encoding) for item, encoding in zip(rendered, encodings, strict=True)]


def _example(item: Rendered, encoding: Encoding) -> tuple[Example, bool]:
    ids = encoding.ids
    trained = np.zeros(len(ids), np.bool_)
    first = 0
    for start, end in item.spans:
        first, past = encoding.span(start, end)
        trained[first:past] = True
    example = Example(
        ids=ids,
        trained=trained,
        id=item.conversation.id,
        line=item.conversation.line,
        prompt_length=first,
        reference=item.reference,
        group=group_of(item.conversation),
        copies=item.conversation.copies,
    )
    return example, not encoding.begins_before(first, item.spans[-1][0])


def group_of(conversation: Conversation) -> int:
    """A number shared by rows that the user's group column holds together, or that ask the same first question."""
    if conversation.group is not None:
        key = b"group " + conversation.group.encode("utf-8", "surrogatepass")
    else:
        asked = next(turn.content for turn in conversation.messages if turn.role == "user")
        key = b" ".join(normal(asked).split()) or asked.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def fit(example: Example, max_length: int, too_long: TooLong, bos: int | None = None) -> Example | Problem:
    """`example`, cut at the start of its prompt where that is asked for and saves the last answer, else the Problem.

    A beginning-of-text token that stands at the start, and nowhere else, is not cut away. What is left of an earlier
    answer without its beginning is not trained.
    """
    length = len(example.ids)
    if length <= max_length:
        return example
    answer = length - example.prompt_length
    over = f"{length:,} tokens, {length - max_length:,} above the limit of {max_length:,}"
    if too_long != "cut":
        return Problem(example.line, "too_long", over, "error" if too_long == "refuse" else "warning")
    if answer >= max_length:
        return Problem(example.line, "answer_too_long", f"{over}; its answer alone has {answer:,}", "warning")
    kept_bos = int(answer + 1 < max_length and example.ids[0] == bos and np.count_nonzero(example.ids == bos) == 1)
    cut = slice(kept_bos, kept_bos + length - max_length)
    trained = np.delete(example.trained, cut)
    trained[: int(np.argmin(trained[kept_bos:])) + kept_bos] = False
    return replace(
        example,
        ids=np.delete(example.ids, cut),
        trained=trained,
        prompt_length=example.prompt_length - (length - max_length),
    )
