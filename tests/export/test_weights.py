"""Merged weights and adapters, written without touching the model, the same bytes every time."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, MixtralConfig, MixtralForCausalLM

from tests.export.making import LIVELY, plan_for, tuned_model
from tests.tiny import CHATML, save_tiny, tiny_model, tiny_tokenizer
from tunebook.errors import ExportError
from tunebook.export.weights import merged_tensors, write_adapter, write_merged
from tunebook.files import read_json

ROW = torch.tensor([[1, 5, 9, 33, 77, 101, 250, 2, 14, 60]])


def adapted(**settings: Any) -> Any:
    base = tiny_model(**(LIVELY | settings))
    torch.manual_seed(3)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(ROW).logits


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_merged_weights_equal_the_peft_librarys_own_merge(tmp_path: Path) -> None:
    model = adapted()
    write_merged(model, tiny_tokenizer(), tmp_path)
    expected = copy.deepcopy(model).merge_and_unload().state_dict()
    found = load_file(tmp_path / "model.safetensors")
    assert set(found) == set(expected)
    assert all(torch.allclose(found[name], expected[name], atol=1e-6, rtol=0) for name in expected)


def test_plain_transformers_loads_the_folder_and_says_the_same(tmp_path: Path) -> None:
    model = adapted()
    write_merged(model, tiny_tokenizer(), tmp_path)
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert (logits(loaded) - logits(model)).abs().max() < 1e-4
    assert (logits(loaded) - logits(model.get_base_model())).abs().max() < 1e-4
    with model.disable_adapter():
        assert (logits(loaded) - logits(model)).abs().max() > 0.1


def test_merging_leaves_the_model_in_memory_as_it_was_to_the_bit(tmp_path: Path) -> None:
    model = adapted()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    write_merged(model, tiny_tokenizer(), tmp_path)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(getattr(module, "merged_adapters", None) for module in model.modules())


def test_one_model_exported_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tokenizer = tiny_tokenizer()
        tokenizer("x" * (len(name) + 50 * (name == "b")), truncation=True, max_length=4)  # leaves traces inside
        write_merged(adapted(), tokenizer, tmp_path / name)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_tied_embeddings_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    write_merged(adapted(tie_word_embeddings=True), tiny_tokenizer(), tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_an_adapter_on_the_head_of_tied_embeddings_parts_them(tmp_path: Path) -> None:
    base = tiny_model(**(LIVELY | {"tie_word_embeddings": True}))
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["lm_head", "q_proj"]))
    torch.nn.init.normal_(model.base_model.model.lm_head.lora_B["default"].weight, std=0.1)
    model.eval()
    write_merged(model, tiny_tokenizer(), tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not torch.equal(loaded.lm_head.weight, loaded.model.embed_tokens.weight)
    assert (logits(loaded) - logits(model)).abs().max() < 1e-4


def test_a_half_precision_base_is_merged_in_float32_and_rounded_once(tmp_path: Path) -> None:
    model = get_peft_model(tiny_model(dtype=torch.bfloat16, **LIVELY), LoraConfig(r=4, target_modules=["q_proj"]))
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.01)
    write_merged(model, tiny_tokenizer(), tmp_path)
    found = load_file(tmp_path / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    up, down = layer.lora_B["default"].weight.float(), layer.lora_A["default"].weight.float()
    exact = layer.base_layer.weight.float() + layer.scaling["default"] * (up @ down)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.detach().to(torch.bfloat16))


def test_experts_are_written_under_the_names_that_their_files_have(tmp_path: Path) -> None:
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    config = MixtralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, num_local_experts=3)
    model = MixtralForCausalLM(config).eval()
    write_merged(model, tiny_tokenizer(), tmp_path)
    assert any("experts.2.w1.weight" in name for name in load_file(tmp_path / "model.safetensors"))
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))


def test_memory_holds_one_merged_layer_at_a_time() -> None:
    tensors = merged_tensors(adapted())
    layer = tensors["model.layers.0.mlp.up_proj.weight"]
    assert layer.value() is not layer.value()  # made anew each time, kept nowhere


def test_the_generation_settings_stop_where_training_stopped_and_have_no_penalty(tmp_path: Path) -> None:
    model, tokenizer = adapted(), tiny_tokenizer()
    inner = model.get_base_model()
    inner.generation_config = GenerationConfig(eos_token_id=0, repetition_penalty=1.2, temperature=0.7, do_sample=True)
    write_merged(model, tokenizer, tmp_path)
    found = GenerationConfig.from_pretrained(tmp_path)
    assert found.eos_token_id == [0, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert not found.repetition_penalty or found.repetition_penalty == 1.0
    assert found.temperature == 0.7
    assert inner.generation_config.repetition_penalty == 1.2


def test_settings_of_a_sampling_that_is_off_are_left_out(tmp_path: Path) -> None:
    model = tiny_model()
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 0.9, "top_p": 0.6}')
    model.generation_config = GenerationConfig.from_pretrained(tmp_path)
    write_merged(model, tiny_tokenizer(), tmp_path)
    found = json.loads((tmp_path / "generation_config.json").read_text())
    assert found["eos_token_id"] == 2
    assert not {"temperature", "top_p", "do_sample"} & found.keys()


def test_a_tokenizer_without_a_template_is_exported_with_the_one_used_in_training(tmp_path: Path) -> None:
    from tunebook.data.template import chat_template

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    write_merged(adapted(), tokenizer, tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == chat_template(tokenizer)


def test_the_template_keeps_its_bytes(tmp_path: Path) -> None:
    template = CHATML + "{# ümlaut\t#}\n\n"
    write_merged(adapted(), tiny_tokenizer(template), tmp_path)
    assert (tmp_path / "chat_template.jinja").read_bytes() == template.encode()
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == template


def test_an_adapter_loads_on_its_base_and_says_the_same(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", **LIVELY)
    model = tuned_model(base, plan_for(base))
    (tmp_path / "out").mkdir()
    write_adapter(model, tiny_tokenizer(), tmp_path / "out", {"name": "base", "sha256": "0" * 64})
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out").eval()
    assert torch.equal(logits(loaded), logits(model))
    assert not (tmp_path / "out" / "README.md").exists()


def test_an_adapter_has_the_same_bytes_whatever_the_order_of_its_modules(tmp_path: Path) -> None:
    for name, targets in (("a", ["q_proj", "k_proj", "v_proj"]), ("b", ["v_proj", "k_proj", "q_proj"])):
        model = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=targets))
        torch.manual_seed(0)
        for key, value in sorted(model.named_parameters()):
            if "lora" in key:
                torch.nn.init.normal_(value)
        (tmp_path / name).mkdir()
        write_adapter(model, tiny_tokenizer(), tmp_path / name, {"name": "owner/base"})
    assert read_json(tmp_path / "a" / "adapter_config.json")["base_model_name_or_path"] == "owner/base"
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_a_run_without_adapters_has_none_to_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no adapter"):
        write_adapter(tiny_model(), tiny_tokenizer(), tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_a_layer_that_was_trained_whole_beside_adapters_is_refused_by_name(tmp_path: Path) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
    with pytest.raises(ExportError, match="lm_head"):
        write_merged(get_peft_model(tiny_model(tie_word_embeddings=False), config), tiny_tokenizer(), tmp_path)


def test_an_adapter_that_is_not_finite_is_not_merged(tmp_path: Path) -> None:
    model = adapted()
    layer = model.base_model.model.model.layers[1].self_attn.v_proj
    with torch.no_grad():
        layer.lora_B["default"].weight[0, 0] = float("nan")
    with pytest.raises(ExportError, match="cannot be merged"):
        write_merged(model, tiny_tokenizer(), tmp_path)


def test_adapters_of_another_kind_are_merged_by_peft(tmp_path: Path) -> None:
    settings = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], use_dora=True)
    model = get_peft_model(tiny_model(**LIVELY), settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.eval()
    write_merged(model, tiny_tokenizer(), tmp_path)
    assert (logits(AutoModelForCausalLM.from_pretrained(tmp_path)) - logits(model)).abs().max() < 1e-4
