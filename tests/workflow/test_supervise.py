"""What is said of workers that ended, from what torchrun knows of them."""

from __future__ import annotations

import signal

import pytest

from tunebook.runs.events import EventTail, EventWriter
from tunebook.runs.store import Run
from tunebook.workers.options import WorkerOptions
from tunebook.workflow.supervise import _killed, _sentence, _show


def failure(rank, code, time=100, message=""):
    return {"rank": rank, "pid": 4700 + rank, "code": code, "time": time, "message": message}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "first")


def test_a_killed_worker_is_named_with_the_signal(run):
    ended = [failure(0, 75, message="One is gone."), failure(1, -signal.SIGKILL, time=101)]
    said = _sentence(run, WorkerOptions(2), ended)
    assert "Worker 1 of 0 to 1 (process 4701) was killed by SIGKILL. No optimizer step was saved yet." in said
    assert "`tunebook resume first --workers 2`" in said


def test_what_torchrun_itself_killed_is_not_what_ended_the_run(run):
    """A worker that hangs is killed half a minute after the others have given it up; others get SIGTERM."""
    ended = [
        failure(0, 75, message="Worker 1 hangs."),
        failure(1, -signal.SIGKILL, time=131),
        failure(2, -signal.SIGTERM),
    ]
    assert _killed(ended) is None
    assert _sentence(run, WorkerOptions(3), ended) == "Worker 1 hangs."


def test_without_a_word_the_log_is_named(run):
    assert "run.log" in _sentence(run, WorkerOptions(2), [])


def test_a_terminal_that_is_gone_does_not_end_the_run(run):
    run.folder.mkdir()
    tail, seen = EventTail(run.events), []
    EventWriter(run.events).emit("log", message="one")

    def gone(event):
        raise BrokenPipeError

    _show(tail, [gone, seen.append])
    assert [event["message"] for event in seen] == ["one"]
