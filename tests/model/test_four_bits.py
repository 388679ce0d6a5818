"""A base in 4 bits: rounded as the paper has it, trained on exactly, merged as it was trained."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.tiny import save_tiny, tiny_model, tiny_tokenizer
from tests.train.test_gradients import by_hand, error, gradients, rows, wide
from tunebook.errors import PlanError
from tunebook.export.weights import merged_tensors, weights_size, write_merged
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.model.four_bits import BLOCK, BYTES_A_WEIGHT, LEVELS, FourBitLinear, from_nf4, round_to_nf4, weight_count
from tunebook.model.sources import load_model
from tunebook.plan.files import make_plan

QLORA = {"model": {"name": "x", "quantization": "nf4"}, "data": {"path": "x"}, "lora": {"rank": 4}}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("base"), initializer_range=0.2)


def four_bit_layers(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, FourBitLinear)}


def tuned(base):
    """An adapter that says something, over a base in 4 bits."""
    model = make_trainable(load_model(str(base), quantization="nf4"), make_plan(QLORA))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in trainable_parameters(model).items():
            if "lora_B" in name:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
    return model.eval()


def whole_twin(model):
    """The same model with plain layers that hold the rounded weights."""
    twin = copy.deepcopy(model)
    for name, layer in four_bit_layers(twin).items():
        plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
        plain.bias = layer.bias
        plain.weight = torch.nn.Parameter(layer.whole(), requires_grad=False)
        twin.set_submodule(name, plain)
    return twin


def test_each_weight_becomes_the_nearest_level_of_its_block():
    weight = torch.randn(48, 96, dtype=torch.float64)
    codes, scales = round_to_nf4(weight)
    assert codes.numel() + scales.numel() * 4 == weight.numel() * BYTES_A_WEIGHT
    blocks = weight.float().reshape(-1, BLOCK)
    largest = blocks.abs().max(1).values
    distances = (blocks[:, :, None] / largest[:, None, None] - torch.tensor(LEVELS)).abs()
    expected = torch.tensor(LEVELS)[distances.argmin(2)] * largest[:, None]
    torch.testing.assert_close(from_nf4(codes, scales), expected.flatten(), rtol=0, atol=0)


def test_rounding_is_that_of_bitsandbytes():
    reference = pytest.importorskip("bitsandbytes.functional")
    weight = torch.randn(96, 48)
    packed, state = reference.quantize_4bit(weight, quant_type="nf4", blocksize=BLOCK, compress_statistics=False)
    codes, scales = round_to_nf4(weight)
    assert torch.equal(codes, packed.flatten())
    assert torch.equal(from_nf4(codes, scales).view(96, 48), reference.dequantize_4bit(packed, state))


def test_a_block_of_zeros_stays_zero():
    assert from_nf4(*round_to_nf4(torch.zeros(2, 64))).count_nonzero() == 0


def test_linear_layers_are_read_in_4_bits_and_the_rest_whole(base):
    model, plain = load_model(str(base), quantization="nf4"), load_model(str(base))
    found = four_bit_layers(model)
    assert len(found) == 7 * plain.config.num_hidden_layers
    for name, layer in found.items():
        before = plain.get_submodule(name).weight
        assert torch.equal(layer.whole(), from_nf4(*round_to_nf4(before)).view_as(before))
        assert layer.weight.dtype == torch.uint8
    for name, value in plain.state_dict().items():
        if name.removesuffix(".weight") not in found:
            assert torch.equal(model.state_dict()[name], value)
    assert weight_count(model) == weight_count(plain) == sum(p.numel() for p in plain.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "quantization_config" not in model.config.to_dict()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped files")
def test_the_file_with_whole_weights_is_let_go(base):
    model = load_model(str(base), quantization="nf4")
    assert str(base) not in Path("/proc/self/maps").read_text()
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_layer_that_blocks_do_not_divide_stays_whole(tmp_path):
    model = load_model(str(save_tiny(tmp_path, intermediate_size=98)), quantization="nf4")
    assert not any("mlp" in name for name in four_bit_layers(model))
    assert len(four_bit_layers(model)) == 4 * model.config.num_hidden_layers


def test_two_separate_tables_are_kept_whole(tmp_path):
    model = load_model(str(save_tiny(tmp_path, tie_word_embeddings=False)), quantization="nf4")
    assert type(model.lm_head) is torch.nn.Linear


@pytest.mark.parametrize("way", ["plain", "joined", "fused"])
def test_gradients_are_those_of_whole_layers_with_the_rounded_weights(base, way):
    model = wide(tuned(base))
    twin = wide(whole_twin(model))
    loss, expected = by_hand(twin, rows())
    found_loss, found = gradients(model, [rows()], way=way)
    assert found_loss == pytest.approx(loss, abs=1e-12)
    assert error(found, expected) < 1e-10


@pytest.mark.parametrize("way", ["joined", "fused"])
def test_products_of_rounded_weights_may_be_in_bfloat16(base, way):
    model = tuned(base)
    loss, exact = gradients(model, [rows()], way=way)
    found_loss, found = gradients(model, [rows()], way=way, precision="bfloat16")
    assert found_loss == pytest.approx(loss, rel=0.01)
    assert 1e-5 < error(found, exact) < 0.03


def test_the_fused_way_is_taken(base):
    from tunebook.train.forward import make_engine

    assert make_engine(tuned(base)).way == "fused"


def test_the_backward_pass_keeps_no_whole_weights(base):
    model = tuned(base)
    shapes = {(layer.out_features, layer.in_features) for layer in four_bit_layers(model).values()}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(tuple(x.shape)) or x, lambda x: x):
        model(torch.tensor([[1, 5, 9, 33, 77]]))
    assert kept
    assert not {shape for shape in kept if shape in shapes or shape[::-1] in shapes}


def test_a_merged_export_is_the_model_that_was_trained(base, tmp_path):
    model = tuned(base)
    write_merged(model, tiny_tokenizer(), tmp_path)
    expected = copy.deepcopy(whole_twin(model)).merge_and_unload().state_dict()
    found = load_file(tmp_path / "model.safetensors")
    assert set(found) == set(expected) - {"lm_head.weight"}
    assert all(torch.allclose(found[name], expected[name], atol=1e-6, rtol=0) for name in found)
    assert weights_size(merged_tensors(model)) == sum(value.nbytes for value in found.values())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    row = torch.tensor([[1, 5, 9, 33, 77, 101]])
    with torch.no_grad():
        assert (loaded(row).logits - model(row).logits).abs().max() < 1e-4
        assert (loaded(row).logits - load_model(str(base))(row).logits).abs().max() > 0.1


def test_biases_are_added_and_merged(tmp_path):
    folder = save_tiny(tmp_path / "base", attention_bias=True)
    plain = tiny_model(attention_bias=True)
    for name, parameter in plain.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    plain.save_pretrained(folder)
    model = wide(tuned(folder))
    _, expected = by_hand(wide(whole_twin(model)), rows())
    _, found = gradients(model, [rows()])
    assert error(found, expected) < 1e-10
    biases = {name: tensor.value() for name, tensor in merged_tensors(model).items() if name.endswith("bias")}
    assert len(biases) == 4 * plain.config.num_hidden_layers
    assert all(torch.allclose(value.float(), plain.state_dict()[name]) for name, value in biases.items())


def test_every_weight_in_4_bits_cannot_be_trained():
    with pytest.raises(PlanError, match=r"training\.method to lora"):
        make_plan(QLORA | {"training": {"method": "full"}})
