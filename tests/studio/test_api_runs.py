"""The runs in the API: read from their folders, kept up to date, never a NaN, and nothing outside the folder."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from tests.studio.conftest import CHANGE, plan
from tunebook.files import write_json
from tunebook.plan.files import make_plan, save_plan, values_by_path
from tunebook.runs.events import EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.metrics import columns
from tunebook.runs.status import read_status
from tunebook.runs.store import create_run
from tunebook.studio import api_work
from tunebook.studio.live import Live


def test_the_list_says_of_each_run_what_the_command_says(client, place):
    rows = {row["name"]: row for row in client.get("/api/runs").json()["runs"]}
    assert set(rows) == {"done-1", "broken-1"}
    for name, row in rows.items():
        said = read_status(place.run(name)).to_json()
        assert {key: said[key] for key in row} == row


def test_metrics_are_the_commands_columns_with_null_for_what_is_not_finite(client, place):
    for name in ("done-1", "broken-1"):
        answer = client.get(f"/api/runs/{name}/metrics")
        assert "NaN" not in answer.text
        assert answer.json()["metrics"] == columns(place.run(name))
    assert answer.json()["metrics"]["training_loss"] == [2.5, 2.4, None, None]
    assert [item["metric"] for item in answer.json()["metrics"]["not_finite"]] == ["training_loss"] * 2
    assert client.get("/api/runs/broken-1/metrics?since=3").json()["metrics"]["step"] == [3, 4]


def test_a_run_is_kept_up_to_date_and_a_resumed_one_loses_its_superseded_steps(tmp_path):
    run = create_run("grows-1", tmp_path, plan())
    live, events = Live(run), EventWriter(run.events)
    live.table()

    def check():
        assert live.table()[1] == columns(run)
        assert live.status().to_json() == read_status(run).to_json()

    events.emit("run", state="started", reason="", pid=1)
    for step in range(1, 8):
        events.emit("metrics", step=step, epoch=0.1, values={"training_loss": 1 / step}, parts={})
        check()
    events.emit("evaluation", step=7, epoch=0.1, values={"validation_loss": 2.0}, best=True, stopping=[])
    events.emit("checkpoint", step=7, ok=False, best=False, removed=[])
    events.emit("run", state="resumed", step=4, reason="", pid=1)
    check()
    events.emit("metrics", step=5, epoch=0.1, values={"training_loss": float("nan"), "memory": 7}, parts={})
    with run.events.open("ab") as file:
        file.write(b'{"seq": 99, "half a li')  # a write under way
    check()


def test_an_evaluation_that_a_resumed_run_tells_again_stands_once_as_it_was_told_last(tmp_path):
    run = create_run("twice-1", tmp_path, plan())
    live, events = Live(run), EventWriter(run.events)
    live.table()

    def evaluate(step, loss, **more):
        events.emit(
            "evaluation", step=step, epoch=0.1, values={"validation_loss": loss, **more}, best=True, stopping=[]
        )
        assert live.table()[1] == Live(run).table()[1] == columns(run)

    evaluate(0, 2.5, perplexity=12.2)
    for step in range(1, 5):
        events.emit("metrics", step=step, epoch=0.1, values={"training_loss": 1 / step}, parts={})
    evaluate(4, float("nan"), bleu=3.0)
    events.emit("run", state="resumed", step=4, reason="", pid=1)
    evaluate(0, 2.4)  # the base, measured again: the rows are no more in the order of their steps
    evaluate(4, 2.0)
    found = live.table()[1]
    assert found["step"] == [1, 2, 3, 4, 0, 4]
    assert found["validation_loss"] == [None] * 4 + [2.4, 2.0]
    assert found["not_finite"] == []
    assert not {"bleu", "perplexity"} & set(found), "what only the earlier tellings held is gone with them"
    assert live.table(since=6)[1] == columns(run, since=6)
    events.emit("run", state="resumed", step=2, reason="", pid=1)
    assert live.table()[1]["step"] == [1, 2, 0]
    evaluate(4, 1.9)


def test_a_file_that_begins_anew_is_read_anew(tmp_path):
    run = create_run("again-1", tmp_path, plan())
    live = Live(run)
    for steps in (5, 2):
        run.events.unlink(missing_ok=True)
        events = EventWriter(run.events)
        for step in range(steps):
            events.emit("metrics", step=step, epoch=0, values={"training_loss": 1.0}, parts={})
        assert live.table()[1]["step"] == list(range(steps))


def test_a_run_whose_process_is_gone_says_so_and_how_to_go_on(client):
    found = client.get("/api/runs/broken-1").json()
    assert found["state"] == "killed"
    assert "resume" in found["reason"]
    assert [step["title"] for step in found["steps"]][0] == "Initialize training pipeline and environment"


@pytest.mark.parametrize("name", ["..", "%2e%2e", "%252e%252e", "a%2f..%2fb", "done-1%00", "A", ";x", "-x", "x" * 65])
def test_a_name_that_is_no_run_is_refused_with_a_sentence(client, name):
    for path in (f"/api/runs/{name}", f"/api/runs/{name}/log", f"/api/runs/{name}/samples/0"):
        answer = client.get(path)
        assert 400 <= answer.status_code < 500
        assert answer.json()["error"]["what"]


def test_a_run_folder_that_leads_elsewhere_is_not_read(client, place, tmp_path_factory):
    outside = create_run("outside-1", tmp_path_factory.mktemp("other"), plan())
    (outside.folder / "run.log").write_text("secret")
    (place.runs / "link-1").symlink_to(outside.folder)
    answer = client.get("/api/runs/link-1/log")
    assert answer.status_code == 409
    assert "secret" not in answer.text


def test_the_answers_at_a_step_come_as_they_are(client, place):
    rows = {"step": 7, "answers": [{"id": "x", "prompt": "<script>", "answer": "\ud800 é 🙂 \u202e", "ended": True}]}
    write_json(place.runs / "done-1" / "samples" / "step-7.json", {})
    (place.runs / "done-1" / "samples" / "step-7.json").write_text(json.dumps(rows))
    answer = client.get("/api/runs/done-1/samples/7")
    assert answer.json()["answers"][0]["prompt"] == "<script>"
    assert "🙂" in answer.json()["answers"][0]["answer"]
    assert answer.headers["content-type"] == "application/json"
    assert client.get("/api/runs/done-1/samples/8").status_code == 404
    assert client.get("/api/runs/done-1/samples/x").status_code == 422


def test_a_run_is_removed_and_one_that_is_written_is_not(client, place):
    with hold_lock(place.runs / "done-1"):
        assert client.request("DELETE", "/api/runs/done-1", headers=CHANGE, content="{}").status_code == 409
    assert client.request("DELETE", "/api/runs/done-1", headers=CHANGE, content="{}").status_code == 200
    assert not (place.runs / "done-1").exists()
    assert client.get("/api/runs/done-1").status_code == 404


def test_a_finished_run_is_not_resumed_and_an_idle_one_not_stopped(client):
    assert client.post("/api/runs/done-1/resume", headers=CHANGE, content="{}").status_code == 409
    assert client.post("/api/runs/done-1/stop", headers=CHANGE, content="{}").json() == {"asked": False}


def test_a_running_run_is_asked_to_stop_through_its_folder(client, place):
    with hold_lock(place.runs / "broken-1"):
        answer = client.post("/api/runs/broken-1/stop", headers=CHANGE, content='{"discard": true}')
    assert answer.json() == {"asked": True}
    assert json.loads((place.runs / "broken-1" / "stop.json").read_text())["discard"] is True


@pytest.fixture
def resume(client, place, monkeypatch):
    """Ask for broken-1 to go on with a plan of these values; the answer, and the runs that were started."""

    def resume(**training):
        base = {"model": {"name": "owner/base"}, "data": {"path": "/rows.jsonl"}}
        save_plan(make_plan(base | {"training": training}), place.runs / "broken-1" / "plan.yaml")
        return client.post("/api/runs/broken-1/resume", headers=CHANGE, content="{}"), started

    started = []
    monkeypatch.setattr("tunebook.workflow.start.start_detached", lambda run: started.append(run.name) or 1)
    return resume


def test_resume_starts_the_command_in_a_session_of_its_own(resume):
    answer, started = resume()
    assert answer.status_code == 202
    assert started == ["broken-1"]


def test_a_run_that_cannot_go_on_with_its_plan_is_not_started_and_says_why(resume, client, place):
    run = place.run("broken-1")
    _, started = resume(learning_rate=1e-4)
    write_json(run.folder / "data" / "started.json", values_by_path(run.plan()))
    started.clear()
    answer, started = resume(learning_rate=2e-4)
    assert answer.status_code == 409
    assert answer.json()["error"]["faults"] == [{"where": "training.learning_rate", "message": "was 0.0001, is 0.0002"}]
    (run.folder / "plan.yaml").write_text("model: [")
    assert client.post("/api/runs/broken-1/resume", headers=CHANGE, content="{}").status_code == 409
    assert started == []


def test_a_run_under_the_name_of_one_that_was_removed_has_none_of_its_work(client, place):
    api_work._started[str(place.run("done-1").folder)] = api_work.Work("export", SimpleNamespace(poll=lambda: 0), 0)
    assert client.get("/api/runs/done-1/work").json()["work"]["state"] == "done", "without its log, too"
    client.request("DELETE", "/api/runs/done-1", headers=CHANGE, content="{}")
    create_run("done-1", place.runs, plan())
    assert client.get("/api/runs/done-1/work").json()["work"] is None


@pytest.mark.slow
def test_a_thousand_runs_are_listed_in_under_200_ms(client, place):
    lines = (place.runs / "done-1" / "events.jsonl").read_bytes()
    for number in range(1000):
        folder = place.runs / f"many-{number}"
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(lines)
        write_json(folder / "run.json", {"format": 1})
    client.get("/api/runs")  # the studio reads them once when it starts
    times = []
    for _ in range(3):
        begun = time.process_time()
        assert len(client.get("/api/runs").json()["runs"]) == 1002
        times.append(time.process_time() - begun)
    assert min(times) < 0.2, "seconds of CPU, so that a busy machine changes nothing"
