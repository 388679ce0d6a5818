"""The mask: which tokens are trained, and that the text before them is what inference sends."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tiny import CHATML, tiny_tokenizer
from tunebook.data.conversation import Conversation, Message, Problem
from tunebook.data.examples import Example, Examples, write_examples
from tunebook.data.render import render


def chat(*turns: tuple[str, str]) -> Conversation:
    return Conversation(tuple(Message(role, text) for role, text in turns), line=1)


def made(conversation: Conversation, **settings) -> Example:
    example = render(conversation, tiny_tokenizer(), max_length=settings.pop("max_length", 512), **settings)
    assert isinstance(example, Example), example
    return example


def words(example: Example) -> str:
    return tiny_tokenizer().decode(example.ids[example.trained])


def test_only_the_answer_and_its_end_of_turn_are_trained():
    example = made(chat(("user", "Say hi."), ("assistant", "Hi there!")))
    assert words(example) == "Hi there!<|im_end|>"
    assert not example.trained[-1], "the newline behind the end of turn"


def test_the_prompt_is_what_inference_sends():
    turns = chat(
        ("system", "Be brief."), ("user", "Say hi."), ("assistant", "Hi"), ("user", "More"), ("assistant", "Ho")
    )
    sent = tiny_tokenizer().apply_chat_template(
        turns.for_template()[:-1], add_generation_prompt=True, return_dict=False
    )
    example = made(turns)
    assert example.prompt_ids.tolist() == sent
    assert example.reference == "Ho"


def test_every_assistant_turn_is_trained_and_a_turn_marked_false_is_not():
    turns = [Message("user", "a"), Message("assistant", "one"), Message("user", "b"), Message("assistant", "two")]
    assert words(made(Conversation(tuple(turns)))) == "one<|im_end|>two<|im_end|>"
    turns[1] = Message("assistant", "one", train=False)
    assert words(made(Conversation(tuple(turns)))) == "two<|im_end|>"


# As some templates do, it ends the last answer alone with the end-of-text token.
LAST_ALONE = (
    "{% for message in messages %}{{ message['role'] + ':\\n' + message['content'] }}"
    "{% if loop.last and message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"
)


def test_an_earlier_answer_that_no_token_ends_is_trained_to_its_last_word_and_no_further():
    tokenizer = tiny_tokenizer(LAST_ALONE)
    example = render(
        chat(("user", "a"), ("assistant", "one"), ("user", "secret"), ("assistant", "two")), tokenizer, max_length=512
    )
    assert isinstance(example, Example)
    assert tokenizer.decode(example.ids[example.trained]) == "onetwo<|im_end|>"


def test_an_earlier_tool_call_whose_end_cannot_be_told_is_not_trained():
    template = LAST_ALONE.replace(
        "message['content']", "message['content'] + (message.tool_calls | default('') | string)"
    )
    template = "{{ tools | default('', true) | string }}" + template
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    turns = (
        Message("user", "a"),
        Message("assistant", "", extra={"tool_calls": [call]}),
        Message("tool", "3"),
        Message("assistant", "three"),
    )
    refused = render(Conversation(turns), tiny_tokenizer(template), max_length=512)
    assert isinstance(refused, Problem)
    assert (refused.code, "message 2 ends" in refused.message) == ("template_mask", True)


def test_too_long_is_dropped_or_cut_at_the_start_of_the_prompt():
    turns = chat(("user", "word " * 100), ("assistant", "fine"))
    full = made(turns)
    dropped = render(turns, tiny_tokenizer(), max_length=20)
    assert isinstance(dropped, Problem)
    assert dropped.code == "too_long"
    cut = made(turns, max_length=20, too_long="cut")
    assert len(cut.ids) == 20
    np.testing.assert_array_equal(cut.ids, full.ids[-20:])
    assert words(cut) == "fine<|im_end|>"
    hopeless = render(
        chat(("user", "a"), ("assistant", "word " * 100)), tiny_tokenizer(), max_length=20, too_long="cut"
    )
    assert isinstance(hopeless, Problem)
    assert hopeless.code == "answer_too_long"


def test_the_rest_of_an_answer_that_was_cut_is_not_trained():
    turns = chat(("user", "a"), ("assistant", "word " * 30), ("user", "b"), ("assistant", "fine"))
    full = made(turns)
    answer = np.flatnonzero(full.trained)
    cut = made(turns, max_length=len(full.ids) - int(answer[10]), too_long="cut")
    assert words(cut) == "fine<|im_end|>"
    assert words(made(turns, max_length=len(full.ids) - 1, too_long="cut")) == words(full)


def test_a_beginning_of_text_token_is_not_cut_away():
    tokenizer = tiny_tokenizer("{{ '<|endoftext|>' }}" + CHATML)
    tokenizer.bos_token = "<|endoftext|>"
    turns = chat(("user", "word " * 50), ("assistant", "fine"))
    cut = render(turns, tokenizer, max_length=20, too_long="cut")
    assert isinstance(cut, Example)
    assert len(cut.ids) == 20
    assert cut.ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(cut.ids[cut.trained]) == "fine<|im_end|>"
    assert tokenizer.decode(cut.prompt_ids).endswith("<|im_start|>assistant\n")


def test_examples_come_back_from_disk_as_they_were(tmp_path):
    some = [made(chat(("user", f"say {i}"), ("assistant", "x" * (i + 1)))) for i in range(7)]
    opened = write_examples(tmp_path / "examples.arrow", some)
    assert len(opened) == 7
    for before, after in zip(some, opened, strict=True):
        np.testing.assert_array_equal(before.ids, after.ids)
        np.testing.assert_array_equal(before.trained, after.trained)
        assert (before.id, before.line, before.reference, before.group) == (
            after.id,
            after.line,
            after.reference,
            after.group,
        )
    assert opened[6].trained.dtype == np.bool_
    assert opened[6].ids.dtype == np.int32
    assert opened.lengths.tolist() == [len(example.ids) for example in some]
    assert opened.trained_counts.tolist() == [example.trained.sum() for example in some]
    assert opened.fingerprint == Examples.open(tmp_path / "examples.arrow").fingerprint
    assert opened.fingerprint != write_examples(tmp_path / "other.arrow", some[::-1]).fingerprint
    with pytest.raises(IndexError):
        opened[7]
