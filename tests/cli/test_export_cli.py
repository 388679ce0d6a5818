"""`tunebook export`, `chat`, `serve` and `deploy-test` as a shell calls them."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from tests.cli.call import call
from tests.export.making import finished_run
from tunebook.export.check import work
from tunebook.files import read_json, write_json
from tunebook.runs.store import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("all")).folder.parent


@pytest.fixture
def run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run `tiny-1`, in TUNEBOOK_RUNS; fresh processes are replaced by the same work in this one."""

    def instead(module: str, arguments: Sequence[str], log: Path, **_: Any) -> int:
        return work(Path(arguments[0]), Path(arguments[1]))

    monkeypatch.setattr("tunebook.export.parity.run_to_end", instead)
    monkeypatch.setenv("TUNEBOOK_RUNS", str(runs))
    return Run(runs / "tiny-1")


def test_export_writes_the_format_and_says_how_it_compares(run: Run) -> None:
    done = call("export", "tiny-1")
    assert done.code == 0, done.err
    folder = run.folder / "export" / "safetensors"
    assert done.out.startswith(f"{folder}\n")
    assert "6 of 6 answers equal" in done.out
    assert "mean KL" in done.out
    AutoModelForCausalLM.from_pretrained(folder)
    assert read_json(run.folder / "export" / "export.json")["formats"]["safetensors"]["parity"]["ok"]


def test_json_is_one_object_and_other_folders_are_not_noted_in_the_run(run: Run, tmp_path: Path) -> None:
    done = call("export", "tiny-1", "--format", "adapter", "--to", str(tmp_path / "out"), "--json")
    value = json.loads(done.out)
    assert value["folder"] == str(tmp_path / "out")
    assert value["parity"]["ok"]
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
    assert not (run.folder / "export" / "adapter").exists()


def test_a_target_with_other_files_is_refused_before_the_model_is_loaded(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = call("export", "tiny-1", "--to", str(tmp_path))
    assert done.code == 1
    assert "not an export of Tunebook" in done.err
    assert "Loading" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unknown_run_or_format_is_told(run: Run) -> None:
    assert call("export", "nothing").code == 1
    assert "There is no run 'nothing'" in call("export", "nothing").err
    assert call("export", "tiny-1", "--format", "onnx").code == 2


def test_a_run_that_is_being_written_is_left_alone(run: Run) -> None:
    from tunebook.runs.lock import hold_lock

    with hold_lock(run.folder):
        done = call("export", "tiny-1")
    assert done.code == 1
    assert "is being written" in done.err


def test_chat_answers_once(run: Run) -> None:
    done = call("chat", "tiny-1", "--once", "What is 2 + 2?", "--max-new-tokens", "16")
    answer = read_json(run.folder / "samples" / "step-7.json")["answers"][2]["answer"]
    assert (done.code, done.out) == (0, answer + "\n")


def test_chat_reads_questions_from_a_pipe_and_shows_the_base_beside(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("What is 2 + 2?\n\n/new\nWhat is 2 + 2?\n/quit\nnever asked\n"))
    done = call("chat", "tiny-1", "--with-base", "--max-new-tokens", "8")
    assert done.code == 0
    assert done.out.count("base: ") == done.out.count("tuned: ") == 2
    first, second = done.out.split("base: ")[1:]
    assert first == second


def test_chat_takes_a_model_too_and_says_when_there_is_neither(run: Run) -> None:
    base = run.folder.parent.parent / "base"
    assert call("chat", str(base), "--once", "Hi", "--max-new-tokens", "4").code == 0
    assert call("chat", str(base), "--with-base", "--once", "Hi").code == 2
    done = call("chat", "nothing", "--once", "Hi")
    assert done.code == 1
    assert "no run 'nothing'" in done.err
    assert "no model of that name" in done.err


def test_a_port_in_use_ends_serve_before_anything_is_loaded(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = call("serve", "tiny-1", "--port", str(taken.getsockname()[1]))
    assert done.code == 1
    assert "cannot be used" in done.err


def test_serving_or_testing_a_run_that_exported_nothing_says_how_to_export(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    runs = finished_run(tmp_path).folder.parent
    for command in ("serve", "deploy-test"):
        done = call(command, "tiny-1", "--runs", str(runs))
        assert done.code == 1
        assert "`tunebook export tiny-1`" in done.err


def test_deploy_test_fails_with_the_files_that_are_damaged(run: Run) -> None:
    pytest.importorskip("openai")
    call("export", "tiny-1")
    weights = run.folder / "export" / "safetensors" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    done = call("deploy-test", "tiny-1")
    assert done.code == 1
    assert "FAIL files: model.safetensors" in done.out
    assert "Do not deploy" in done.out
    done = call("deploy-test", "tiny-1", "--json")
    assert done.code == 1
    assert json.loads(done.out)["verdict"] == "failed"


def test_a_run_whose_base_is_another_model_now_is_not_exported(run: Run, tmp_path: Path) -> None:
    inputs = run.folder / "data" / "inputs.json"
    before = read_json(inputs)
    write_json(inputs, before | {"model": "a" * 64})
    try:
        done = call("export", str(run.folder), "--to", str(tmp_path / "out"))
    finally:
        write_json(inputs, before)
    assert done.code == 1
    assert "is not the one that 'tiny-1' was made with" in done.err
    assert not (tmp_path / "out").exists()


def test_a_run_whose_base_is_gone_is_told_so(run: Run, tmp_path: Path) -> None:
    base = Path(run.plan().model.name)
    base.rename(base.with_name("moved"))
    try:
        done = call("export", str(run.folder), "--to", str(tmp_path / "out"))
    finally:
        base.with_name("moved").rename(base)
    assert done.code == 1
    assert "There is no model" in done.err
    assert not (tmp_path / "out").exists()
