"""The deployment test over HTTP: a faithful export passes, each planted fault is caught, no server stays behind."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.export.making import LIVELY, NEW_TOKENS, end_more_often, finished_run, prompts_of
from tests.export.test_parity import change_template, lose_end_of_turn
from tests.tiny import save_tiny, tiny_tokenizer
from tunebook.errors import ExportError
from tunebook.export.check import work
from tunebook.export.deploy_http import deploy_test, expected_answers
from tunebook.export.http_checks import Expected, Findings, Reply, run_checks, same_start
from tunebook.export.server import Server, check_extra, check_port, serve
from tunebook.export.staging import hashes, manifest_of
from tunebook.export.steps import export_run
from tunebook.export.weights import write_merged
from tunebook.files import read_json, write_json
from tunebook.model.sources import load_model
from tunebook.runs.store import Run
from tunebook.workflow.result import load_tuned

pytest.importorskip("openai")


def quiet(_: str) -> None:
    return


def servers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "tunebook.export.serving" in child.cmdline()]


@pytest.fixture(autouse=True)
def gaps_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where answers differ the files are asked once more in a fresh process; here without its seconds of importing."""
    monkeypatch.setattr("tunebook.export.deploy.run_to_end", lambda _, args, log, **more: work(*map(Path, args)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = finished_run(tmp_path_factory.mktemp("run"))
    model, tokenizer = load_tuned(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunebook.export.parity.run_to_end", lambda _, args, log, **more: work(*map(Path, args)))
        export_run(run.folder, run.plan(), model, tokenizer, prompts_of(tokenizer), NEW_TOKENS)
    return run


@pytest.mark.slow
def test_a_faithful_export_is_ready_to_deploy(exported: Run) -> None:
    found = deploy_test(exported.folder, quiet)
    assert [check for check in found["checks"] if not check["ok"]] == []
    assert found["verdict"] == "passed"
    assert found["equal"] == found["total"] == 6
    assert found["sentence"].startswith("Ready to deploy")
    assert [check["check"] for check in found["checks"]] == [
        "files",
        "health",
        "models",
        "chat completion",
        "streaming",
        "long prompt",
        "bad requests",
        "8 callers at once",
        "health afterwards",
        "stop",
        "end of turn",
        "answers as in training",
    ]
    assert found["measured"]["tokens_per_second"] > 0
    assert found["measured"]["memory_bytes"] > 50e6
    assert read_json(exported.folder / "export" / "deployment.json") == found
    assert servers() == []


def leave_adapter_out(folder: Path, run: Run) -> None:
    write_merged(load_model(run.plan().model.name), tiny_tokenizer(), folder)


def swap_weights(folder: Path, run: Run) -> None:
    other = save_tiny(folder.parent / "other", seed=9, **LIVELY)
    end_more_often(other)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    shutil.rmtree(other)


def cut_weights(folder: Path, run: Run) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


FAULTS: dict[str, tuple[Callable[[Path, Run], Any], str]] = {
    "swapped weights": (swap_weights, "answers as in training"),
    "adapter not merged": (leave_adapter_out, "answers as in training"),
    "wrong template": (lambda folder, _: change_template(folder), "answers as in training"),
    "end of turn missing": (lambda folder, _: lose_end_of_turn(folder), "end of turn"),
    "truncated file": (cut_weights, "start"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught_though_the_manifest_agrees(exported: Run, tmp_path: Path, name: str) -> None:
    plant, check = FAULTS[name]
    run = Run(tmp_path / exported.name)
    shutil.copytree(exported.folder, run.folder)
    folder = run.folder / "export" / "safetensors"
    plant(folder, run)
    write_json(folder / "MANIFEST.json", {**(manifest_of(folder) or {}), "files": hashes(folder)})
    found = deploy_test(run.folder, quiet)
    assert found["verdict"] == "failed"
    assert check in [check["check"] for check in found["checks"] if not check["ok"]]
    assert "Do not deploy" in found["sentence"]
    assert servers() == []
    if name == "truncated file":
        assert "ended with exit code 1 before it answered: " in found["checks"][-1]["detail"]


def test_a_damaged_folder_is_told_and_no_server_is_started(exported: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / exported.name)
    shutil.copytree(exported.folder, run.folder)
    cut_weights(run.folder / "export" / "safetensors", run)
    found = deploy_test(run.folder, quiet)
    assert [(check["check"], check["ok"]) for check in found["checks"]] == [("files", False)]
    assert "model.safetensors" in found["checks"][0]["detail"]


def test_an_adapter_alone_cannot_be_served_and_that_is_said(exported: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / exported.name)
    shutil.copytree(exported.folder, run.folder)
    record = read_json(run.folder / "export" / "export.json")
    record["formats"] = {"adapter": record["formats"]["safetensors"]}
    write_json(run.folder / "export" / "export.json", record)
    with pytest.raises(ExportError, match=r"no exported model to serve, only adapter.*tunebook export"):
        deploy_test(run.folder, quiet)


def test_prompts_become_conversations_by_the_template_of_training(exported: Run, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    shutil.copytree(exported.folder / "export" / "safetensors", folder)
    change_template(folder)
    found, left_out = expected_answers(exported.folder, exported.plan(), folder, 512)
    assert left_out == 0
    assert found[2].chat == [{"role": "user", "content": "What is 2 + 2?"}]
    lengths = [len(prompt) for prompt in prompts_of(tiny_tokenizer())]
    assert [item.prompt_tokens for item in found] == lengths
    assert {item.room for item in found} == {exported.plan().evaluation.max_new_tokens}
    least = min(lengths)
    near, left_out = expected_answers(exported.folder, exported.plan(), folder, least + 2)
    assert left_out == sum(length > least + 1 for length in lengths)
    assert {item.room for item in near} <= {1, 2}


def test_a_server_that_says_nothing_is_ended_in_time(exported: Run) -> None:
    folder = exported.folder / "export" / "safetensors"
    with pytest.raises(ExportError, match="did not answer within 0 seconds"), serve(folder, "slow", patience=0.3):
        pass
    assert servers() == []


@pytest.mark.parametrize("manner", ["hangs", "dies"])
def test_a_server_that_hangs_or_dies_is_asked_once_and_told(monkeypatch: pytest.MonkeyPatch, manner: str) -> None:
    monkeypatch.setattr("tunebook.export.http_checks.SECONDS", 0.3)
    monkeypatch.setattr(Server, "healthy", lambda self: False)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        if manner == "hangs":
            deaf.listen()
        nobody: Any = None
        server = Server(f"http://127.0.0.1:{port}/v1", "tiny", nobody, Path(), 1.0)
        expected = [Expected(str(number), [{"role": "user", "content": "?"}], 9, "!", True, 8) for number in range(50)]
        found = Findings()
        replies = run_checks(found, server, expected, 512, quiet)
    assert replies == [None] * 50
    failed = [check["check"] for check in found.checks if not check["ok"]]
    assert failed == ["health", "models", "chat completion", "health afterwards"]
    expected_words = "timed out" if manner == "hangs" else "Connection error"
    assert expected_words in next(check["detail"] for check in found.checks if check["check"] == "chat completion")


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ExportError, match="Port .* cannot be used.*--port"):
            check_port(taken.getsockname()[1])


def test_missing_libraries_are_named_with_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunebook.export.server._NEEDED", ("json", "no_such_library"))
    with pytest.raises(ExportError, match=r"needs no_such_library.*pip install 'tunebook\[serve\]'"):
        check_extra()


@pytest.mark.slow
def test_serve_answers_on_the_loopback_address_only_and_ends_with_its_parent(exported: Run) -> None:
    folder = exported.folder / "export" / "safetensors"
    code = (
        "from pathlib import Path; from tunebook.export.server import serve\n"
        f"with serve(Path({str(folder)!r}), 'my run!') as server:\n"
        "    print(server.child.pid, server.address, server.model, flush=True); server.child.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, address, model = parent.stdout.readline().split()
    child = psutil.Process(int(pid))
    listening = {link.laddr.ip for link in child.net_connections("tcp") if link.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    assert address.startswith("http://127.0.0.1:")
    assert model == "my-run"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert psutil.wait_procs([child], timeout=15)[1] == []


def test_a_reply_cut_within_a_letter_is_still_the_beginning() -> None:
    assert same_start("Zür\ufffd", "Zürich")
    assert same_start("", "anything")
    assert not same_start("Bern", "Zürich")


def test_a_check_that_raises_is_a_finding_in_words() -> None:
    found = Findings()
    assert not found.attempt("it", lambda: (1 // 0 == 0, "never"))
    assert found.checks == [
        {"check": "it", "ok": False, "detail": "ZeroDivisionError: integer division or modulo by zero"}
    ]


@pytest.mark.parametrize(
    ("reply", "equal", "tied", "difference"),
    [
        (Reply("Paris.", "stop", 9, 3, 0.1), 1, 0, ""),
        (Reply("Paris.", "length", 9, 3, 0.1), 0, 0, "ended in training and does not here"),
        (Reply("Paris.", "stop", 12, 3, 0.1), 0, 0, "its prompt had 9 tokens in training and has 12 here"),
        (Reply("Lyon.", "stop", 9, 3, 0.1), 0, 0, "was 'Paris.', is 'Lyon.'"),
        (Reply("Paris!", "stop", 9, 3, 0.1), 0, 1, ""),
        (None, 0, 0, "got no answer"),
    ],
)
def test_replies_are_compared_with_training(
    monkeypatch: pytest.MonkeyPatch, reply: Reply | None, equal: int, tied: int, difference: str
) -> None:
    from tunebook.export import deploy_http

    def gaps(*args: Any) -> list[float | None]:
        return [1e-5 if given.text == "Paris!" else 0.7 for _, given in args[-1]]

    monkeypatch.setattr(deploy_http, "_gaps", gaps)
    entry = {"parity": {"max_logit_difference": 1e-5}}
    item = Expected("a", [{"role": "user", "content": "?"}], 9, "Paris.", True, 8)
    nothing: Any = None
    found = deploy_http._compare(Path(), nothing, "safetensors", entry, [item], [reply])
    assert (found["equal"], found["tied"], found["total"]) == (equal, tied, 1)
    assert difference in "".join(found["differences"])
    assert bool(found["differences"]) == bool(difference)
