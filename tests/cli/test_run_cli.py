"""`run`, `resume`, `stop`, `status`, `runs`, `metrics`: what scripts rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.call import call
from tests.workflow.conftest import base, home, values  # noqa: F401  (fixtures)
from tunebook.plan.files import make_plan, save_plan
from tunebook.runs.lock import hold_lock
from tunebook.runs.store import create_run, open_run, runs_folder


@pytest.fixture
def plan(home, values):  # noqa: F811
    path = home / "plan.yaml"
    save_plan(make_plan(values), path)
    return path


def until(state, name="one", seconds=120):
    """The run's status once it is in one of the states; polls, since another process gets there in its own time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = json.loads(call("status", name, "--json").out)
        if status["state"] in state:
            return status
        time.sleep(0.1)
    raise AssertionError(f"{status['state']} is not {state} after {seconds} s: {status['reason']}")


def child(*arguments):
    """`tunebook ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "tunebook", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


@pytest.mark.slow
def test_a_run_from_a_plan_file_with_settings_and_what_can_be_read_of_it(plan):
    done = call(
        "run", str(plan), "--name", "one", "--set", "training.max_steps=3", "--set", "training.learning_rate=1e-3"
    )
    assert done.code == 0, done.err
    status = json.loads(call("status", "one", "--json").out)
    assert (status["state"], status["optimizer_step"], status["optimizer_steps"]) == ("finished", 3, 3)
    assert [step["id"] for step in status["steps"]][0] == "initialize"
    assert {"data", "forward", "loss", "backward", "optimizer", "validation"} <= set(status["parts"])
    assert status["checkpoints"][-1]["step"] == 3
    assert [row["name"] for row in json.loads(call("runs", "--json").out)["runs"]] == ["one"]
    table = json.loads(call("metrics", "one", "--json").out)
    assert table["step"] == [0, 1, 2, 3, 3]
    assert len(table["training_loss"]) == len(table["seq"]) == 5
    later = json.loads(call("metrics", "one", "--since", str(table["seq"][2]), "--json").out)
    assert later["step"] == [3, 3]
    assert open_run("one").plan().training.learning_rate == 1e-3
    again = call("resume", "one")
    assert (again.code, "finished" in again.err) == (0, True)
    assert call("runs", "rm", "one").code == 0
    assert json.loads(call("runs", "--json").out) == {"runs": []}


@pytest.mark.slow
def test_relative_paths_count_from_the_plans_folder(home, values, monkeypatch):  # noqa: F811
    (home / "elsewhere").mkdir()
    values["data"]["path"] = "../rows.jsonl"
    save_plan(make_plan(values), home / "elsewhere" / "plan.yaml")
    done = call("run", "elsewhere/plan.yaml", "--name", "one", "--set", "training.max_steps=1")
    assert done.code == 0, done.err


@pytest.mark.slow
def test_a_detached_run_returns_its_name_lives_alone_and_stops_when_asked(plan):
    done = call("run", str(plan), "--name", "one", "--detach", "--set", "training.epochs.max=400")
    assert (done.code, done.out.strip()) == (0, "one")
    folder = runs_folder() / "one"
    try:
        deadline = time.monotonic() + 120
        while not list(folder.glob("checkpoints/step-*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        owner = json.loads((folder / "lock.json").read_text())
        assert os.getsid(owner["pid"]) == owner["pid"]
        second = call("resume", "one")
        assert second.code == 1
        assert "being written by process" in second.err
        assert call("stop", "one").code == 0
        status = until(("stopped",))
    finally:
        call("stop", "one")
    assert status["checkpoints"][-1]["step"] == status["optimizer_step"]
    assert "tunebook resume one" in status["reason"]


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_after_saving(plan, sign, code):
    running = child("run", str(plan), "--name", "one", "--set", "training.epochs.max=400")
    folder = runs_folder() / "one"
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoints/step-*")) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.1)
    running.send_signal(sign)
    out, err = running.communicate(timeout=60)
    assert running.returncode == code, err
    status = json.loads(call("status", "one", "--json").out)
    assert status["state"] == "stopped"
    assert status["checkpoints"][-1]["step"] == status["optimizer_step"]
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_killed_run_is_called_killed_and_goes_on(plan):
    running = child(
        "run", str(plan), "--name", "one", "--set", "training.max_steps=12", "--set", "training.epochs.max=9"
    )
    folder = runs_folder() / "one"
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoints/step-*")) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.02)
    running.kill()
    running.communicate()
    assert json.loads(call("status", "one", "--json").out)["state"] == "killed"
    done = call("resume", "one")
    assert done.code == 0, done.err
    status = json.loads(call("status", "one", "--json").out)
    assert (status["state"], status["optimizer_step"]) == ("finished", 12)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["status", "nothing"], "There is no run 'nothing'"),
        (["metrics", "nothing"], "There is no run 'nothing'"),
        (["resume", "nothing"], "There is no run 'nothing'"),
        (["stop", "nothing"], "There is no run 'nothing'"),
        (["runs", "rm", "nothing"], "There is no run 'nothing'"),
        (["status", "../etc"], "not a whole run folder|There is no run"),
        (["run", "no-plan.yaml"], "The plan no-plan.yaml cannot be read"),
    ],
)
def test_what_is_not_there_is_one_sentence_and_exit_code_1(home, arguments, says):  # noqa: F811
    import re

    done = call(*arguments)
    assert done.code == 1
    assert re.search(says, done.err)
    assert "Traceback" not in done.err
    assert done.out == ""


def test_every_fault_of_a_plan_is_told_at_once(home):  # noqa: F811
    (home / "plan.yaml").write_text(
        "model: {name: x}\ndata: {pth: rows.jsonl}\ntraining: {lerning_rate: 1, batch_size: 0}\nlora: {rank: many}\n"
    )
    done = call("run", "plan.yaml")
    assert done.code == 1
    for part in (
        "data.path: is required",
        "did you mean path?",
        "did you mean learning_rate?",
        "batch_size",
        "lora.rank",
    ):
        assert part in done.err


@pytest.mark.parametrize("words", [("--set", "checkpoints.every=7"), ("--as-planned",), ("--new", "two")])
def test_a_run_that_a_process_works_on_is_not_changed_by_resume(home, values, words):  # noqa: F811
    folder = create_run("one", runs_folder(), make_plan(values)).folder
    before = (folder / "plan.yaml").read_bytes(), (folder / "plan.yaml").stat().st_mtime_ns
    with hold_lock(folder):
        done = call("resume", "one", *words)
    assert done.code == 1
    assert "being written by process" in done.err
    assert ((folder / "plan.yaml").read_bytes(), (folder / "plan.yaml").stat().st_mtime_ns) == before
    assert not (folder / "export").exists()


def test_bad_usage_is_exit_code_2(home):  # noqa: F811
    assert call("run").code == 2
    assert call("no-such-command").code == 2
    assert call("status", "--no-such-option").code == 2


def test_doctor_says_what_the_machine_has(home):  # noqa: F811
    machine = json.loads(call("doctor", "--json").out)
    assert machine["cores"] >= 1
    assert machine["memory_bytes"] > 1e8
    assert machine["versions"]["torch"]
    assert machine["means"]
    assert "memory" in call("doctor").out


@pytest.mark.parametrize("precisions", [["float32"], ["float32", "bfloat16"]])
def test_doctor_names_bfloat16_where_the_processor_multiplies_it(precisions):
    from tunebook.cli.doctor import what_it_means

    machine = {"memory_free_bytes": 1e10, "disk_free_bytes": 1e11, "device": "cpu", "precisions": precisions}
    said = any("training.precision=bfloat16" in line for line in what_it_means(machine))
    assert said == ("bfloat16" in precisions)
