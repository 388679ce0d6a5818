"""Export, deployment test and promotion: the command line's words, in a process that outlives the studio."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.studio.conftest import CHANGE
from tunebook.runs.lock import hold_lock
from tunebook.studio import api_work

AT = "/api/runs/done-1/work"


@pytest.fixture(autouse=True)
def fresh():
    api_work._started.clear()


@pytest.fixture
def pretend(monkeypatch):
    """Instead of the command line, a process that runs `code`; what it was called with is collected."""
    called = []
    real = subprocess.Popen

    def instead(code):
        def popen(command, **more):
            called.append(command[command.index("tunebook") + 1 :])
            return real([sys.executable, "-c", code], **more)

        monkeypatch.setattr(api_work.subprocess, "Popen", popen)
        return called

    return instead


def until(client, state):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = client.get(AT).json()["work"]
        if found and found["state"] == state:
            return found
        time.sleep(0.02)
    raise AssertionError(f"never {state}: {found}")


def ask(client, **words):
    return client.post(AT, json=words, headers=CHANGE)


def test_what_a_process_says_and_how_it_ended_are_shown(client, pretend):
    pretend("print('Loading ...'); print('half\\rwhole')")
    assert client.get(AT).json()["work"] is None
    assert ask(client, what="export", format="gguf").status_code == 202
    assert until(client, "done") == {"what": "export", "state": "done", "said": ["Loading ...", "whole"]}


def test_a_failure_is_shown_with_its_sentence(client, pretend):
    pretend("import sys; sys.exit('Error: the disk is full')")
    ask(client, what="deploy-test")
    assert until(client, "failed")["said"] == ["Error: the disk is full"]


def test_the_command_line_gets_words_and_never_a_shell(client, pretend, place):
    called = pretend("pass")
    known = [f"--runs={place.runs}", "--", "done-1"]
    ask(client, what="export", format="adapter")
    until(client, "done")
    ask(client, what="promote", version="house", reason="$(touch x); --as=y")
    until(client, "done")
    assert called == [
        ["export", "--format=adapter", *known],
        ["versions", "promote", "--reason=$(touch x); --as=y", "--as=house", *known],
    ]


def test_one_thing_at_a_time(client, pretend, place):
    pretend("import sys; sys.stdin.read()")
    with hold_lock(place.run("done-1").folder):  # a terminal exports it
        assert client.get(AT).json()["work"] == {"what": "other", "state": "running", "said": []}
        answer = ask(client, what="export")
    assert answer.status_code == 409
    assert "is being worked on" in answer.json()["error"]["what"]


def test_what_is_no_work_is_refused(client):
    assert ask(client, what="rm").status_code == 422
    assert ask(client, what="export", format="exe").status_code == 422
    assert client.get("/api/runs/nobody/work").status_code == 404
