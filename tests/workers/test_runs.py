"""Whole runs on several workers, started as a user starts them: the same curve, and what becomes of lost workers."""

from __future__ import annotations

import signal

import pytest

from tests.workers.command import evaluations, made, start, steps, tunebook, wait_for_step, worker
from tunebook.errors import Stopped
from tunebook.files import read_json
from tunebook.runs.checkpoints import damage, steps_saved
from tunebook.runs.events import read_events
from tunebook.runs.status import read_status
from tunebook.runs.stop import request_stop
from tunebook.runs.store import open_run, runs_folder
from tunebook.workflow.runner import run_steps
from tunebook.workflow.start import prepare_run, read_plan

FIFTY = {"training": {"dropout": 0.0, "epochs": {"min": 1, "max": 20}, "max_steps": 50}}
LONG = {
    "training": {"dropout": 0.0, "epochs": {"min": 1, "max": 100}, "max_steps": 150},
    "evaluation": {"schedule": "every 50 steps"},
    "checkpoints": {"every": 1000},
}


def in_one_process(plan, name):
    """The run of `plan` as one worker does it, here."""
    run = prepare_run(read_plan(plan, []), name, runs_folder())
    run_steps(run)
    return run


def goes_on_as(straight, run):
    """The run is finished, took the same examples as `straight` in each step, and ends at the same loss."""
    assert read_status(run).state == "finished"
    assert same_examples(straight, run)
    last = max(evaluations(run))
    assert f"{evaluations(run)[last]:.4g}" == f"{evaluations(straight)[last]:.4g}"


def same_examples(one, two):
    """Tokens and trained tokens of each step; equal for equal examples, and only for those in data like these."""
    mine, theirs = (
        {step: (values["tokens"], values["trained_tokens"]) for step, values in steps(run).items()}
        for run in (one, two)
    )
    return mine == theirs


@pytest.mark.heavy
@pytest.mark.parametrize("how", [[], ["--sharded"]], ids=["all-reduce", "fully_shard"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_fifty_steps_on_two_workers_end_where_one_ends(plan_file, method, how):
    plan = plan_file(training=FIFTY["training"] | {"method": method}, evaluation={"schedule": "every 25 steps"})
    one = in_one_process(plan, "one")
    tunebook("run", plan, "--name", "two", "--workers", "2", *how)
    two = open_run("two")
    assert same_examples(one, two)
    assert len(steps(two)) == 50
    losses, theirs = evaluations(one), evaluations(two)
    assert losses.keys() == theirs.keys()
    assert [f"{theirs[step]:.4g}" for step in theirs] == [f"{losses[step]:.4g}" for step in losses]
    (told,) = [event for event in read_events(two.events) if event["kind"] == "workers"]
    assert (told["world"], told["parallelism"]) == (2, "fully_shard" if how else "all-reduce")
    assert read_status(two).state == "finished"


@pytest.mark.heavy
@pytest.mark.parametrize("how", [[], ["--sharded"]], ids=["all-reduce", "fully_shard"])
def test_two_workers_export_and_test_what_they_trained(plan_file, how):
    plan = plan_file(training={"max_steps": 4}, export={"formats": ["safetensors"]})
    tunebook("run", plan, "--name", "two", "--workers", "2", *how)
    run = open_run("two")
    assert read_status(run).state == "finished"
    parity = read_json(run.folder / "export" / "export.json")["formats"]["safetensors"]["parity"]
    assert parity["answers_equal"] == parity["answers"] > 0


@pytest.mark.heavy
def test_a_killed_worker_ends_the_run_saved_and_any_number_goes_on(plan_file):
    plan = plan_file(**LONG)
    straight = in_one_process(plan, "straight")
    process = start("run", plan, "--name", "cut", "--workers", "2")
    run = made("cut", process)
    wait_for_step(run, 10, process)
    worker(process, 1).send_signal(signal.SIGKILL)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 1, out
    status = read_status(run)
    assert status.state == "failed"
    assert "Worker 1 of 0 to 1" in status.reason
    assert "was killed by SIGKILL" in status.reason
    saved = steps_saved(run.checkpoints)[0]
    assert saved >= 10
    assert saved in (max(steps(run)), max(steps(run)) - 1)
    assert not damage(run.checkpoints, saved)
    assert f"saved at optimizer step {saved}" in out
    assert "Traceback" not in out
    run_steps(run)  # one worker goes on with what two have saved
    goes_on_as(straight, run)


@pytest.mark.heavy
def test_ctrl_c_stops_all_workers_after_the_same_step(plan_file):
    plan = plan_file(**LONG)
    straight = in_one_process(plan, "straight")
    process = start("run", plan, "--name", "cut", "--workers", "2")
    run = made("cut", process)
    wait_for_step(run, 10, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 130, out
    assert read_status(run).state == "stopped"
    assert steps_saved(run.checkpoints)[0] == max(steps(run))
    run_steps(run)
    goes_on_as(straight, run)


@pytest.mark.heavy
@pytest.mark.parametrize("workers", ["2", "3"])
def test_a_run_goes_on_with_more_workers(plan_file, workers):
    plan = plan_file(**LONG)
    straight = in_one_process(plan, "straight")
    run = prepare_run(read_plan(plan, []), "cut", runs_folder())
    with pytest.raises(Stopped):
        run_steps(run, [lambda event: request_stop(run, discard=False) if event.get("step") == 10 else None])
    tunebook("resume", "cut", "--workers", workers)
    goes_on_as(straight, run)


@pytest.mark.heavy
def test_a_worker_that_hangs_is_noticed_and_named(plan_file):
    process = start("run", plan_file(**LONG), "--name", "cut", "--workers", "2", "--patience", "15")
    run = made("cut", process)
    wait_for_step(run, 10, process)
    worker(process, 1).send_signal(signal.SIGSTOP)
    out, _ = process.communicate(timeout=150)
    assert process.returncode == 1, out
    assert "Worker 1 of 0 to 1 has not answered for 15 seconds" in read_status(run).reason
    assert steps_saved(run.checkpoints)[0] >= 10


@pytest.mark.heavy
def test_a_supervisor_starts_all_workers_again(plan_file):
    process = start("run", plan_file(**LONG), "--name", "cut", "--workers", "2", "--restarts", "1")
    run = made("cut", process)
    wait_for_step(run, 10, process)
    worker(process, 1).send_signal(signal.SIGKILL)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out
    status = read_status(run)
    assert status.state == "finished"
    assert any("started again (1 of 1)" in warning for warning in status.warnings)
    assert sorted(steps(run)) == list(range(1, 151))
