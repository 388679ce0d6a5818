"""GGUF files: read back by Transformers' own reader, each family says what it said; metadata as llama.cpp wants it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GgufConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from tests.tiny import CHATML, tiny_model, tiny_tokenizer
from tunebook.errors import ExportError
from tunebook.export.gguf import write_gguf
from tunebook.export.gguf_settings import llama3_factors, unread_settings
from tunebook.export.gguf_tokenizer import read_vocabulary
from tunebook.export.gguf_types import kinds_at_hand, stored_type
from tunebook.export.known import check_known

ROW = torch.tensor([[1, 5, 9, 33, 77, 101, 250, 2, 14, 60] * 5])
SIZES = {
    "vocab_size": len(tiny_tokenizer()),
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32, "tie_word_embeddings": True}


def llama(**settings: Any) -> Any:
    return LlamaForCausalLM(LlamaConfig(**(SIZES | {"tie_word_embeddings": False} | settings)))


FAMILIES = {
    "llama": llama,
    "llama tied": lambda: llama(tie_word_embeddings=True),
    "llama 3 rope": lambda: llama(rope_parameters=LLAMA3),
    "llama linear rope": lambda: llama(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}),
    "llama biases": lambda: llama(attention_bias=True),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, head_dim=32, sliding_window=None)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=32)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, **GEMMA)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**(SIZES | {"num_hidden_layers": 7}), **GEMMA)),
}


def made(family: str) -> Any:
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name or "norm" in name:  # zeros and ones would hide a mix-up
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def read_back(path: Path, config: Any) -> Any:
    found = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    for name, value in unread_settings(config).items():
        setattr(found, name, value)
    how = GgufConfig(dequantize=True)
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, config=found, quantization_config=how, dtype=torch.float32
    ).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(ROW).logits


def field(path: Path, name: str) -> Any:
    found = gguf.GGUFReader(path).get_field(name)
    return None if found is None else found.contents()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_says_the_same_when_read_back(tmp_path: Path, family: str) -> None:
    model = made(family)
    write_gguf(model, tiny_tokenizer(), tmp_path / "m.gguf", "f16", "tiny")
    mine, theirs = logits(model), logits(read_back(tmp_path / "m.gguf", model.config))
    assert (mine - theirs).abs().max() < 0.1
    assert (mine - theirs).abs().mean() < 0.01 * mine.std()


def test_adapters_are_merged_and_the_model_stays_as_it_is(tmp_path: Path) -> None:
    model = get_peft_model(made("llama"), LoraConfig(r=4, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    before = {name: value.clone() for name, value in model.eval().state_dict().items()}
    write_gguf(model, tiny_tokenizer(), tmp_path / "m.gguf", "f16", "tiny")
    assert (logits(model) - logits(read_back(tmp_path / "m.gguf", model.config))).abs().max() < 0.1
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_q8_blocks_are_within_half_a_step_of_the_weights(tmp_path: Path) -> None:
    model = made("qwen2")
    write_gguf(model, tiny_tokenizer(), tmp_path / "m.gguf", "q8_0", "tiny")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    stored = tensors["blk.1.ffn_up.weight"]
    assert stored.tensor_type == gguf.GGMLQuantizationType.Q8_0
    weight = model.model.layers[1].mlp.up_proj.weight.detach().numpy()
    step = np.abs(weight.reshape(-1, 32)).max(1, keepdims=True) / 127
    off = np.abs(gguf.dequantize(stored.data, stored.tensor_type).reshape(-1, 32) - weight.reshape(-1, 32))
    assert (off <= 0.51 * step + 1e-3 * np.abs(weight.reshape(-1, 32))).all()
    assert tensors["blk.1.attn_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32


def test_rows_that_do_not_divide_into_blocks_stay_in_float16(tmp_path: Path) -> None:
    write_gguf(tiny_model(), tiny_tokenizer(), tmp_path / "m.gguf", "q8_0", "tiny")  # rows of 48
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert tensors["blk.0.attn_q.weight"].tensor_type == gguf.GGMLQuantizationType.F16
    assert tensors["blk.0.ffn_down.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0  # rows of 96


@pytest.mark.parametrize(
    ("name", "width", "stored"),
    [
        ("blk.5.attn_q.weight", 2048, "Q4_K"),
        ("blk.0.attn_v.weight", 2048, "Q6_K"),  # the first eighth
        ("blk.5.attn_v.weight", 2048, "Q4_K"),
        ("blk.6.ffn_down.weight", 2048, "Q6_K"),  # every third between
        ("blk.28.ffn_down.weight", 2048, "Q6_K"),  # the last eighth
        ("output.weight", 2048, "Q6_K"),
        ("token_embd.weight", 2048, "Q4_K"),
        ("blk.5.attn_q.weight", 576, "Q5_0"),
        ("output.weight", 576, "Q8_0"),
        ("blk.5.attn_q.weight", 48, "F16"),
    ],
)
def test_q4_k_m_is_the_mixture_that_llama_cpp_makes(name: str, width: int, stored: str) -> None:
    assert stored_type(name, width, "q4_k_m", layers=32, tied=False).name == stored
    tied = stored_type("token_embd.weight", width, "q4_k_m", layers=32, tied=True)
    assert tied.name == {2048: "Q6_K", 576: "Q8_0", 48: "F16"}[width]


def test_without_llama_cpp_there_is_no_q4_k_m(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunebook.export.gguf_types._quantiser", lambda: None)
    assert kinds_at_hand() == ("f16", "q8_0")


def test_llama_3_factors_are_those_of_transformers() -> None:
    config = llama(rope_parameters=LLAMA3).config
    plain = llama().config
    plain.rope_parameters["rope_theta"] = LLAMA3["rope_theta"]
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    base = LLAMA3["rope_theta"] ** (-torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    found = llama3_factors(config)
    assert found is not None
    assert torch.allclose(base / torch.tensor(found, dtype=torch.float64), scaled.double(), rtol=1e-5)
    assert llama3_factors(plain) is None


def test_the_metadata_ends_turns_and_keeps_the_template(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"  # as many bases have it: the turn ends with another token
    path = tmp_path / "m.gguf"
    write_gguf(made("llama"), tokenizer, path, "f16", "tiny")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert field(path, "tokenizer.ggml.eos_token_id") == end
    assert field(path, "tokenizer.ggml.eot_token_id") == end
    assert field(path, "tokenizer.chat_template") == CHATML
    assert field(path, "tokenizer.ggml.add_bos_token") is False
    assert field(path, "tokenizer.ggml.pre") == "gpt-2"
    assert field(path, "tokenizer.ggml.token_type")[end] == 3
    assert field(path, "llama.context_length") == 512


def test_the_tokenizer_reads_back_and_cuts_text_the_same(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    write_gguf(made("llama"), tokenizer, tmp_path / "m.gguf", "f16", "tiny")
    found = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    for text in ("What is 12 + 30?", "naïve 東京 🙂", "<|im_start|>user\nx<|im_end|>"):
        assert (
            found(text, add_special_tokens=False)["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
        )
    assert found.chat_template == tokenizer.chat_template


def piece_tokenizer() -> Any:
    """A SentencePiece-style BPE with byte fallback, as in Llama 2: blanks are ▁, one is put in front."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    text = ["what is the capital of the country, and what is the name of the band"] * 3
    backend.train_from_iterator(text, trainers.BpeTrainer(vocab_size=320, special_tokens=special, show_progress=False))
    spec = backend.to_str()
    value = json.loads(spec)
    value["added_tokens"] = value["added_tokens"][:3]
    backend = Tokenizer.from_str(json.dumps(value))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=CHATML
    )


