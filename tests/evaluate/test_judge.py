"""A judge model is asked in both orders over HTTP; what it cannot say counts for nothing."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.evaluate.runs import make_run, tuned_answer
from tunebook.errors import ModelError, RunError
from tunebook.evaluate.judge import judge_run
from tunebook.evaluate.report import make_report
from tunebook.evaluate.report_markdown import to_markdown
from tunebook.files import read_json


@pytest.fixture
def serve():
    """Start a judge that replies as the given function of the question says; yields (address, requests seen)."""
    servers = []

    def start(reply, status=200):
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send({"data": [{"id": "judge-7b"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                seen.append((self.path, self.headers.get("Authorization"), body))
                self.send({"choices": [{"message": {"content": reply(body["messages"][0]["content"])}}]}, status)

            def send(self, value, code=200):
                data = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1", seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def likes_the_style(text):
    first = text.split("Answer A:\n")[1]
    return "A" if first.startswith("In short") else "The better one is B"


def test_a_judge_that_likes_the_tuned_answers_says_so_in_either_order(tmp_path, serve):
    run = make_run(tmp_path / "run")
    address, seen = serve(likes_the_style)
    found = judge_run(run.folder, address)
    assert (found["better"], found["same"], found["worse"], found["no_reply"]) == (12, 0, 0, 0)
    assert found["interval"]["low"] > 0
    assert found["model"] == "judge-7b"
    assert read_json(run.folder / "evaluation" / "judge.json") == found
    assert len(seen) == 24
    path, key, body = seen[0]
    assert (path, key, body["model"], body["temperature"]) == ("/v1/chat/completions", None, "judge-7b", 0)
    assert tuned_answer(0) in body["messages"][0]["content"]
    assert "judge-7b, asked in both orders, found the tuned answer better in 12" in to_markdown(make_report(run.folder))


def test_a_judge_that_likes_the_first_place_prefers_nothing(tmp_path, serve):
    found = judge_run(make_run(tmp_path / "run").folder, serve(lambda text: "A")[0])
    assert (found["better"], found["same"], found["worse"]) == (0, 12, 0)


def test_equal_answers_are_the_same_without_asking(tmp_path, serve):
    address, seen = serve(lambda text: "A")
    assert judge_run(make_run(tmp_path / "run", gain=0).folder, address)["same"] == 12
    assert seen == []


@pytest.mark.parametrize(("reply", "status"), [("I cannot tell", 200), ("A", 500)])
def test_replies_that_cannot_be_used_count_for_nothing(tmp_path, serve, reply, status):
    run = make_run(tmp_path / "run")
    found = judge_run(run.folder, serve(lambda text: reply, status)[0])
    assert (found["no_reply"], found["interval"]) == (12, None)
    assert "judge-7b" not in to_markdown(make_report(run.folder))


def test_a_key_from_the_environment_is_sent_and_not_stored(tmp_path, serve, monkeypatch):
    monkeypatch.setenv("TUNEBOOK_JUDGE_KEY", "sesame")
    run = make_run(tmp_path / "run")
    address, seen = serve(likes_the_style)
    judge_run(run.folder, address + "/chat/completions")
    assert seen[0][1] == "Bearer sesame"
    assert "sesame" not in (run.folder / "evaluation" / "judge.json").read_text()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1", "file:///etc/passwd", "nonsense"])
def test_a_judge_that_cannot_be_reached_is_said_in_a_sentence(tmp_path, address):
    with pytest.raises(ModelError, match="judge"):
        judge_run(make_run(tmp_path / "run").folder, address)


def test_a_run_without_answers_has_nothing_to_judge(tmp_path, serve):
    with pytest.raises(RunError, match="no answers"):
        judge_run(tmp_path, serve(lambda text: "A")[0])


@pytest.mark.parametrize("address", ["http://localhost:80a0/v1", "http://[::1/v1", "http://local host/v1"])
def test_an_address_that_is_none_is_told_and_not_a_fault_of_tunebooks(tmp_path, address):
    with pytest.raises(ModelError, match="could not be asked"):
        judge_run(make_run(tmp_path / "run").folder, address)


def test_a_port_that_speaks_no_http_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet():
            with listener.accept()[0] as caller:
                caller.sendall(b"220 mail ready\r\n")

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(ModelError, match="could not be asked"):
            judge_run(make_run(tmp_path / "run").folder, f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
