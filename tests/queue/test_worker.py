"""The worker: one run after another, whatever becomes of each; one worker; what it left is taken up by the next."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from tests.queue.test_entries import names
from tunebook.errors import RunError
from tunebook.queue import worker
from tunebook.queue.entries import home
from tunebook.runs.events import EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.status import read_status

HOLD = (
    "import sys; from pathlib import Path; from tunebook.runs.events import EventWriter\n"
    "from tunebook.runs.lock import hold_lock\n"
    "folder = Path(sys.argv[1])\n"
    "with hold_lock(folder):\n"
    "    events = EventWriter(folder / 'events.jsonl'); events.emit('run', state='started', reason='')\n"
    "    print('begun', flush=True); sys.stdin.read(); events.emit('run', state='finished', reason='')\n"
)


@pytest.fixture
def begin(monkeypatch):
    """Runs that end at once as `ends` says; `begun` has their names in order."""
    begun, ends = [], {}

    def start(run):
        begun.append(run.name)
        state = ends.get(run.name, "finished")
        if callable(state):
            state = state()
        if state != "waiting":
            events = EventWriter(run.events)
            events.emit("run", state="started", reason="")
            if state != "killed":
                events.emit("run", state=state, reason="as the test wants")
        done = subprocess.Popen([sys.executable, "-c", ""])
        done.wait()
        return done.pid

    monkeypatch.setattr("tunebook.workflow.start.start_detached", start)
    return begun, ends


def test_runs_are_taken_in_order_and_one_that_fails_does_not_end_the_queue(queued, runs, begin):
    begun, ends = begin
    ends |= {"b-1": "failed", "c-1": "stopped"}
    for name in ("a-1", "b-1", "c-1", "d-1"):
        queued(name)
    said = []
    ended = worker.work(runs, said.append)
    assert begun == ["a-1", "b-1", "c-1", "d-1"]
    assert [status.state for status in ended] == ["finished", "failed", "stopped", "finished"]
    assert "'b-1' is failed. as the test wants." in said
    assert worker.work(runs, said.append) == [], "what failed or was stopped is not tried again by itself"


def test_what_is_added_meanwhile_is_taken_too(queued, runs, begin):
    begun, ends = begin
    ends["a-1"] = lambda: queued("b-1") and "finished"
    queued("a-1")
    worker.work(runs, str)
    assert begun == ["a-1", "b-1"]


def test_a_run_whose_process_was_killed_goes_on_first_and_once(queued, runs, begin):
    begun, ends = begin
    ends["b-1"] = "killed"
    queued("a-1")
    EventWriter(queued("b-1").events).emit("run", state="started", reason="")
    worker.work(runs, str)
    assert begun == ["b-1", "a-1"]


def test_a_process_that_never_begins_its_run_does_not_hold_the_queue_up(queued, runs, begin):
    begun, ends = begin
    ends["a-1"] = "waiting"
    said = []
    queued("a-1")
    queued("b-1")
    worker.work(runs, said.append)
    assert begun == ["a-1", "b-1"]
    assert any("run.log says why" in line for line in said)
    assert names(runs) == ["a-1", "b-1"], "and it still waits"


def test_a_run_that_is_removed_while_it_waits_is_passed_over(queued, runs, monkeypatch):
    def start(run):
        raise FileNotFoundError(run.folder)

    monkeypatch.setattr("tunebook.workflow.start.start_detached", start)
    queued("a-1")
    assert [status.state for status in worker.work(runs, str)] == ["waiting"]


def test_a_run_that_is_under_way_is_waited_for(queued, runs, begin):
    """As after a restart of the worker: the run has a process of its own."""
    begun, _ = begin
    first = queued("a-1")
    queued("b-1")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(first.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    told = threading.Event()
    thread = threading.Thread(target=worker.work, args=(runs, lambda line: told.set()))
    thread.start()
    assert told.wait(20)
    thread.join(0.3)
    assert thread.is_alive()
    assert begun == []
    process.communicate()
    thread.join(20)
    assert begun == ["b-1"]
    assert read_status(first).state == "finished"


def test_there_is_one_worker(queued, runs):
    queued("a-1")
    home(runs).mkdir()
    with hold_lock(home(runs)), pytest.raises(RunError, match="is taking the runs of this queue"):
        worker.work(runs, str)
    assert read_status(queued("b-1")).state == "waiting"


def test_without_a_worker_there_is_none_to_end(runs):
    assert worker.end_worker(runs) is False
