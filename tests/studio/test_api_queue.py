"""The queue and the machine in the API: the same folders and the same commands as on the command line."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.studio.conftest import CHANGE, plan
from tunebook.files import write_json
from tunebook.plan.files import save_plan
from tunebook.queue.entries import enqueue
from tunebook.runs.events import EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.store import create_run
from tunebook.studio import api_machine, api_queue, command


@pytest.fixture
def ask(client):
    def ask(method, path, body=None):
        return client.request(method, f"/api/{path}", headers=CHANGE, content=json.dumps(body or {}))

    return ask


@pytest.fixture
def queued(place):
    """Two runs that wait, of a sweep."""
    for number, rate in ((2, "1e-4"), (1, "3e-4")):
        enqueue(create_run(f"rate-{number}", place.runs, plan()), "rate", {"training.learning_rate": rate})


@pytest.fixture
def commands(monkeypatch):
    """What the studio asks the command line for, and what that answers."""
    asked, answers = [], [(0, "rate-3\nrate-4\n", "")]

    def run(words, **options):
        asked.append(words[words.index("tunebook") + 1 :])
        return subprocess.CompletedProcess(words, *answers[-1])

    monkeypatch.setattr(command.subprocess, "run", run)
    return asked, answers


def test_the_queue_is_listed_in_its_order_with_what_the_sweep_set(ask, queued, place):
    save_plan(plan(), place.folder / "plans" / "one.yaml")
    (place.folder / "answers.yaml").write_text("format: 1\npage: x\nanswers: {}\n")
    found = ask("GET", "queue").json()
    assert [row["name"] for row in found["runs"]] == ["rate-2", "rate-1"]
    assert found["runs"][0]["set"] == {"training.learning_rate": "1e-4"}
    assert found["plans"] == ["plans/one.yaml"]
    assert found["working"] is False


def test_why_a_run_could_not_begin_is_said_once_nothing_works_on_the_queue(ask, queued, place):
    (place.runs / "rate-1" / "run.log").write_text("A warning.\nThe plan does not fit.\n  lora.rank: too much\n")
    found = ask("GET", "queue").json()
    reasons = {row["name"]: row["reason"] for row in found["runs"]}
    assert reasons == {"rate-2": "", "rate-1": "The plan does not fit. lora.rank: too much"}
    (place.runs / ".queue").mkdir()
    with hold_lock(place.runs / ".queue"):  # it may be beginning now
        assert {row["reason"] for row in ask("GET", "queue").json()["runs"]} == {""}


def test_a_finished_run_of_the_queue_is_shown_for_a_day(ask, queued, place, monkeypatch):
    events = EventWriter(place.runs / "rate-2" / "events.jsonl")
    events.emit("run", state="started", reason="")
    events.emit("evaluation", step=1, epoch=1, values={"validation_loss": 2.5}, best=True, stopping=[])
    events.emit("run", state="finished", reason="")
    shown = {row["name"]: row for row in ask("GET", "queue").json()["runs"]}
    assert (shown["rate-2"]["state"], shown["rate-2"]["validation_loss"]) == ("finished", 2.5)
    monkeypatch.setattr(api_queue, "_DAY", -1)
    assert [row["name"] for row in ask("GET", "queue").json()["runs"]] == ["rate-1"]


def test_a_plan_or_a_sweep_is_added_by_the_command(ask, place, commands):
    save_plan(plan(), place.folder / "one.yaml")
    asked, _ = commands
    body = {"plan": "one.yaml", "settings": ["lora.rank=[4, 8]"], "name": "rank"}
    answer = ask("POST", "queue", body)
    assert (answer.status_code, answer.json()) == (201, {"added": ["rate-3", "rate-4"]})
    ask("POST", "queue", {"plan": "one.yaml"})
    file = str(place.folder / "one.yaml")
    runs = ["--runs", str(place.runs)]
    assert asked == [
        ["queue", "sweep", *runs, "--set=lora.rank=[4, 8]", "--name=rank", "--", file],
        ["queue", "add", *runs, "--", file],
    ]


def test_what_the_command_refuses_comes_as_its_sentence(ask, place, commands):
    save_plan(plan(), place.folder / "one.yaml")
    commands[1].append((1, "", "There is too little memory for this plan.\n"))
    answer = ask("POST", "queue", {"plan": "one.yaml"})
    assert answer.status_code in (404, 409)
    assert answer.json()["error"]["what"] == "There is too little memory for this plan."


@pytest.mark.parametrize("name", ["../one.yaml", "/etc/passwd", "", "two.yaml", "one.yaml\0", "answers.yaml"])
def test_only_a_plan_that_is_offered_can_be_added(ask, place, commands, name):
    save_plan(plan(), place.folder.parent / "one.yaml")
    (place.folder / "answers.yaml").write_text("format: 1\n")
    assert ask("POST", "queue", {"plan": name}).status_code == 404
    assert commands[0] == []


def test_a_plan_behind_a_link_that_leads_out_is_not_offered(ask, place, tmp_path_factory):
    outside = tmp_path_factory.mktemp("other") / "plan.yaml"
    save_plan(plan(), outside)
    (place.folder / "plan.yaml").symlink_to(outside)
    assert ask("GET", "queue").json()["plans"] == []


def test_the_worker_is_started_once_and_ended(ask, place, monkeypatch):
    started = []
    monkeypatch.setattr(api_queue, "start_worker", lambda runs: started.append(runs) or 1)
    assert ask("POST", "queue/run").status_code == 202
    (place.runs / ".queue").mkdir()
    with hold_lock(place.runs / ".queue"):
        assert ask("POST", "queue/run").status_code == 202
        assert ask("GET", "queue").json()["working"] is True
    assert started == [place.runs]
    assert ask("POST", "queue/stop").json() == {"ended": False}


def test_a_run_is_taken_out_of_the_queue(ask, queued, place):
    EventWriter(place.runs / "rate-1" / "events.jsonl").emit("run", state="started", reason="")
    with hold_lock(place.runs / "rate-1"):
        assert ask("DELETE", "queue/rate-1").status_code == 409
    assert ask("DELETE", "queue/rate-1").json() == {"removed": False}
    assert ask("DELETE", "queue/rate-2").json() == {"removed": True}
    assert ask("DELETE", "queue/done-1").status_code == 409, "it was never queued"
    assert (place.runs / "rate-1").is_dir()
    assert not (place.runs / "rate-2").exists()
    assert (place.runs / "done-1").is_dir()
    assert ask("GET", "queue").json()["runs"] == []


def test_versions_are_listed_and_a_damaged_or_foreign_one_is_passed_over(ask, place, tmp_path_factory):
    facts = {"format": 1, "run": "done-1", "headline": "Better.", "indicators": [], "created": 1.0}
    base = {"model": "smollm2-135m", "version": None}
    for number, parent in ((1, {"parent": base}), (2, {})):
        write_json(place.runs / ".versions" / f"style@{number}" / "version.json", facts | parent)
    outside = tmp_path_factory.mktemp("other")
    write_json(outside / "version.json", facts | {"parent": base})
    (place.runs / ".versions" / "style@3").symlink_to(outside)
    write_json(place.runs / ".versions" / "style.json", {"format": 1, "line": [1], "log": []})
    (row,) = ask("GET", "versions").json()["versions"]
    assert (row["version"], row["current"], row["run"]) == ("style@1", True, "done-1")
    assert row["lineage"] == ["style@1", "smollm2-135m"]


def test_the_machine_is_told_as_it_is_now_and_the_doctor_asked_once(ask, commands, place):
    found = ask("GET", "machine").json()
    assert 0 < found["memory_free_bytes"] < found["memory_bytes"]
    assert 0 < found["disk_free_bytes"] < found["disk_bytes"]
    assert found["cores"] >= 1
    api_machine._doctor.cache_clear()
    commands[1].append((0, '{"device": "cpu"}', ""))
    assert [ask("GET", "machine/doctor").json() for _ in range(3)] == [{"device": "cpu"}] * 3
    assert commands[0] == [["doctor", "--json"]]
