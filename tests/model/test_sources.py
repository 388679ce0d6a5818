"""Where a base model comes from, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.tiny import save_tiny
from tunebook.errors import ModelError
from tunebook.model.sources import find_model, load_model, load_tokenizer, model_folder, weights_sha256
from tunebook.workflow.planning import tokenizer_at_hand


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


def test_a_folder_is_found_from_where_the_plan_stands(folder):
    assert find_model("tiny", folder.parent).kind == "folder"
    assert find_model(str(folder)).place == str(folder)


def test_a_name_that_could_be_a_hub_id_is_taken_at_its_word(tmp_path):
    assert find_model("owner/model", tmp_path).kind == "hub"


@pytest.mark.parametrize("name", ["nothing", "./nothing", "/nothing", "file.gguf", "a/b/c", ""])
def test_what_is_no_model_is_refused_with_the_choices(tmp_path, name):
    with pytest.raises(ModelError, match="There is no model|holds no model"):
        find_model(name, tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        find_model(".", tmp_path)


def test_weights_in_pickle_files_are_not_read(folder, tmp_path):
    copy = tmp_path / "pickled"
    copy.mkdir()
    (copy / "config.json").write_text((folder / "config.json").read_text())
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="can run code"):
        load_model(str(copy))


def test_code_that_comes_with_a_model_is_not_run(folder, tmp_path):
    copy = tmp_path / "coded"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "canary", "auto_map": {"AutoConfig": "canary.C", "AutoModelForCausalLM": "canary.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "canary.py").write_text("raise SystemExit('the canary was run')\n")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(copy))


def test_a_damaged_model_is_one_sentence(folder, tmp_path):
    copy = tmp_path / "cut"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(copy))


def test_a_damaged_gguf_file_is_refused_and_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match="cannot be read as a model"):
        model_folder("bad.gguf", tmp_path)
    assert not list((tmp_path / "cache" / "models").iterdir())


def test_a_tokenizer_that_is_loaded_without_torch_is_the_one_that_is_loaded_with_it(folder, monkeypatch):
    expected = AutoTokenizer.from_pretrained(folder)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: pytest.fail("the slow way was taken"))
    found = load_tokenizer(str(folder))
    assert type(found) is type(expected)
    assert found.backend_tokenizer.to_str() == expected.backend_tokenizer.to_str()
    assert found.special_tokens_map == expected.special_tokens_map
    assert found.chat_template == expected.chat_template


@pytest.mark.parametrize("content", ['{"added_tokens": [], "model": {"type": "Unheard"}}', "no json", "{}"])
def test_a_tokenizer_that_the_library_cannot_read_is_one_sentence(content, folder, tmp_path):
    copy = tmp_path / "odd"
    shutil.copytree(folder, copy)
    (copy / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match="cannot be read"):
        load_tokenizer(str(copy))
    assert tokenizer_at_hand(str(copy)) is None


def test_a_tokenizer_whose_library_is_missing_is_one_sentence(folder, monkeypatch):
    def missing(*_, **__):
        raise ImportError("It requires the SentencePiece library")

    monkeypatch.setattr(PreTrainedTokenizerFast, "from_pretrained", missing)
    with pytest.raises(ModelError, match="SentencePiece"):
        load_tokenizer(str(folder))
    assert tokenizer_at_hand(str(folder)) is None


def test_model_and_tokenizer_load_and_the_hash_is_of_the_weights(folder, tmp_path):
    assert load_model(str(folder)).dtype == torch.float32
    assert load_tokenizer(str(folder)).chat_template
    other = save_tiny(tmp_path / "other", seed=1)
    assert weights_sha256(str(folder)) != weights_sha256(str(other))
