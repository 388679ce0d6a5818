"""A GGUF file in llama.cpp itself; the first part needs the extra `llama` and has its own make target."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.export.making import NEW_TOKENS, prompts_of
from tests.export.test_gguf import FAMILIES, llama, made, piece_tokenizer
from tests.tiny import tiny_model, tiny_tokenizer
from tunebook.export.gguf import write_gguf
from tunebook.export.parity_llama import _differences, _numbers, _positions, compare_llama, installed
from tunebook.export.reference import CHATS, Reference, measure

needs_llama = pytest.mark.skipif(not installed(), reason="the extra `llama` (xllamacpp) is not installed")


def checked(model: Any, tokenizer: Any, folder: Path, kind: Any = "f16", other: Any = None) -> Any:
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    reference = measure(model, tokenizer, prompts_of(tokenizer, 2), NEW_TOKENS)
    write_gguf(other or model, tokenizer, folder / "m.gguf", kind, "tiny")
    return compare_llama(reference, folder, "m.gguf", exact=kind == "f16")


@pytest.mark.heavy
@needs_llama
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_says_what_each_family_says(tmp_path: Path, family: str) -> None:
    parity = checked(made(family), tiny_tokenizer(), tmp_path)
    assert parity.ok, parity.where
    assert parity.numbers["mean_kl"] < 1e-4
    assert parity.numbers["positions"] > 0


@pytest.mark.heavy
@needs_llama
def test_llama_cpp_cuts_text_as_a_sentencepiece_style_tokenizer_does(tmp_path: Path) -> None:
    tokenizer = piece_tokenizer()
    assert checked(llama(vocab_size=len(tokenizer)).eval(), tokenizer, tmp_path).ok


@pytest.mark.heavy
@needs_llama
def test_quantized_files_are_told_and_other_weights_are_caught(tmp_path: Path) -> None:
    assert checked(made("qwen2"), tiny_tokenizer(), tmp_path, "q8_0").numbers["mean_kl"] < 0.05
    torch.manual_seed(3)
    parity = checked(made("llama"), tiny_tokenizer(), tmp_path, other=llama().eval())
    assert [fault.where for fault in parity.where] == ["llama.cpp, logits"]


@pytest.mark.heavy
@needs_llama
def test_q4_k_m_is_near_the_weights_and_llama_cpp_reads_it(tmp_path: Path) -> None:
    model = tiny_model(hidden_size=256, intermediate_size=512, num_hidden_layers=3).eval()
    parity = checked(model, tiny_tokenizer(), tmp_path, "q4_k_m")
    assert parity.ok
    assert parity.numbers["mean_kl"] < 0.05
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    for name, kind, most in (("ffn_up", "Q4_K", 0.1), ("ffn_down", "Q6_K", 0.03)):  # of the last layer
        tensor = tensors[f"blk.2.{name}.weight"]
        assert tensor.tensor_type.name == kind
        weights = model.model.layers[2].mlp.get_submodule(name.replace("ffn_", "") + "_proj").weight.detach().numpy()
        off = gguf.dequantize(tensor.data, tensor.tensor_type) - weights
        assert 0 < np.sqrt((off**2).mean() / (weights**2).mean()) < most


def test_the_numbers_are_those_of_the_next_token() -> None:
    torch.manual_seed(0)
    logits = [torch.randn(4, 20), torch.randn(3, 20)]
    reference = _reference(logits)
    theirs = torch.randn(2, 20).log_softmax(-1)
    found = torch.cat([theirs, torch.full((1, 20), float("nan"))])
    numbers = _numbers(reference, [(0, 3), (1, 1), (1, 2)], found)
    mine = torch.stack([logits[0][3], logits[1][1]]).log_softmax(-1)
    expected = F.kl_div(theirs, mine, log_target=True, reduction="batchmean")
    assert math.isclose(numbers["mean_kl"], float(expected), rel_tol=1e-5)
    assert numbers["positions"] == 2


def test_nothing_measured_is_not_good() -> None:
    numbers = _numbers(_reference([torch.randn(2, 5)]), [(0, 1)], torch.full((1, 5), float("nan")))
    assert math.isnan(numbers["mean_kl"])


def test_positions_spread_over_all_rows() -> None:
    lengths, kept = (1536, 3, 70), (25, 3, 25)
    reference = replace(
        _reference([torch.zeros(count, 5) for count in kept]), rows=[[1] * length for length in lengths]
    )
    positions = _positions(reference)
    assert len(positions) == 12
    assert positions[0] == (0, 24)  # the end of the longest row is always among them
    assert {row for row, _ in positions} >= {0, 2}
    assert all(0 <= place < kept[row] for row, place in positions)
    assert _positions(_reference([torch.zeros(2, 5)])) == [(0, 1), (0, 0)]


def test_other_tokens_of_texts_or_conversations_are_named() -> None:
    reference = _reference([])
    same = {"chats": [[1], [2], None], "texts": [[7]] * 5}
    assert _differences(reference, same) == []
    assert len(_differences(reference, {**same, "chats": [[1], [9], None]})) == 1
    assert len(_differences(reference, {**same, "texts": [[7]] * 4 + [[8]]})) == 1


def _reference(logits: list[torch.Tensor]) -> Reference:
    chats: list[list[int] | str] = [[1], [2], "Refused: no"]
    assert len(CHATS) == len(chats)
    rows = [[1] * len(row) for row in logits]
    return Reference(rows, logits, [], [], 4, "", chats, [[7]] * 5, (2,), 2)
