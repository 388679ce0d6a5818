"""The feed: every event once and in order, from any number on, and what else a tab follows."""

from __future__ import annotations

import asyncio

import pytest

from tests.studio.conftest import CHANGE, HOST, plan
from tunebook.runs.events import EventWriter, read_events
from tunebook.runs.store import create_run
from tunebook.studio.feed import Cursor

pytestmark = pytest.mark.slow  # seconds together


@pytest.fixture
def connect(client):
    def connect():
        return client.websocket_connect(f"ws://{HOST}/api/feed", headers={"origin": CHANGE["origin"]})

    return connect


def events_until(socket, name, last):
    """Events of a run, up to the one numbered `last`."""
    found = []
    while not found or found[-1]["seq"] < last:
        message = socket.receive_json()
        if message.get("run") == name:
            found += message["events"]
    return found


def test_a_run_is_replayed_whole_and_then_followed(connect, place):
    run = create_run("grows-1", place.runs, plan())
    events = EventWriter(run.events)
    for number in range(2000):
        events.emit("log", message=f"line {number} " + "x" * 600)
    with connect() as socket:
        socket.send_json({"runs": {"grows-1": 0}})
        assert events_until(socket, "grows-1", 2000) == list(read_events(run.events))
        events.emit("metrics", step=1, epoch=0, values={"training_loss": float("nan")}, parts={})
        (last,) = events_until(socket, "grows-1", 2001)
    assert last["values"] == {"training_loss": None}


def test_events_are_read_beside_the_loop_that_serves_everybody(connect, place, monkeypatch):
    real, loops = Cursor.read, []

    def read(cursor):
        loops.append(asyncio._get_running_loop())
        return real(cursor)

    monkeypatch.setattr(Cursor, "read", read)
    with connect() as socket:
        socket.send_json({"runs": {"done-1": 0}})
        events_until(socket, "done-1", 3)
    assert set(loops) == {None}


def test_a_tab_that_comes_back_is_sent_only_what_it_lacks(connect, place):
    last = list(read_events(place.run("done-1").events))[-1]["seq"]
    with connect() as socket:
        socket.send_json({"runs": {"done-1": last - 3}})
        assert [event["seq"] for event in events_until(socket, "done-1", last)] == [last - 2, last - 1, last]


def test_the_status_comes_with_the_events(connect):
    with connect() as socket:
        socket.send_json({"runs": {"done-1": 0}})
        while "status" not in (message := socket.receive_json()):
            pass
    assert message["status"]["state"] == "finished"
    assert message["status"]["steps"][0]["title"]


def test_several_runs_come_through_one_socket(connect):
    with connect() as socket:
        socket.send_json({"runs": {"done-1": 0, "broken-1": 0}})
        names = set()
        while names != {"done-1", "broken-1"}:
            names.add(socket.receive_json().get("run"))


def test_the_list_comes_whole_and_then_by_its_changes(connect, place):
    with connect() as socket:
        socket.send_json({"list": True})
        whole = socket.receive_json()
        assert {row["name"] for row in whole["list"]} == {"done-1", "broken-1"}
        assert whole["all"] is True, "a tab that was away lets go of what is gone"
        create_run("new-1", place.runs, plan())
        change = socket.receive_json()
        assert [row["name"] for row in change["list"]] == ["new-1"]
        assert "all" not in change


def test_a_removed_run_is_said_to_be_gone(connect, client):
    with connect() as socket:
        socket.send_json({"runs": {"done-1": 0}, "list": True})
        seen = []
        while len(seen) < 2:
            message = socket.receive_json()
            seen += ["status"] * ("status" in message) + ["list"] * ("list" in message)
        client.request("DELETE", "/api/runs/done-1", headers=CHANGE, content="{}")
        gone = []
        while len(gone) < 2:
            message = socket.receive_json()
            gone += [message.get("run")] * (message.get("gone") is True) + (
                message["gone"] if "list" in message else []
            )
    assert gone == ["done-1", "done-1"]


def test_a_run_that_was_removed_while_the_studio_was_away_is_said_to_be_gone(connect):
    with connect() as socket:
        socket.send_json({"runs": {"removed-1": 120, "done-1": 0}})
        seen = {}
        while set(seen) != {"removed-1", "done-1"}:
            message = socket.receive_json()
            seen[message["run"]] = message.get("gone", False)
    assert seen == {"removed-1": True, "done-1": False}


def test_answers_given_in_another_tab_are_told(connect, client):
    with connect() as socket:
        socket.send_json({"answers": ["phase-3-fine-tuning", "../../etc"], "runs": {"broken-1": 0}})
        while "status" not in socket.receive_json():
            pass
        body = {"changes": {"batch-size": "16 (Standard)"}}
        assert client.post("/api/pages/phase-3-fine-tuning/answers", headers=CHANGE, json=body).status_code == 200
        while "answers" not in (message := socket.receive_json()):
            pass
    assert message["answers"] == "phase-3-fine-tuning"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no",
        "[]",
        '{"runs": [1]}',
        '{"runs": {"done-1": "x"}}',
        '{"runs": {"../x": 0}}',
        '{"runs": {"done-1": Infinity}}',
        "[" * 100_000,
    ],
    ids=range(8),
)
def test_what_makes_no_sense_ends_nothing(connect, said):
    with connect() as socket:
        socket.send_text(said)
        socket.send_json({"list": True})
        while "list" not in socket.receive_json():
            pass
