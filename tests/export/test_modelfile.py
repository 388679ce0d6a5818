"""An Ollama Modelfile renders what the chat template renders, or says that it cannot."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.tiny import CHATML, tiny_tokenizer
from tunebook.export.modelfile import Chat, read_chat, read_frame, write_modelfile

DEFAULT_SYSTEM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
    "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else 'user' %}"
    "{{ '<turn>' + role + '\\n' + message['content'] + '</turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}"
)
TRIMS = CHATML.replace("message['content']", "message['content'] | trim")
FORGETS = "{% set last = messages[-1] %}" + CHATML.replace("in messages", "in [last]")
DATED = "{{ strftime_now('%d %b %Y') }}" + CHATML
KNOWN = {"chatml": CHATML, "default system": DEFAULT_SYSTEM, "no system": NO_SYSTEM, "none": None}


def go(modelfile: str, chat: Chat) -> str:
    """What Ollama makes of a Modelfile: a reading of TEMPLATE and SYSTEM that knows nothing of how they were made."""
    template = re.search(r'TEMPLATE """(.*?)"""\n', modelfile, re.S)
    system = re.search(r'SYSTEM """(.*?)"""\n', modelfile, re.S)
    assert template
    if system and chat[0]["role"] != "system":
        chat = [{"role": "system", "content": system[1]}, *chat]
    start, body, ask = re.fullmatch(
        r"(.*?){{ range \.Messages }}(.*){{ end }}{{ end }}(.*)", template[1], re.S
    ).groups()  # type: ignore[union-attr]
    parts = dict(re.findall(r'{{ (?:else )?if eq \.Role "(\w+)" }}(.*?)(?={{ else if|\Z)', body, re.S))
    return start + "".join(parts[item["role"]].replace("{{ .Content }}", item["content"]) for item in chat) + ask


def say(*turns: str, system: str = "") -> Chat:
    chat = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)]
    return [{"role": "system", "content": system}, *chat] if system else chat


def rendered(tokenizer: Any, chat: Chat) -> str:
    from tunebook.data.template import prompt_text

    return prompt_text(tokenizer, chat)


@pytest.mark.parametrize("name", KNOWN)
def test_the_template_renders_as_the_chat_template_does(name: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = KNOWN[name]
    modelfile = write_modelfile(tokenizer, "model.gguf", ["<|im_end|>"])
    chats = [say("Hi"), say("a", "b", "c\n d "), say("x", "", "z")]
    if name != "no system":
        chats.append(say("Hi", system="Be brief."))
    for chat in chats:
        assert go(modelfile, chat) == rendered(tokenizer, chat)
    assert 'PARAMETER stop "<|im_end|>"' in modelfile


@pytest.mark.parametrize(
    ("template", "why"),
    [(TRIMS, "changes messages"), (FORGETS, "more than put fixed words"), (DATED, "the date")],
    ids=["trims", "forgets", "dated"],
)
def test_a_template_that_does_more_is_said_not_to_be_convertible(template: str, why: str) -> None:
    frame, reason = read_frame(tiny_tokenizer(template))
    assert frame is None
    assert why in reason
    modelfile = write_modelfile(tiny_tokenizer(template), "model.gguf", [])
    assert 'TEMPLATE "' not in modelfile
    assert reason in modelfile


def test_the_beginning_of_text_is_left_to_ollama_where_it_puts_it() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer(NO_SYSTEM)
    assert 'TEMPLATE """<|im_start|>' in write_modelfile(tokenizer, "model.gguf", [])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    assert 'TEMPLATE """{{ range' in write_modelfile(tokenizer, "model.gguf", [])


@pytest.mark.parametrize(
    "template", [CHATML, DEFAULT_SYSTEM, NO_SYSTEM, TRIMS], ids=["chatml", "default", "none", "trims"]
)
def test_a_rendered_prompt_is_read_back_into_its_conversation(template: str) -> None:
    tokenizer = tiny_tokenizer(template)
    for chat in (say("What is 2 + 2?"), say("a\n\nb", "c", "d")):
        prompt = rendered(tokenizer, chat)
        found = read_chat(tokenizer, prompt)
        assert found is not None
        assert rendered(tokenizer, found) == prompt
        assert [item for item in found if item["role"] != "system"] == chat


def test_a_prompt_of_another_template_is_not_read() -> None:
    assert read_chat(tiny_tokenizer(), "User: hello\nAssistant:") is None
    assert read_chat(tiny_tokenizer(FORGETS), rendered(tiny_tokenizer(FORGETS), say("a", "b", "c"))) is None
