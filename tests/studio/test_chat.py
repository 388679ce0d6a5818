"""Conversations: a child process a socket, which ends with it; the server itself loads no model."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
from starlette.websockets import WebSocketDisconnect

from tests.studio.conftest import HOST, TOKEN
from tunebook.files import write_json
from tunebook.studio import chat

# What `tunebook chat --json` does, without a model: it says its pid, repeats questions, and ends with its input.
CHILD = """
import json, os, sys
def tell(**m): print(json.dumps(m), flush=True)
if "--step=9" in sys.argv: sys.exit("Error: there is no checkpoint 9")
tell(ready=["base", "tuned"], pid=os.getpid(), argv=sys.argv[1:])
for line in sys.stdin:
    said = json.loads(line)
    tell(who=0, piece=str(said.get("ask") or ("new" if said.get("new") else "?")))
    tell(idle=True)
"""
HEADERS = {"origin": f"http://{HOST}", "cookie": f"tunebook={TOKEN}"}


@pytest.fixture(autouse=True)
def child(monkeypatch):
    monkeypatch.setattr(chat, "_CHILD", [sys.executable, "-c", CHILD])


def talk(client, name="done-1", query=""):
    return client.websocket_connect(f"ws://{HOST}/api/chat/{name}{query}", headers=HEADERS)


def test_questions_are_answered_by_a_child_that_ends_with_the_tab(client):
    with talk(client) as socket:
        ready = socket.receive_json()
        socket.send_json({"ask": "Hello <b>"})
        assert [socket.receive_json(), socket.receive_json()] == [{"who": 0, "piece": "Hello <b>"}, {"idle": True}]
        socket.send_json({"new": True})
        assert socket.receive_json() == {"who": 0, "piece": "new"}
        process = psutil.Process(ready["pid"])
    process.wait(10)


def test_the_child_is_told_which_run_and_checkpoint(client, place):
    with talk(client, query="?step=40&base=false") as socket:
        assert socket.receive_json()["argv"] == [f"--runs={place.runs}", "--step=40", "--", "done-1"]
    with talk(client) as socket:
        assert socket.receive_json()["argv"] == [f"--runs={place.runs}", "--with-base", "--", "done-1"]


def test_a_version_is_talked_with_under_its_name(client, place):
    folder = place.runs / ".versions" / "house@1"
    write_json(folder / "version.json", {"format": 1, "run": "done-1"})
    write_json(folder.parent / "house.json", {"format": 1, "line": [1], "log": []})
    for name in ("house@1", "house"):
        with talk(client, name) as socket:
            assert socket.receive_json()["argv"] == [f"--runs={place.runs}", "--", "house@1"]
    with talk(client, "house@2") as socket:
        assert "There is no version 'house@2'" in socket.receive_json()["gone"]


def test_a_child_that_cannot_begin_says_why(client):
    with talk(client, query="?step=9") as socket:
        assert socket.receive_json() == {"gone": "Error: there is no checkpoint 9"}


def test_a_run_that_is_not_there_is_a_sentence(client):
    with talk(client, "nobody") as socket:
        assert "There is no run 'nobody'" in socket.receive_json()["gone"]


def test_one_conversation_too_many_is_refused(client):
    with talk(client), talk(client), talk(client), talk(client) as fourth:
        assert "are open already" in fourth.receive_json()["gone"]


def test_what_is_no_question_reaches_the_child_as_nothing(client):
    with talk(client) as socket:
        socket.receive_json()
        for text in ("[]", "half {", '{"ask": null, "new": false}'):
            socket.send_text(text)
            assert socket.receive_json()["piece"] in ("?", "None")
            socket.receive_json()


def test_a_stranger_gets_no_conversation(client):
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(f"ws://{HOST}/api/chat/done-1", headers=HEADERS | {"origin": "http://elsewhere"}),
    ):
        pass


def test_the_studio_loads_no_torch():
    code = (
        "import sys, tunebook.studio.app, tunebook.studio.serve, tunebook.workflow.inputs\n"  # the last for a resume
        "print([name for name in ('torch', 'transformers', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