def test_a_sentencepiece_style_tokenizer_reads_back(tmp_path: Path) -> None:
    tokenizer = piece_tokenizer()
    size = len(tokenizer)
    write_gguf(llama(vocab_size=size), tokenizer, tmp_path / "m.gguf", "f16", "tiny")
    path = tmp_path / "m.gguf"
    assert field(path, "tokenizer.ggml.model") == "llama"
    assert field(path, "tokenizer.ggml.token_type")[:4] == [2, 3, 3, 6]
    assert field(path, "tokenizer.ggml.add_space_prefix") is True
    found = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    for text in ("what is the capital", "the band", "zebra ü"):
        assert (
            found(text, add_special_tokens=False)["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
        )


def test_merges_become_scores_in_their_order() -> None:
    tokenizer = piece_tokenizer()
    vocabulary = read_vocabulary(tokenizer, len(tokenizer) + 5)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    firsts = list(dict.fromkeys("".join(pair) for pair in merges))
    scores = [vocabulary.scores[vocabulary.tokens.index(token)] for token in firsts]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
    assert vocabulary.tokens[-1] == f"[PAD{len(tokenizer) + 4}]"
    assert vocabulary.kinds[-1] == 5


def cut_by(*stages: Any) -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(stages))
    return tokenizer


def test_the_way_of_cutting_text_gets_llama_cpps_name() -> None:
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    size = len(tiny_tokenizer())
    assert read_vocabulary(cut_by(pre_tokenizers.Digits(individual_digits=True), words), size).cut == "smollm"
    qwen = cut_by(pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"), plain)
    assert read_vocabulary(qwen, size).cut == "qwen2"
    three = PRETOKENIZE_REGEX.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
    llama3 = cut_by(pre_tokenizers.Split(Regex(three), behavior="isolated"), plain)
    assert read_vocabulary(llama3, size).cut == "llama-bpe"


def test_a_way_of_cutting_that_has_no_name_is_refused() -> None:
    tokenizer = cut_by(pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False))
    with pytest.raises(ExportError, match="cuts text in a way"):
        read_vocabulary(tokenizer, 400)


def test_an_unknown_architecture_is_named_with_what_works(tmp_path: Path) -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=2))
    with pytest.raises(ExportError, match=r"'gpt2'.*llama, mistral, qwen2, qwen3, gemma2, gemma3_text"):
        check_known(model.config, tiny_tokenizer())


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=64)), "sliding window"),
        (lambda: llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "dynamic"),
        (lambda: llama(hidden_act="relu"), "relu"),
        (lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, **(GEMMA | {"query_pre_attn_scalar": 20}))), "scaled by 20"),
    ],
)
def test_a_setting_that_llama_cpp_takes_for_granted_otherwise_is_refused(model: Any, named: str) -> None:
    with pytest.raises(ExportError, match=named):
        check_known(model().config, tiny_tokenizer())


def test_a_weight_too_large_for_float16_is_refused_by_name(tmp_path: Path) -> None:
    model = made("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3, 4] = 1e6
    with pytest.raises(ExportError, match="up|ffn"):
        write_gguf(model, tiny_tokenizer(), tmp_path / "m.gguf", "f16", "tiny")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused() -> None:
    with pytest.raises(ExportError, match="embeddings"):
        read_vocabulary(tiny_tokenizer(), 100)


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_the_same_model_gives_the_same_bytes(tmp_path: Path, kind: Any) -> None:
    for name in ("a", "b"):
        write_gguf(made("llama"), tiny_tokenizer(), tmp_path / name, kind, "tiny")
    digests = {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a", "b")}
    assert len(digests) == 1
