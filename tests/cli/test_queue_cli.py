"""`tunebook queue`: what scripts rely on, with real runs of a tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.cli.call import call
from tests.cli.test_run_cli import child, plan, until  # noqa: F401  (fixture)
from tests.workflow.conftest import base, home, values  # noqa: F401  (fixtures)
from tunebook.runs.events import read_events
from tunebook.runs.store import open_run, runs_folder


def listed(*more):
    return json.loads(call("queue", "list", "--json", *more).out)


@pytest.mark.heavy
def test_a_sweep_runs_one_after_another_and_a_failed_run_does_not_end_it(plan, home):  # noqa: F811
    lost = home / "lost.jsonl"
    lost.write_bytes((home / "rows.jsonl").read_bytes())
    short = ("--set", "training.max_steps=1", "--set", "evaluation.prompts=1")
    made = call("queue", "add", str(plan), "--name", "lost", "--set", f"data.path={lost}", *short)
    assert (made.code, made.out) == (0, "lost\n"), made.err
    made = call("queue", "sweep", str(plan), "--name", "rate", "--set", "training.learning_rate=[1e-3, 2e-3]", *short)
    assert (made.code, made.out) == (0, "rate-1\nrate-2\n"), made.err
    assert [row["name"] for row in listed()["runs"]] == ["lost", "rate-1", "rate-2"]
    assert call("queue", "remove", "rate-1").code == 0
    lost.unlink()
    done = call("queue", "run")
    assert done.code == 1
    assert "1 of 2 runs finished; not lost" in done.err
    rows = {row["name"]: row for row in listed("--all")["runs"]}
    assert {name: row["state"] for name, row in rows.items()} == {"lost": "failed", "rate-2": "finished"}
    assert rows["lost"]["reason"]
    assert rows["rate-2"]["set"]["training.learning_rate"] == "0.002"
    assert rows["rate-2"]["validation_loss"] > 0
    assert open_run("rate-2").plan().training.learning_rate == 2e-3
    assert call("queue", "run").err == "No run waits in the queue.\n"


@pytest.mark.heavy
def test_a_killed_worker_and_a_killed_run_are_taken_up_by_the_next_worker(plan):  # noqa: F811
    assert call("queue", "sweep", str(plan), "--name", "s", "--set", "training.seed=[1, 2, 3]").code == 0
    worker = child("queue", "run")
    until(("running",), "s-1")
    worker.kill()
    worker.wait()
    os.kill(json.loads((runs_folder() / "s-1" / "lock.json").read_text())["pid"], signal.SIGKILL)
    until(("killed",), "s-1")
    done = call("queue", "run", "--detach")
    assert done.code == 0
    until(("running", "finished"), "s-1")  # the worker is at it
    assert call("queue", "run").code == 1, "there is one worker"
    until(("finished",), "s-3")
    assert [row["state"] for row in listed("--all")["runs"]] == ["finished"] * 3
    spans = [[event["time"] for event in read_events(open_run(f"s-{number}").events)] for number in (1, 2, 3)]
    assert spans[0][-1] <= spans[1][0]
    assert spans[1][-1] <= spans[2][0]


@pytest.mark.heavy
def test_ending_the_worker_ends_no_run(plan):  # noqa: F811
    assert call("queue", "sweep", str(plan), "--name", "s", "--set", "training.seed=[1, 2]").code == 0
    worker = child("queue", "run")
    until(("running",), "s-1")
    assert call("queue", "stop").code == 0
    assert worker.wait(20) == 143
    assert until(("finished",), "s-1")["state"] == "finished"
    assert [row["state"] for row in listed()["runs"]] == ["waiting"]
    assert listed()["worker"] is None


def test_what_cannot_be_queued_is_one_sentence_and_makes_no_run(home):  # noqa: F811
    for words in (("add", "nothing.yaml"), ("remove", "nothing"), ("sweep", "nothing.yaml", "--set", "lora.rank=[1]")):
        done = call("queue", *words)
        assert done.code == 1
        assert "nothing" in done.err
        assert "Traceback" not in done.err
    assert call("queue", "sweep", "plan.yaml").code == 2
    assert call("queue", "add", "a.yaml", "b.yaml", "--name", "x").code == 2
    assert listed() == {"runs": [], "worker": None}


@pytest.mark.parametrize("command", ["add", "list", "remove", "run", "sweep", "stop"])
def test_each_command_explains_itself(command):
    done = call("queue", command, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage:")


@pytest.mark.slow
def test_the_list_loads_no_torch(home):  # noqa: F811
    code = "import sys; from tunebook.cli import main\ntry: main()\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "queue", "list"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
