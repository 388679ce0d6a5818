"""What the fresh process answers is what training's own generation answers, up to the model's longest input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.tiny import tiny_model, tiny_tokenizer
from tunebook.evaluate.generate import generate
from tunebook.export.check import greedy


def learned_positions() -> Any:
    torch.manual_seed(0)
    sizes = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.4}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tiny_tokenizer()), bos_token_id=1, eos_token_id=2, **sizes))


def rotated_positions() -> Any:
    return tiny_model(seed=3, tie_word_embeddings=False, initializer_range=0.3, max_position_embeddings=64)


@pytest.mark.parametrize("make", [learned_positions, rotated_positions])
def test_an_answer_is_cut_where_the_model_takes_no_more(make: Any) -> None:
    model, tokenizer = make().eval(), tiny_tokenizer()
    prompts = [[5 + place % 200 for place in range(length)] for length in (3, 70, 60, 64, 63, 12, 50, 40)]
    expected = generate(model, tokenizer, prompts, max_new_tokens=20)
    assert {len(answer.ids) for answer in expected} >= {0, 1, 4, 14}
    answers = greedy(model, tokenizer, prompts, 20)
    assert [(answer["ids"], answer["ended"]) for answer in answers] == [
        (list(answer.ids), answer.ended) for answer in expected
    ]
