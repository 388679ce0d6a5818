"""A fresh process tells an export that is the tuned model from one that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.export.making import LIVELY, NEW_TOKENS, plan_for, prompts_of, tuned_model
from tests.tiny import CHATML, save_tiny, tiny_model, tiny_tokenizer
from tunebook.errors import ExportError
from tunebook.export.check import work
from tunebook.export.parity import check_export, compare
from tunebook.export.reference import Reference, measure
from tunebook.export.weights import write_merged


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    base = save_tiny(tmp_path_factory.mktemp("base") / "base", **LIVELY)
    return tuned_model(base, plan_for(base)), tiny_tokenizer()


@pytest.fixture(scope="module")
def reference(tuned: tuple[Any, Any]) -> Reference:
    return measure(*tuned, prompts_of(tuned[1]), NEW_TOKENS)


@pytest.fixture(scope="module")
def good(tuned: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "export"
    folder.mkdir()
    write_merged(*tuned, folder)
    return folder


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work without the seconds that a fresh process takes to import its libraries."""

    def run(module: str, arguments: Sequence[str], log: Path, **_: Any) -> int:
        return work(Path(arguments[0]), Path(arguments[1]))

    monkeypatch.setattr("tunebook.export.parity.run_to_end", run)


@pytest.mark.slow
def test_a_faithful_export_passes(tuned: tuple[Any, Any], good: Path) -> None:
    parity = check_export(*tuned, good, prompts_of(tuned[1]), NEW_TOKENS)
    assert parity.ok
    assert parity.where == ()
    assert parity.numbers["mean_kl"] < 1e-6
    assert parity.numbers["top1"] == 1.0
    assert parity.numbers["answers_equal"] == parity.numbers["answers"] == 6
    assert [path.name for path in good.parent.iterdir()] == ["export"]


def swap_weights(folder: Path) -> None:
    write_merged(tiny_model(seed=9, **LIVELY), tiny_tokenizer(), folder)


def leave_adapter_out(folder: Path) -> None:
    write_merged(tiny_model(**LIVELY), tiny_tokenizer(), folder)


def spoil_one_matrix(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"] *= 1.3
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def lose_one_matrix(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def change_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(CHATML.replace("\\n", " "))


def lose_end_of_turn(folder: Path) -> None:
    for name in ("generation_config.json", "config.json"):
        settings = json.loads((folder / name).read_text())
        settings["eos_token_id"] = 0
        (folder / name).write_text(json.dumps(settings))


def change_vocabulary(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "swapped weights": (swap_weights, "logits"),
    "adapter not merged": (leave_adapter_out, "logits"),
    "one matrix is off": (spoil_one_matrix, "logits"),
    "one matrix is missing": (lose_one_matrix, "weights"),
    "wrong template": (change_template, "chat template"),
    "end of turn missing": (lose_end_of_turn, "stop tokens"),
    "wrong vocabulary": (change_vocabulary, "tokenizer"),
}


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught_and_named(good: Path, reference: Reference, tmp_path: Path, name: str) -> None:
    plant, where = FAULTS[name]
    folder = tmp_path / "export"
    shutil.copytree(good, folder)
    plant(folder)
    parity = compare(reference, folder)
    assert not parity.ok
    assert where in {fault.where for fault in parity.where}


@pytest.mark.slow
def test_a_file_cut_short_cannot_be_loaded_and_that_is_said(good: Path, reference: Reference, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    shutil.copytree(good, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ExportError, match="cannot be loaded in a fresh process"):
        compare(reference, folder)
