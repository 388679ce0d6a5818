"""A judge model is asked in both orders over HTTP; what it cannot say counts for nothing."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.evaluate.runs import make_run, reference, tuned_answer
from tunebook.data.conversation import Conversation, Message
from tunebook.errors import ModelError, RunError
from tunebook.evaluate.judge import judge_run
from tunebook.evaluate.report import make_report
from tunebook.evaluate.report_markdown import to_markdown
from tunebook.files import read_json, write_json


@pytest.fixture
def serve():
    """Start a judge that replies as the given function of the question says; yields (address, requests seen)."""
    servers = []

    def start(reply, status=200, finish="stop"):
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send({"data": [{"id": "judge-7b"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                seen.append((self.path, self.headers.get("Authorization"), body))
                said = {"content": reply(body["messages"][0]["content"])}
                self.send({"choices": [{"message": said, "finish_reason": finish}]}, status)

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
    assert "judge-7b gave no usable reply on any of 12 answers." in to_markdown(make_report(run.folder))


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


def tuned_first(text):
    return text.split("Answer A:\n")[1].startswith("In short")


@pytest.mark.parametrize(
    ("for_a", "for_b"),
    [
        ("A is better than B.", "B is better than A."),
        ("A clearer answer.", "B. A clearer answer."),
        ("A or B, I cannot say.", "B or A, I cannot say."),
        ("<think>A, I think", "<think>B, I think, and not A"),
    ],
)
def test_a_reply_that_names_both_letters_or_an_article_turns_no_verdict_round(tmp_path, serve, for_a, for_b):
    address, _ = serve(lambda text: for_a if tuned_first(text) else for_b)
    found = judge_run(make_run(tmp_path / "run").folder, address)
    assert (found["better"], found["worse"], found["no_reply"]) == (0, 0, 12)


@pytest.mark.parametrize(
    ("for_a", "for_b"),
    [
        ("**A**", "(B)"),
        ("A is the better one.", "I prefer B: its list is short."),
        ("<think>B? No, rather A.</think>\n\nA", "A or B? It is B.</think> B"),
    ],
)
def test_a_reply_that_comes_to_one_letter_is_a_verdict(tmp_path, serve, for_a, for_b):
    address, _ = serve(lambda text: for_a if tuned_first(text) else for_b)
    assert judge_run(make_run(tmp_path / "run").folder, address)["better"] == 12


def test_a_reply_that_was_cut_is_no_verdict(tmp_path, serve):
    address, _ = serve(lambda text: "A" if tuned_first(text) else "B", finish="length")
    assert judge_run(make_run(tmp_path / "run").folder, address)["no_reply"] == 12


def test_three_wins_of_three_are_not_a_sure_win(tmp_path, serve):
    found = judge_run(make_run(tmp_path / "run", prompts=3).folder, serve(likes_the_style)[0])
    assert (found["better"], found["interval"]["mean"]) == (3, 1.0)
    assert found["interval"]["low"] < 0


def test_the_judge_reads_the_instruction_that_all_prompts_share(tmp_path, serve):
    run = make_run(tmp_path / "run")
    address, seen = serve(likes_the_style)
    judge_run(run.folder, address)
    assert "How do I copy a file? (0)" in seen[0][2]["messages"][0]["content"]


def test_the_judge_reads_the_whole_conversation_where_the_data_are_there(tmp_path, serve):
    run = make_run(tmp_path / "run", prompts=1)
    turns = [("system", "Be brief."), ("user", "Say it in one line: cats."), ("assistant", reference(0))]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    (run.folder / "data.jsonl").write_text(json.dumps(row) + "\n")
    for path in (run.folder / "samples").iterdir():
        value = read_json(path)
        value["answers"][0]["id"] = Conversation(tuple(Message(*turn) for turn in turns)).id
        write_json(path, value)
    address, seen = serve(likes_the_style)
    judge_run(run.folder, address)
    asked = seen[0][2]["messages"][0]["content"]
    assert "Request:\nSystem: Be brief.\n\nUser: Say it in one line: cats.\n\nAn answer" in asked
