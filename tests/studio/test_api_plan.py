"""The plan beside a page, what the data means for it, and a run that is started from there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.studio.conftest import CHANGE, plan
from tests.tiny import save_tiny
from tunebook.plan.files import load_plan
from tunebook.plan.learning_rate import multiplier
from tunebook.runs.store import create_run

KEY = "phase-3-fine-tuning"


@pytest.fixture
def ask(client):
    def ask(path, **body):
        return client.post(f"/api/{path}", headers=CHANGE, json={"page": KEY, **body})

    return ask


@pytest.fixture
def give(client):
    def give(changes):
        client.post(f"/api/pages/{KEY}/answers", headers=CHANGE, json={"changes": changes})

    return give


def test_the_plan_follows_the_answers_and_says_where_each_value_is_from(ask, give):
    give({"learning-rate": "5e-5 (Aggressive)", "what-criteria-will-trigger-early-stopping": "after 2 hours"})
    found = ask("plan").json()
    assert found["plan"]["training"]["learning_rate"]["value"] == 5e-5
    assert found["plan"]["training"]["learning_rate"]["from"] == "answer"
    assert found["rules"] == ["stop after 2 hours"]


def test_the_curve_is_the_schedule_that_training_takes(ask):
    found = ask("plan").json()
    warmup = plan().training.warmup
    assert found["curve"] == [[step, multiplier(step, 1000, warmup)] for step, _ in found["curve"]]
    assert found["steps"] is None


def test_advice_changes_the_plan_only_once_it_is_accepted(ask):
    advice = ask("plan").json()["plan"]["advice"][0]
    assert advice["path"] == "training.learning_rate"
    before, after = (ask("plan", accept=accept).json()["plan"] for accept in ([], [advice["path"]]))
    assert before["training"]["learning_rate"]["value"] == 3e-5
    assert after["training"]["learning_rate"] | {"why": ""} == {"value": advice["value"], "from": "advice", "why": ""}


def test_every_fault_is_told_at_once_in_the_pages_words(ask, give):
    give({"how-often-will-you-evaluate-the-model-during-training": "Custom schedule"})
    give({"arrange-fine-tuning-steps-in-correct-order": []})
    (fault,) = ask("plan").json()["error"]["faults"]
    assert fault["where"] == "How often is the held-out data looked at?"


@pytest.mark.parametrize(
    "name", ["../x.jsonl", "/etc/passwd", "a\0.jsonl", "link.jsonl", "rows.txt", "x" * 5000 + ".jsonl"]
)
def test_data_outside_the_folder_is_not_opened(ask, client, place, name, tmp_path_factory):
    secret = tmp_path_factory.mktemp("other") / "secret.jsonl"
    secret.write_text('{"prompt": "a", "completion": "secret"}\n')
    (place.folder / "link.jsonl").symlink_to(secret)
    (place.folder / "rows.txt").write_text("x")
    for path in ("plan", "facts", "runs"):
        assert ask(path, data=name).status_code == 404
    for path, more in (("check", {}), ("show", {"model": "m", "row": 1})):
        body = {"file": name, **more}
        assert client.post(f"/api/data/{path}", headers=CHANGE, json=body).status_code in (404, 422)
    assert not list(place.folder.glob("plans/*"))


def test_a_run_is_started_by_the_command_with_the_plan_of_the_answers(ask, give, place, monkeypatch):
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    give({"batch-size": "8 (Balanced)"})
    calls = []

    def command(arguments, folder, **_):
        calls.append(arguments[:-1])
        create_run("rows-1", place.runs, load_plan(Path(arguments[-1])))
        return subprocess.CompletedProcess(arguments, 0, "rows-1\n", "")

    monkeypatch.setattr("tunebook.studio.api_plan.call", command)
    assert ask("runs", data="rows.jsonl", model="-rf").json() == {"started": "rows-1"}
    (arguments,) = calls
    assert arguments == [
        "run",
        "--name=rows-1",
        f"--runs={place.runs}",
        "--detach",
        "--",
    ]
    assert [file.name for file in (place.folder / "plans").iterdir()] == ["rows-1.yaml"]
    made = place.run("rows-1").plan()
    assert made == load_plan(place.folder / "plans" / "rows-1.yaml")
    assert made.training.batch_size == 8
    assert made.data.path == str(place.folder / "rows.jsonl")
    assert "batch-size: 8" in (place.runs / "rows-1" / "answers.yaml").read_text()


def test_a_model_in_the_folder_is_found_from_where_the_plan_lies(ask, place, monkeypatch):
    (place.folder / "rows.jsonl").write_text("x\n")
    (place.folder / "tiny").mkdir()
    named = []

    def command(arguments, *_, **__):
        named.append(load_plan(Path(arguments[-1])).model.name)
        return subprocess.CompletedProcess([], 1, "", "no")

    monkeypatch.setattr("tunebook.studio.api_plan.call", command)
    ask("runs", data="rows.jsonl", model="tiny")
    assert named == [str(place.folder / "tiny")]


def test_a_plan_of_a_page_is_put_into_the_queue(ask, place, monkeypatch):
    (place.folder / "rows.jsonl").write_text("x\n")
    asked = []

    def run(words, *_, **__):
        asked.append(words[:-1])
        create_run("rows-1", place.runs, load_plan(Path(words[-1])))
        return subprocess.CompletedProcess([], 0, "rows-1\n", "")

    monkeypatch.setattr("tunebook.studio.api_plan.call", run)
    assert ask("runs", data="rows.jsonl", queue=True).json() == {"started": "rows-1"}
    assert asked == [["queue", "add", "--name=rows-1", f"--runs={place.runs}", "--"]]
    assert (place.folder / "plans" / "rows-1.yaml").exists()


def test_a_start_that_is_refused_says_why(ask, place, monkeypatch):
    (place.folder / "rows.jsonl").write_text("x\n")
    said = subprocess.CompletedProcess([], 1, "", "Nothing in rows.jsonl can be trained.\n")
    monkeypatch.setattr("tunebook.studio.api_plan.call", lambda *_, **__: said)
    answer = ask("runs", data="rows.jsonl")
    assert answer.status_code == 409
    assert answer.json()["error"]["what"] == "Nothing in rows.jsonl can be trained."
    assert ask("runs", data="rows.jsonl", name="done-1").status_code == 409
    assert ask("runs", data="rows.jsonl", name="../x").status_code == 409
    assert not list((place.folder / "plans").iterdir())


def test_two_starts_on_the_same_data_at_once_take_two_names_and_keep_two_plans(ask, place, monkeypatch):
    (place.folder / "rows.jsonl").write_text("x\n")
    seeds = iter((1, 2))

    def command(arguments, *_, **__):
        plan = load_plan(Path(arguments[-1]))
        if plan.training.seed == 1:  # the second start begins before the first has made its run
            assert start(next(seeds)).json() == {"started": "rows-2"}
            assert ask("runs", data="rows.jsonl", name="rows-1").status_code == 409
        create_run(arguments[1].removeprefix("--name="), place.runs, plan)
        return subprocess.CompletedProcess([], 0, "", "")

    def start(seed):
        return ask("runs", data="rows.jsonl", settings=[f"training.seed={seed}"])

    monkeypatch.setattr("tunebook.studio.api_plan.call", command)
    assert start(next(seeds)).json() == {"started": "rows-1"}
    for name, seed in (("rows-1", 1), ("rows-2", 2)):
        assert load_plan(place.folder / "plans" / f"{name}.yaml").training.seed == seed
        assert place.run(name).plan().training.seed == seed


@pytest.mark.slow
def test_data_is_looked_at_and_shown_by_the_command(ask, client, place):
    save_tiny(place.folder / "tiny")
    rows = [json.dumps({"prompt": f"What is it {n}?", "completion": f"A fox {n}."}) for n in range(40)]
    (place.folder / "rows.jsonl").write_text("\n".join([*rows, '{"prompt": 7}']) + "\n")
    model = str(place.folder / "tiny")
    found = ask("facts", data="rows.jsonl", model=model).json()["plan"]["facts"]
    assert (found["rows"], found["bad"]) == (41, 1)
    assert ask("plan", data="rows.jsonl", model=model).json()["steps"] == found["optimizer_steps"]
    body = {"file": "rows.jsonl", "model": model}
    assert client.post("/api/data/check", headers=CHANGE, json=body).json()["bad"] == 1
    shown = client.post("/api/data/show", headers=CHANGE, json={**body, "row": 3}).json()
    assert "A fox 2." in "".join(token["text"] for token in shown["tokens"] if token["trained"])
    assert client.post("/api/data/show", headers=CHANGE, json={**body, "row": 99}).status_code == 409
