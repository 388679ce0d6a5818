"""Talking to a model: streamed answers are the generated ones, conversations go on, bases answer as bases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.export.making import LIVELY, plan_for, tuned_model
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer
from tunebook.data.template import prompt_text
from tunebook.errors import ModelError
from tunebook.evaluate.generate import generate
from tunebook.export.talk import Talker


def generated(model: Any, tokenizer: Any, chat: list[dict[str, str]], new: int = 20) -> str:
    prompt = tokenizer(prompt_text(tokenizer, chat), add_special_tokens=False)["input_ids"]
    return generate(model, tokenizer, [prompt], max_new_tokens=new)[0].text


def test_the_streamed_answer_is_the_generated_one_and_the_conversation_goes_on() -> None:
    model, tokenizer = tiny_model(seed=1, **LIVELY), tiny_tokenizer()
    talker = Talker("tiny", model, tokenizer, max_new_tokens=20)
    chat: list[dict[str, str]] = []
    for question in ("What is the capital of France?", "And of Spain?"):
        chat.append({"role": "user", "content": question})
        pieces = list(talker.ask(question))
        assert len(pieces) > 1
        assert "".join(pieces) == generated(model, tokenizer, chat)
        chat.append({"role": "assistant", "content": "".join(pieces)})
    assert talker.chat == chat
    talker.forget()
    assert talker.chat == []


def test_without_its_adapter_it_answers_as_the_base(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", **LIVELY)
    model, tokenizer = tuned_model(base, plan_for(base)), tiny_tokenizer()
    question = [{"role": "user", "content": "Count."}]
    tuned = "".join(Talker("tuned", model, tokenizer, max_new_tokens=20).ask("Count."))
    plain = "".join(Talker("base", model, tokenizer, without_adapter=True, max_new_tokens=20).ask("Count."))
    assert tuned == generated(model, tokenizer, question)
    assert plain == generated(tiny_model(**LIVELY), tokenizer, question)
    assert plain != tuned


def test_a_letter_of_several_tokens_comes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer()
    text = "Grüße, 東京 🙂!"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(Talker, "_tokens", lambda self, prompt: iter(ids))
    pieces = list(Talker("tiny", tiny_model(), tokenizer).ask("Hi"))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_an_answer_ends_at_the_models_longest_input(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(max_position_embeddings=64, **LIVELY)
    talker = Talker("tiny", model, tiny_tokenizer(), max_new_tokens=10_000)
    monkeypatch.setattr(Talker, "_choose", lambda self, logits: 9)  # a token that does not end the answer
    prompt = len(talker.tokenizer(prompt_text(talker.tokenizer, [{"role": "user", "content": "Hi"}]))["input_ids"])
    assert sum(1 for _ in talker._tokens([1] * prompt)) == 64 - prompt


def test_a_conversation_that_is_too_long_is_told_with_what_to_do() -> None:
    talker = Talker("tiny", tiny_model(max_position_embeddings=32), tiny_tokenizer())
    with pytest.raises(ModelError, match=r"has \d+ tokens and the model takes 32\. Begin a new one with /new"):
        list(talker.ask("word " * 50))
    assert talker.chat == []


def test_a_template_that_refuses_is_told_in_its_own_words() -> None:
    talker = Talker("tiny", tiny_model(), tiny_tokenizer("{{ raise_exception('no questions today') }}"))
    with pytest.raises(ModelError, match="no questions today"):
        list(talker.ask("Hi"))


def test_the_temperature_draws_from_the_models_distribution() -> None:
    torch.manual_seed(0)
    talker = Talker("tiny", tiny_model(), tiny_tokenizer(), temperature=2.0)
    logits = torch.tensor([2.0, 0.0, 2.0, -50.0])
    drawn = [talker._choose(logits) for _ in range(3000)]
    share = drawn.count(1) / len(drawn)
    expected = float((logits / 2.0).softmax(-1)[1])
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 3000) ** 0.5
    assert 3 not in drawn
    assert Talker("tiny", tiny_model(), tiny_tokenizer())._choose(torch.tensor([0.0, 3.0, 1.0])) == 1
