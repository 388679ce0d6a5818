"""Run folders, their lock and their events."""

from __future__ import annotations

import fcntl
import json
import math
import os

import pytest

from tunebook.errors import RunError
from tunebook.plan.files import make_plan
from tunebook.runs.events import EventWriter, read_events
from tunebook.runs.lock import hold_lock, read_owner, writer_of
from tunebook.runs.metrics import columns
from tunebook.runs.status import read_status
from tunebook.runs.store import create_run, free_name, list_runs, open_run, remove_run

PLAN = make_plan({"model": {"name": "m"}, "data": {"path": "d"}})


def test_a_run_folder_is_whole_or_not_there(tmp_path, monkeypatch):
    from tunebook.runs import store

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_json", fail)
    with pytest.raises(RunError, match="No space left"):
        create_run("one", tmp_path, PLAN)
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_its_plan(tmp_path):
    assert create_run("one", tmp_path, PLAN).plan() == PLAN
    assert [run.name for run in list_runs(tmp_path)] == ["one"]


def test_names_are_found_in_order(tmp_path):
    create_run("my-data-1", tmp_path, PLAN)
    assert free_name("My Data", tmp_path) == "my-data-2"
    assert free_name("...", tmp_path) == "run-1"


def test_a_removed_run_is_gone_at_once(tmp_path):
    remove_run(create_run("one", tmp_path, PLAN))
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_another_format_is_refused_with_a_sentence(tmp_path):
    run = create_run("one", tmp_path, PLAN)
    (run.folder / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunError, match="has format 99"):
        open_run("one", tmp_path)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(RunError, match="not a whole run folder"):
        open_run("one", tmp_path)


def test_one_writer_at_a_time(tmp_path):
    with hold_lock(tmp_path) as before:
        assert before is None
        with pytest.raises(RunError, match="being written by process"), hold_lock(tmp_path):
            pass
    with hold_lock(tmp_path) as before:
        assert before is None


def test_a_dead_owners_lock_is_taken_over_with_a_word(tmp_path):
    (tmp_path / "lock.json").write_text(json.dumps({"pid": 2**22 + 1, "started": 1.0, "host": "elsewhere"}))
    with hold_lock(tmp_path) as before:
        assert before is not None
        assert before.host == "elsewhere"
        assert read_owner(tmp_path).alive()


def test_events_are_numbered_without_gaps_over_restarts(tmp_path):
    path = tmp_path / "events.jsonl"
    EventWriter(path).emit("log", message="a")
    with path.open("ab") as file:
        file.write(b'{"seq": 2, "kind": "lo')  # a crash cut this line short
    writer = EventWriter(path)
    writer.emit("log", message="b")
    assert [(event["seq"], event["message"]) for event in read_events(path)] == [(1, "a"), (2, "b")]
    assert [event["seq"] for event in read_events(path, since=1)] == [2]


def test_what_is_not_finite_is_null_and_flagged(tmp_path):
    path = tmp_path / "events.jsonl"
    EventWriter(path).emit(
        "metrics", step=1, values={"training_loss": math.nan, "gradient_norm": math.inf, "memory": 1.0}
    )
    (event,) = read_events(path)
    assert event["values"] == {"training_loss": None, "gradient_norm": None, "memory": 1.0}
    assert event["not_finite"] == ["gradient_norm", "training_loss"]


def test_an_event_that_cannot_be_written_is_told_and_leaves_no_gap(tmp_path, monkeypatch):
    writer = EventWriter(tmp_path / "events.jsonl")
    writer.emit("log", message="a")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(writer.path), "open", full)
        writer.emit("log", message="lost")
    writer.emit("log", message="b")
    events = list(read_events(writer.path))
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert events[2]["message"].startswith("1 event before this one could not be written and is lost")


def test_metrics_of_a_superseded_try_are_left_out(tmp_path):
    run = create_run("one", tmp_path, PLAN)
    writer = EventWriter(run.events)
    for step, loss in ((1, 3.0), (2, 2.0), (3, 1.0)):
        writer.emit("metrics", step=step, epoch=0.1, values={"training_loss": loss})
    writer.emit("run", state="resumed", step=1, reason="")
    writer.emit("metrics", step=2, epoch=0.1, values={"training_loss": 2.5})
    table = columns(run)
    assert (table["step"], table["training_loss"]) == ([1, 2], [3.0, 2.5])


def test_a_run_whose_process_is_gone_is_killed(tmp_path):
    run = create_run("one", tmp_path, PLAN)
    assert read_status(run).state == "waiting"
    writer = EventWriter(run.events)
    writer.emit("run", state="started", reason="")
    writer.emit("step", id="train", state="running")
    status = read_status(run)
    assert status.state == "killed"
    assert "tunebook resume one" in status.reason
    with hold_lock(run.folder):
        assert read_status(run).state == "running"


def test_the_lock_tells_no_writer_once_its_holder_failed(tmp_path):
    def fail():
        assert writer_of(tmp_path).pid == os.getpid()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), hold_lock(tmp_path):
        fail()
    assert read_owner(tmp_path) is None


def test_a_writer_of_a_container_that_is_gone_is_no_writer_and_one_that_holds_the_lock_is(tmp_path):
    stale = json.dumps({"pid": 1, "started": 1.0, "host": "elsewhere"})
    (tmp_path / "lock.json").write_text(stale)
    assert writer_of(tmp_path) is None
    with (tmp_path / "lock.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert writer_of(tmp_path).host == "elsewhere"


def test_the_loss_of_a_finished_run_is_that_of_the_checkpoint_that_was_chosen(tmp_path):
    run = create_run("one", tmp_path, PLAN)
    events = EventWriter(run.events)
    for step, loss in ((10, 1.2), (20, 1.4)):
        place = {"step": step, "epoch": 1.0, "minutes": 1.0, "seen_tokens": 1}
        events.emit("evaluation", **place, values={"validation_loss": loss}, best=step == 10, stopping=[])
    assert read_status(run).result_loss == 1.4
    events.emit("step", id="monitor", state="done", seconds=1.0, evidence={"checkpoint": 10})
    assert read_status(run).result_loss == 1.2


def test_the_time_of_a_run_is_that_of_its_tries_not_of_the_days_between_them(tmp_path):
    run = create_run("one", tmp_path, PLAN)
    said = [("started", 1000.0), ("stopped", 1060.0), ("started", 900_000.0), ("finished", 900_030.0)]
    lines = [{"seq": n, "kind": "run", "state": state, "time": time} for n, (state, time) in enumerate(said, 1)]
    run.events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_status(run).spent == 90.0
