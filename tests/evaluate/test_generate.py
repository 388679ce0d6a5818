"""Batched greedy answers equal those of `model.generate` with one prompt at a time."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

from tests.tiny import CHATML, tiny_model, tiny_tokenizer
from tunebook.evaluate.generate import generate, stop_token_ids
from tunebook.evaluate.mode import reading
from tunebook.model.attention import NAME

pytestmark = pytest.mark.slow  # seconds together

TOKENIZER = tiny_tokenizer()
WORDS = ["The quick brown fox", "What", "list files, count words, show lines", "capital of France is", "a b c d e f g"]


def prompts(seed: int) -> list[list[int]]:
    texts = {f"{word} {other}"[: 3 + 7 * (seed + index) % 50] for index, word in enumerate(WORDS) for other in WORDS}
    return [TOKENIZER(text)["input_ids"] for text in sorted(texts)]


def talker():
    """A random model that says varied things and at times ends its turn, with the token that is also its pad."""
    model = tiny_model(seed=3, tie_word_embeddings=False, initializer_range=0.3)
    model.lm_head.weight.data[2] = model.lm_head.weight.data[38]
    return model


def one_at_a_time(model, prompt, new):
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, pad_token_id=2)
    return TOKENIZER.decode(out[0, len(prompt) :], skip_special_tokens=True)


def test_texts_of_a_model_with_adapters_equal_generate_with_one_prompt_at_a_time():
    model = get_peft_model(talker(), LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", r=4)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    rows = prompts(0) * 3  # enough of them for merging to pay
    answers = generate(model, TOKENIZER, rows, max_new_tokens=20)
    assert [answer.text for answer in answers] == [one_at_a_time(model, row, 20) for row in rows]


@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_texts_equal_generate_with_one_prompt_at_a_time(batch_tokens):
    model = talker()
    rows = prompts(0)
    answers = generate(model, TOKENIZER, rows, max_new_tokens=20, batch_tokens=batch_tokens)
    assert [answer.text for answer in answers] == [one_at_a_time(model, row, 20) for row in rows]
    assert {answer.ended for answer in answers} == {True, False}
    assert len({answer.text for answer in answers}) > 5


def test_padding_does_not_move_positions_that_are_learned_and_absolute():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(TOKENIZER),
        bos_token_id=1,
        eos_token_id=2,
        n_positions=128,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.4,
    )
    model = GPT2LMHeadModel(config).eval()
    rows = prompts(0)
    answers = generate(model, TOKENIZER, rows, max_new_tokens=8)
    assert [answer.text for answer in answers] == [one_at_a_time(model, row, 8) for row in rows]


def test_an_ended_answer_is_shorter_than_the_limit_or_just_as_long_and_holds_no_stop_token():
    for answer in generate(talker(), TOKENIZER, prompts(1), max_new_tokens=9):
        assert 2 not in answer.ids
        assert len(answer.ids) <= 9
        assert answer.ended or len(answer.ids) == 9


def test_progress_counts_up_to_all_prompts():
    seen = []
    generate(
        tiny_model(),
        TOKENIZER,
        prompts(0),
        max_new_tokens=2,
        batch_tokens=200,
        on_progress=lambda *at: seen.append(at),
    )
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) > 1
    assert seen[-1] == (17, 17)


def test_an_answer_stops_at_the_longest_input_the_model_takes():
    model = tiny_model(max_position_embeddings=16)
    answers = generate(model, TOKENIZER, [[5] * 10, [5] * 16, [5] * 3], max_new_tokens=8)
    assert [len(answer.ids) for answer in answers] == [6, 0, 8]
    assert not any(answer.ended for answer in answers)


def test_no_prompts_give_no_answers():
    assert generate(tiny_model(), TOKENIZER, [], max_new_tokens=4) == []


def test_stop_tokens_are_the_models_the_tokenizers_and_the_end_of_turn():
    model = tiny_model()
    model.generation_config.eos_token_id = [7, 9]
    assert stop_token_ids(model, TOKENIZER) == (2, 7, 9)
    turn = tiny_tokenizer(CHATML.replace("<|im_end|>", "<|im_start|>"))
    turn.eos_token = "<|endoftext|>"
    assert stop_token_ids(model, turn) == (0, 1, 7, 9)


def test_a_template_that_ends_a_turn_with_plain_text_adds_no_stop_token():
    plain = tiny_tokenizer("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}")
    assert stop_token_ids(tiny_model(), plain) == (2,)


@pytest.mark.parametrize("adapters", [False, True])
def test_reading_turns_dropout_and_the_training_attention_off_and_puts_both_back(adapters):
    core = tiny_model(attention_dropout=0.5, tie_word_embeddings=False, initializer_range=0.3)
    plain = [answer.text for answer in generate(core, TOKENIZER, prompts(0), max_new_tokens=5)]
    model = get_peft_model(core, LoraConfig(target_modules=["q_proj"], lora_dropout=0.5)) if adapters else core
    core.set_attn_implementation(NAME)
    model.train()
    core.model.layers[0].eval()
    texts = [answer.text for answer in generate(model, TOKENIZER, prompts(0), max_new_tokens=5)]
    assert texts == plain
    assert core.config._attn_implementation == NAME
    assert model.training
    assert core.model.layers[1].training
    assert not core.model.layers[0].training


def test_the_model_is_put_back_when_reading_fails():
    model = tiny_model()
    model.set_attn_implementation(NAME)
    model.train()
    with pytest.raises(ZeroDivisionError), reading(model):
        _ = 1 / (model.training + 0)
    assert model.training
    assert model.config._attn_implementation == NAME
