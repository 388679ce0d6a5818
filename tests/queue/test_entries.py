"""What is in the queue: runs that say so themselves, in the order in which they were added."""

from __future__ import annotations

import pytest

from tests.studio.conftest import plan
from tunebook.errors import RunError
from tunebook.queue import entries as queue
from tunebook.runs.events import EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.store import create_run, free_name, list_runs, remove_run


def names(runs):
    return [entry.run.name for entry in queue.entries(runs)]


def test_runs_stand_in_the_order_in_which_they_were_added(queued, runs):
    for name in ("b-1", "c-1", "a-1"):
        queued(name)
    create_run("not-queued-1", runs, plan())
    assert names(runs) == ["b-1", "c-1", "a-1"]


def test_a_clock_that_is_set_back_changes_no_order(queued, runs, monkeypatch):
    times = iter([2e9, 1e9, 1e9])
    monkeypatch.setattr(queue.time, "time", lambda: next(times))
    for name in ("b-1", "c-1", "a-1"):
        queued(name)
    assert names(runs) == ["b-1", "c-1", "a-1"]


def test_a_run_that_is_removed_leaves_the_queue_with_it(queued, runs):
    remove_run(queued("a-1"))
    assert names(runs) == []


def test_what_a_sweep_set_is_kept_with_its_run(queued, runs):
    queued("a-1", sweep="a", values={"lora.rank": "8"})
    (entry,) = queue.entries(runs)
    assert (entry.sweep, entry.values) == ("a", {"lora.rank": "8"})
    said = queue.row(entry, entry.status())
    assert (said["state"], said["sweep"], said["set"]) == ("waiting", "a", {"lora.rank": "8"})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"added": "x", "sweep": "", "set": {}}'])
def test_a_damaged_file_takes_the_run_out_of_the_queue_and_breaks_nothing(queued, runs, text):
    (queued("a-1").folder / "queued.json").write_text(text)
    queued("b-1")
    assert names(runs) == ["b-1"]
    assert [run.name for run in list_runs(runs)] == ["a-1", "b-1"]


def test_one_that_has_not_begun_goes_whole(queued, runs):
    run = queued("a-1")
    assert queue.dequeue(["a-1"], runs) == {"a-1": True}
    assert not run.folder.exists()


def test_one_that_has_begun_stays_a_run(queued, runs):
    run = queued("a-1")
    EventWriter(run.events).emit("run", state="started", reason="")
    assert queue.dequeue(["a-1"], runs) == {"a-1": False}
    assert run.folder.exists()
    assert names(runs) == []


def test_one_that_a_process_works_on_is_left_alone(queued, runs):
    run = queued("a-1")
    with hold_lock(run.folder), pytest.raises(RunError, match="is being written"):
        queue.dequeue(["a-1"], runs)
    assert names(runs) == ["a-1"]


def test_a_run_that_was_never_queued_is_not_removed(runs):
    run = create_run("a-1", runs, plan())
    with pytest.raises(RunError, match="is not in the queue"):
        queue.dequeue(["a-1"], runs)
    assert run.folder.exists()


@pytest.mark.parametrize("last", ["typo", "not-queued-1", "busy-1"])
def test_of_several_none_is_taken_out_when_one_cannot_be(queued, runs, last):
    queued("a-1")
    EventWriter(queued("b-1").events).emit("run", state="started", reason="")
    create_run("not-queued-1", runs, plan())
    with hold_lock(queued("busy-1").folder), pytest.raises(RunError):
        queue.dequeue(["a-1", "b-1", last], runs)
    assert names(runs) == ["a-1", "b-1", "busy-1"]
    assert queue.dequeue(["a-1", "b-1", "a-1", "busy-1"], runs) == {"a-1": True, "b-1": False, "busy-1": True}
    assert names(runs) == []


def test_of_several_plans_none_is_queued_when_one_cannot_be(runs, monkeypatch):
    def prepare(plan, name, runs):
        if plan is bad:
            raise RunError("The data are not there.")
        return create_run(free_name("rows", runs), runs, plan)

    good, bad = plan(), plan()
    monkeypatch.setattr("tunebook.workflow.start.prepare_run", prepare)
    with pytest.raises(RunError, match="The data are not there"):
        queue.add_runs([good, good, bad], None, runs)
    assert list_runs(runs) == []
    assert [run.name for run in queue.add_runs([good, good], None, runs)] == names(runs) == ["rows-1", "rows-2"]
