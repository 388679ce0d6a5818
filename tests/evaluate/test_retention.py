"""Choices are scored and prose is read as one forward pass a text would do it, in float64."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from tests.tiny import tiny_model, tiny_tokenizer
from tunebook.errors import DataError
from tunebook.evaluate import retention
from tunebook.evaluate.ability import Retention
from tunebook.evaluate.retention import Probes, Question, load_probes, measure_retention
from tunebook.model.attention import NAME

TOKENIZER = tiny_tokenizer()
PROBES = Probes(
    (
        Question("Question: What is the capital of France?\nAnswer:", ("Paris", "the quick brown fox", "a dog"), 0),
        Question("The band plays", ("on", "over and over the lazy dog", "in the capital"), 2),
        Question("list files", ("find", "sort"), 1),
        Question("no space is needed ", ("here", "there"), 0),
    ),
    ("The quick brown fox jumps over the lazy dog.", "count words, show lines", "x", "What is the capital?"),
)


def talker(**overrides):
    return tiny_model(seed=4, tie_word_embeddings=False, initializer_range=0.2, dtype=torch.float64, **overrides)


def nats(model, ids, start):
    """Summed -log p of ids[start:], one text at a time and nothing shared."""
    with torch.no_grad():
        table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return -sum(float(table[place - 1, ids[place]]) for place in range(start, len(ids)))


def expected(model):
    correct, weight = [], []
    for question in PROBES.questions:
        start = len(TOKENIZER(question.query.strip())["input_ids"])
        texts = [question.query.strip() + " " + choice for choice in question.choices]
        sums = [-nats(model, TOKENIZER(text)["input_ids"], start) for text in texts]
        by_letter = [total / len(choice) for total, choice in zip(sums, question.choices, strict=True)]
        correct.append(max(range(len(sums)), key=by_letter.__getitem__) == question.gold)
        weight.append(float(torch.tensor(sums).softmax(0)[question.gold]))
    texts = [TOKENIZER(text)["input_ids"] for text in PROBES.prose]
    prose = [(nats(model, ids, 1), len(ids) - 1) for ids in texts if len(ids) > 1]
    return correct, weight, prose


@pytest.mark.parametrize("shares_beginnings", [True, False])
@pytest.mark.parametrize("tokens_at_once", [1, 60, 100_000])
def test_scores_equal_one_plain_pass_for_each_choice(shares_beginnings, tokens_at_once, monkeypatch):
    model = talker()
    monkeypatch.setattr(retention, "can_attend_per_example", lambda model: shares_beginnings)
    monkeypatch.setattr(retention, "_LOGITS_AT_ONCE", tokens_at_once * len(TOKENIZER))
    found = measure_retention(model, TOKENIZER, PROBES)
    correct, weight, prose = expected(model)
    assert list(found.correct) == correct
    assert found.weight == pytest.approx(weight, abs=1e-5)
    assert [tokens for _, tokens in found.prose] == [tokens for _, tokens in prose]
    assert [total for total, _ in found.prose] == pytest.approx([total for total, _ in prose], rel=1e-5)
    assert found.accuracy == sum(correct) / 4
    assert found.prose_loss == pytest.approx(sum(n for n, _ in prose) / sum(t for _, t in prose))


def test_scores_of_a_model_with_a_sliding_window_are_those_of_one_plain_pass_for_each_choice():
    torch.manual_seed(4)
    config = MistralConfig(**SMALL, vocab_size=len(TOKENIZER), sliding_window=8, initializer_range=0.2)
    model = MistralForCausalLM(config).double().eval()
    found = measure_retention(model, TOKENIZER, PROBES)
    correct, weight, prose = expected(model)
    assert list(found.correct) == correct
    assert found.weight == pytest.approx(weight, abs=1e-5)
    assert [total for total, _ in found.prose] == pytest.approx([total for total, _ in prose], rel=1e-5)


SMALL = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def test_a_model_set_up_for_training_is_measured_the_same_and_left_as_it_was():
    model = talker(attention_dropout=0.5)
    plain = measure_retention(model, TOKENIZER, PROBES)
    model.set_attn_implementation(NAME)
    model.train()
    assert measure_retention(model, TOKENIZER, PROBES) == plain
    assert model.training
    assert model.config._attn_implementation == NAME


def test_progress_counts_questions_and_texts():
    seen = []
    measure_retention(talker(), TOKENIZER, PROBES, lambda *at: seen.append(at))
    assert seen[-1] == (7, 7)


def test_results_survive_their_file_form():
    found = Retention((True, False), (0.75, 0.125), ((12.5, 9),))
    assert Retention.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.to_json()["accuracy"] == 0.5
    assert Retention((), (), ()).to_json()["prose_loss"] is None


def test_the_shipped_probes_load_and_are_not_always_the_same_choice():
    probes = load_probes()
    assert len(probes.questions) >= 50
    assert len(probes.prose) >= 10
    golds = [question.gold for question in probes.questions]
    assert max(golds.count(gold) for gold in set(golds)) < 0.45 * len(golds)


def test_every_unusable_probe_is_named_at_once(tmp_path):
    (tmp_path / "multiple_choice.jsonl").write_text(
        '{"query": "a", "choices": ["b", "c"], "gold": 1}\n\n{"query": "a", "choices": ["b"], "gold": 0}\n'
        '{"query": "a", "choices": ["b", "c"], "gold": 2}\n{"query": "a"\n[1]\n'
        '{"query": "a", "choices": ["b", "c"], "gold": true}\n{"query": "a", "choices": ["b", "c"], "gold": -1}\n'
    )
    (tmp_path / "prose.jsonl").write_text('{"text": "good"}\n{"txt": "bad"}\n{"text": " "}\n')
    with pytest.raises(DataError) as caught:
        load_probes(tmp_path)
    assert [fault.where for fault in caught.value.faults] == [
        *(f"multiple_choice.jsonl, line {number}" for number in (3, 4, 5, 6, 7, 8)),
        "prose.jsonl, line 2",
        "prose.jsonl, line 3",
    ]


def test_a_folder_without_prose_gives_questions_alone(tmp_path):
    (tmp_path / "multiple_choice.jsonl").write_text('{"query": "a", "choices": ["b", "c"], "gold": 1}\n')
    assert load_probes(tmp_path) == Probes((Question("a", ("b", "c"), 1),), ())
