"""The steps `export` and `deploy` on a whole run: every format, proved, recorded, and tested from its files alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.export.making import NEW_TOKENS, STEP, finished_run, prompts_of
from tests.tiny import save_tiny, tiny_tokenizer
from tunebook.errors import CheckpointError, ExportError
from tunebook.export.check import work
from tunebook.export.deploy import compare_answers, deploy_check
from tunebook.export.staging import damage, hashes, manifest_of
from tunebook.export.steps import export_run, owner_of
from tunebook.files import read_json, write_json
from tunebook.runs.store import Run
from tunebook.workflow.result import load_tuned, result_step

pytestmark = pytest.mark.slow  # seconds together


def export(run: Run) -> dict[str, Any]:
    model, tokenizer = load_tuned(run)
    return export_run(run.folder, run.plan(), model, tokenizer, prompts_of(tokenizer), NEW_TOKENS)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The fresh process's work without the seconds that importing takes; tests marked slow start the real one."""

    def run(module: str, arguments: Sequence[str], log: Path, **_: Any) -> int:
        return work(Path(arguments[0]), Path(arguments[1]))

    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr("tunebook.export.parity.run_to_end", run)
        monkeypatch.setattr("tunebook.export.deploy.run_to_end", run)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with its merged export, made once."""
    run = finished_run(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunebook.export.parity.run_to_end", lambda _, args, log, **more: work(*map(Path, args)))
        export(run)
    return run


@pytest.fixture
def copied(exported: Run, tmp_path: Path) -> Run:
    shutil.copytree(exported.folder.parent.parent, tmp_path / "all")
    run = Run(tmp_path / "all" / "runs" / exported.name)
    plan = (run.folder / "plan.yaml").read_text()
    old, new = str(exported.folder.parent.parent), str(tmp_path / "all")
    (run.folder / "plan.yaml").write_text(plan.replace(old, new))
    return run


@pytest.mark.slow
def test_every_format_is_written_proved_and_recorded(tmp_path: Path) -> None:
    run = finished_run(tmp_path, ("safetensors", "adapter", "gguf"))
    record = export(run)
    assert read_json(run.folder / "export" / "export.json") == record
    assert set(record["formats"]) == {"safetensors", "adapter", "gguf"}
    for entry in record["formats"].values():
        folder = run.folder / entry["folder"]
        assert damage(folder) == []
        assert entry["bytes"] == sum(file["bytes"] for file in hashes(folder).values())
        assert {"README.md", "plan.yaml", "chat_template.jinja"} <= {file.name for file in folder.iterdir()}
        assert entry["parity"]["ok"]
    assert record["parity"]["ok"]
    assert record["formats"]["gguf"]["parity"]["files"]["model-q8_0.gguf"]["mean_kl"] > record["parity"]["mean_kl"]
    assert not [path for path in (run.folder / "export").iterdir() if path.name.startswith(".")]
    done = deploy_check(run.folder)
    assert done["verdict"] == "passed"
    assert done["equal"] + done["tied"] == done["total"] == 6
    assert read_json(run.folder / "export" / "deployment.json") == done


def test_a_second_export_has_the_same_bytes(copied: Run) -> None:
    before = hashes(copied.folder / "export" / "safetensors")
    manifest = (copied.folder / "export" / "safetensors" / "MANIFEST.json").read_bytes()
    entry = read_json(copied.folder / "export" / "export.json")
    # the plan now names a base elsewhere, so it is another plan: take the older export away first
    shutil.rmtree(copied.folder / "export" / "safetensors")
    record = export(copied)
    after = hashes(copied.folder / "export" / "safetensors")
    assert before == after
    assert record["formats"]["safetensors"]["sha256"] == entry["formats"]["safetensors"]["sha256"]
    shutil.rmtree(copied.folder / "export" / "safetensors")
    export(copied)
    assert json.loads(manifest)["files"] == after


def test_no_time_place_or_name_of_a_run_stands_in_the_exported_files(exported: Run) -> None:
    folder = exported.folder / "export" / "safetensors"
    for file in folder.iterdir():
        if file.suffix not in (".json", ".yaml"):
            data = file.read_bytes()
            assert exported.name.encode() not in data, file.name
            assert str(exported.folder.parent).encode() not in data, file.name


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_files_alone_answer_as_the_tuned_model_did(tmp_path: Path, method: str) -> None:
    run = finished_run(tmp_path, ("adapter",) if method == "lora" else ("safetensors",), method)
    export(run)
    done = deploy_check(run.folder)
    assert done["verdict"] == "passed"
    assert done["equal"] == done["total"] == 6
    assert done["exported"] == ("adapter" if method == "lora" else "safetensors")


def test_an_answer_that_differs_fails_the_step_and_is_named(copied: Run) -> None:
    path = copied.folder / "samples" / "step-7.json"
    samples = read_json(path)
    samples["answers"][3]["answer"] = "Something else."
    write_json(path, samples)
    with pytest.raises(
        ExportError, match=r"1 of 6 held-out prompts[\s\S]*prompt 4 \(held-3\).*Something else"
    ) as caught:
        deploy_check(copied.folder)
    assert "deployment.json" in str(caught.value)
    assert read_json(copied.folder / "export" / "deployment.json")["verdict"] == "failed"


def test_a_damaged_export_is_not_started(copied: Run) -> None:
    weights = copied.folder / "export" / "safetensors" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ExportError, match=r"model\.safetensors: has \d+ bytes instead of \d+"):
        deploy_check(copied.folder)


def test_a_run_that_exported_nothing_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no exported model"):
        deploy_check(finished_run(tmp_path).folder)


def test_a_run_without_held_out_answers_is_loaded_only(copied: Run) -> None:
    (copied.folder / "samples" / "step-7.json").unlink()
    done = deploy_check(copied.folder)
    assert (done["verdict"], done["total"]) == ("loaded", 0)


@pytest.mark.parametrize("fault", ["gone", "another"])
def test_an_adapter_without_its_own_base_is_refused(tmp_path: Path, fault: str) -> None:
    run = finished_run(tmp_path, ("adapter",))
    export(run)
    shutil.rmtree(tmp_path / "base")
    if fault == "another":
        save_tiny(tmp_path / "base", seed=5, initializer_range=0.2, hidden_size=64, tie_word_embeddings=False)
    with pytest.raises(ExportError, match="base model of the adapter is not there|belongs to another base"):
        deploy_check(run.folder)
    assert damage(run.folder / "export" / "adapter") == []


def test_an_export_that_differs_is_not_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path)
    monkeypatch.setattr("tunebook.export.weights._sum", lambda module, own: own())
    with pytest.raises(ExportError, match=r"not the model that was measured[\s\S]*logits: mean KL"):
        export(run)
    assert [path.name for path in (run.folder / "export").iterdir()] == []


def test_an_architecture_that_gguf_does_not_know_leaves_other_formats_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(tmp_path, ("safetensors", "gguf"))
    monkeypatch.setattr("tunebook.export.gguf_settings.FAMILIES", {})
    with pytest.raises(ExportError, match="does not know the architecture 'llama'"):
        export(run)
    assert manifest_of(run.folder / "export" / "safetensors")
    assert not (run.folder / "export" / "gguf").exists()


def test_an_export_stays_the_runs_own_when_settings_change_that_make_no_weights(exported: Run) -> None:
    plan = exported.plan()
    more = plan.model_copy(update={"export": plan.export.model_copy(update={"formats": ("gguf",)}), "origins": {}})
    assert owner_of(exported.folder, more) == owner_of(exported.folder, plan)
    slower = plan.model_copy(update={"training": plan.training.model_copy(update={"learning_rate": 1e-9})})
    assert owner_of(exported.folder, slower) != owner_of(exported.folder, plan)


def test_answers_part_at_a_tie_or_differ() -> None:
    samples = [{"id": str(number), "answer": "a", "ended": True} for number in range(4)]
    answers = [
        {"text": "a", "ended": True, "difference": None},
        {"text": "b", "ended": True, "difference": {"gap": 1e-4}},
        {"text": "b", "ended": True, "difference": {"gap": 0.5}},
        {"text": "a", "ended": False, "difference": {"gap": None}},
    ]
    equal, tied, faults = compare_answers(samples, answers, 1e-3)
    assert (equal, tied, [fault.where for fault in faults]) == (1, 1, ["prompt 3 (2)", "prompt 4 (3)"])


def test_tokens_of_the_reference_tokenizer_are_those_of_the_export(exported: Run) -> None:
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(exported.folder / "export" / "safetensors")
    assert prompts_of(found) == prompts_of(tiny_tokenizer())


def test_a_result_that_is_damaged_is_named_and_no_other_checkpoint_stands_in_for_it(copied: Run) -> None:
    shutil.copytree(copied.checkpoints / f"step-{STEP}", copied.checkpoints / "step-3", dirs_exist_ok=True)
    weights = copied.checkpoints / f"step-{STEP}" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=f"step {STEP}, the result of 'tiny-1', is damaged: weights.safetensors"):
        result_step(copied)
