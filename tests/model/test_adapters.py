"""Adapters inside the weights for a while: the same model, and afterwards the same bits."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.tiny import tiny_model
from tunebook.model.adapters import make_trainable, merged
from tunebook.plan.files import make_plan

IDS = torch.arange(3, 23)[None]


def adapted(**settings):
    """The tiny model with adapters that change what it says."""
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=4, **settings)
    model = get_peft_model(tiny_model(), config).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    return model


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}])
def test_a_merged_model_says_the_same_and_gets_its_very_tensors_back(settings):
    model = adapted(**settings)
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}
    said = model(IDS).logits
    with merged(model):
        layer = model.get_base_model().model.layers[0].self_attn.q_proj
        assert layer.merged
        assert torch.allclose(model(IDS).logits, said, atol=1e-5)
    for name, tensor in model.state_dict().items():
        where, bits = before[name]
        assert tensor.data_ptr() == where
        assert torch.equal(tensor, bits)
    assert not layer.merged
    assert torch.equal(model(IDS).logits, said)


class Split(torch.Tensor):
    """A kind of tensor of its own, as a weight is that is split over workers."""


def test_a_weight_that_is_split_over_workers_is_not_merged():
    model = adapted()
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    layer.base_layer.weight = torch.nn.Parameter(layer.base_layer.weight.data.as_subclass(Split), requires_grad=False)
    with merged(model):
        assert not layer.merged
        assert model.get_base_model().model.layers[0].self_attn.k_proj.merged


def test_weights_come_back_when_the_block_fails():
    model = adapted()
    said = model(IDS).logits
    with pytest.raises(ZeroDivisionError), merged(model):
        _ = 1 / 0
    assert torch.equal(model(IDS).logits, said)


def test_where_memory_does_not_hold_weights_twice_adapters_stay_beside_them(monkeypatch):
    model = adapted()
    ids = torch.randint(3, 300, (1, 9))
    expected = model(input_ids=ids).logits
    layers = [layer for layer in model.modules() if hasattr(layer, "lora_A")]
    before = [layer.get_base_layer().weight.data_ptr() for layer in layers]
    merge, calls = type(layers[0]).merge, []

    def third_fails(self, *given, **named):
        calls.append(self)
        if len(calls) == 3:
            raise torch.OutOfMemoryError
        merge(self, *given, **named)

    monkeypatch.setattr(type(layers[0]), "merge", third_fails)
    with merged(model):
        assert not any(layer.merged for layer in layers)
        assert torch.equal(model(input_ids=ids).logits, expected)
    assert [layer.get_base_layer().weight.data_ptr() for layer in layers] == before


def test_adapters_that_are_off_or_cannot_be_merged_are_left_alone():
    model = adapted()
    with model.disable_adapter():
        said = model(IDS).logits
        with merged(model):
            assert torch.equal(model(IDS).logits, said)
    biased = adapted(lora_bias=False)
    for layer in biased.modules():
        if hasattr(layer, "lora_bias"):
            layer.lora_bias["default"] = True
    with merged(biased):
        assert not any(getattr(layer, "merged", False) for layer in biased.modules())


def test_a_model_without_adapters_is_not_touched():
    model = tiny_model()
    with merged(model):
        assert model(IDS).logits.shape == (1, 20, model.config.vocab_size)


@pytest.mark.parametrize(("method", "rate"), [("full", 0.3), ("full", 0.0), ("lora", 0.0)])
def test_the_plans_dropout_is_the_models(method, rate):
    from transformers import GPT2Config, GPT2LMHeadModel

    made_with = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=64, **made_with))
    sections = {"model": {"name": "m"}, "data": {"path": "d"}, "training": {"method": method, "dropout": rate}}
    trained = make_trainable(model, make_plan(sections))
    rates = [module.p for module in trained.modules() if isinstance(module, torch.nn.Dropout)]
    assert rates
    assert set(rates) == {rate}
    llama = make_trainable(tiny_model(attention_dropout=0.2), make_plan(sections))
    assert {module.attention_dropout for module in llama.modules() if hasattr(module, "attention_dropout")} == {rate}
