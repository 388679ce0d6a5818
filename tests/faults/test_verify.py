"""`tunebook verify`: a whole run passes, and each kind of damage is named by its place."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.faults.test_damage import hurt
from tunebook.evaluate.report import write_report
from tunebook.files import read_json, write_json
from tunebook.runs.events import EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.store import Run
from tunebook.workflow.verify import verify_run

pytestmark = pytest.mark.slow


def faults(run):
    return [str(fault) for fault in verify_run(run).faults]


def test_a_whole_run_passes_and_says_what_was_looked_at(finished):
    found = verify_run(finished)
    assert found.faults == []
    assert found.checked["checkpoints"] == 2
    assert found.checked["optimizer_steps"] == 8
    assert found.checked["evaluations"] == 4
    assert found.checked["report"] >= 5
    assert found.checked["events"] > 20


def test_a_run_killed_right_after_a_checkpoint_was_rotated_away_passes_once_it_is_resumed(farm, finished):
    run = finished.folder.with_name("rotated")
    killed = farm.run("run", "plan-0.yaml", "--name", run.name, hooks=[("kill_after_removal",)])
    assert killed.code == -9
    resumed = farm.run("resume", run.name)
    assert resumed.code == 0, resumed.err
    assert faults(Run(run)) == []


@pytest.mark.parametrize("how", ["flip", "gone"])
@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"])
def test_a_damaged_checkpoint_is_named(copy, file, how):
    run = copy()
    hurt(run.checkpoints / "step-8" / file, how)
    (found,) = faults(run)
    assert found.startswith("checkpoints/step-8: ")


def test_a_checkpoint_that_the_events_know_and_the_folder_has_not_is_named(copy):
    run = copy()
    (run.checkpoints / "step-8").rename(run.folder / "elsewhere")
    assert "checkpoints/step-8: is missing" in faults(run)


def test_a_checkpoint_of_before_events_were_lost_may_have_been_rotated_away(copy):
    run = copy()
    (run.checkpoints / "step-8").rename(run.folder / "elsewhere")
    EventWriter(run.events).emit("warning", code="events_lost", message="1 event before this one ...")
    assert "checkpoints/step-8: is missing" not in faults(run)


def test_a_gap_in_the_events_is_named(copy):
    run = copy()
    lines = run.events.read_bytes().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if b'"kind": "metrics", "step": 4' in line)
    run.events.write_bytes(b"".join(lines[:place] + lines[place + 1 :]))
    found = faults(run)
    assert f"events.jsonl, line {place + 1}: has the number {place + 2} instead of {place + 1}" in found
    assert "events.jsonl: metrics of step 5 stand where those of step 4 are due" in found


def test_an_event_that_is_cut_short_is_named(copy):
    run = copy()
    run.events.write_bytes(run.events.read_bytes()[:-20])
    assert any("is not a whole event" in found for found in faults(run))


def test_a_measurement_that_does_not_add_up_to_its_event_is_named(copy):
    run = copy()
    path = run.folder / "evaluation" / "heldout-step-3.json"
    value = read_json(path)
    value["per_example"][0]["nats"] += 1
    write_json(path, value)
    assert any(found.startswith("evaluation/heldout-step-3.json: says ") for found in faults(run))


def test_a_report_that_says_more_than_the_record_is_named(copy):
    run = copy()
    report = read_json(run.report)
    report["curves"]["training"]["value"][-1] /= 2
    report["indicators"][0]["verdict"] = "surely"
    write_json(run.report, report)
    assert faults(run) == [f"report.json: {key} is not what the run's record says" for key in ("indicators", "curves")]


def test_a_report_that_was_asked_for_while_the_run_went_on_is_no_fault(copy):
    run = copy("checkpoint", 6)
    events = run.events.read_bytes()
    run.events.write_bytes(b"".join(events.splitlines(keepends=True)[:-4]))
    with hold_lock(run.folder):
        assert write_report(run.folder)["state"] == "running"
    run.events.write_bytes(events)
    assert not [fault for fault in faults(run) if fault.startswith("report.json")]


def test_files_that_cannot_be_read_are_named(copy):
    run = copy()
    hurt(run.folder / "report.json", "cut")
    hurt(run.folder / "plan.yaml", "flip")
    found = faults(run)
    assert any(text.startswith("report.json: cannot be read") for text in found)
    assert any(text.startswith("plan.yaml: ") for text in found)


def test_the_command_prints_one_object_and_its_exit_code_is_the_verdict(farm, copy):
    run = copy()
    done = farm.run("verify", run.name, "--json")
    assert done.code == 0
    assert json.loads(done.out)["ok"] is True
    assert "All as it should be." in farm.run("verify", run.name).out
    hurt(run.checkpoints / "step-8" / "state.json", "flip")
    done = farm.run("verify", run.name, "--json")
    assert done.code == 1
    assert json.loads(done.out)["faults"] == [
        {"where": "checkpoints/step-8", "message": "state.json was changed or cut short"}
    ]
    assert "checkpoints/step-8: state.json was changed or cut short" in farm.run("verify", run.name).out


def test_an_export_and_a_folder_called_checkpoints_are_no_fault_of_the_run(finished, tmp_path):
    place = tmp_path / "checkpoints" / "runs" / finished.name
    shutil.copytree(finished.folder, place)
    run = Run(place)
    assert verify_run(run).checked["files"] == verify_run(finished).checked["files"] > 5
    value = read_json(run.report)
    write_json(run.report, value | {"export": {"folder": "elsewhere"}})
    assert faults(run) == []
