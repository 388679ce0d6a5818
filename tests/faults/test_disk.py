"""Disks that are full, fail, or may not be written: training goes on where it can, and says so where it cannot."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

import pytest

from tests.faults.compare import differences
from tunebook.runs.events import read_events
from tunebook.runs.status import read_status
from tunebook.runs.store import Run


def told(run, code):
    return [event["message"] for event in read_events(run.events) if event.get("code") == code]


@pytest.mark.slow
def test_a_checkpoint_that_finds_no_room_is_told_and_training_goes_on_to_the_same_end(farm, finished):
    done = farm.run(
        *("run", "plan-0.yaml", "--name", "full"),
        hooks=[("limit_file_size", "metrics", 3, 30_000), ("unlimit_file_size", "metrics", 7)],
    )
    run = Run(farm.home / "runs" / "full")
    assert done.code == 0, done.err
    assert differences(finished, run) == []
    saves = {event["step"]: event["ok"] for event in read_events(run.events) if event["kind"] == "checkpoint"}
    assert saves == {2: True, 3: False, 4: False, 6: False, 8: True}
    assert "The checkpoint of step 4 could not be saved" in done.err


@pytest.mark.slow
def test_a_disk_that_takes_nothing_at_all_costs_evidence_and_no_training(farm, finished):
    """Events and measurements cannot be written either; the weights are the same, and what is lost is told."""
    done = farm.run(
        *("run", "plan-0.yaml", "--name", "fuller"),
        hooks=[("limit_file_size", "metrics", 3, 10), ("unlimit_file_size", "metrics", 6)],
    )
    run = Run(farm.home / "runs" / "fuller")
    assert done.code == 0, done.err
    assert all("checkpoint" not in difference for difference in differences(finished, run))
    assert "events before this one could not be written" in told(run, "events_lost")[0]
    assert farm.run("verify", "fuller").code == 1


@pytest.mark.slow
def test_a_disk_that_fails_to_sync_is_told_and_training_goes_on_to_the_same_end(farm, finished):
    done = farm.run("run", "plan-0.yaml", "--name", "fsync", hooks=[("fail_fsync", 3, 7)])
    run = Run(farm.home / "runs" / "fsync")
    assert done.code == 0, done.err
    assert all(name.startswith(("evaluation/", "samples/")) for name in differences(finished, run))
    assert any("could not be saved (Input/output error)" in message for message in _failed(run))
    assert not list(run.checkpoints.glob(".*"))


def _failed(run):
    return [e["message"] for e in read_events(run.events) if e["kind"] == "checkpoint" and not e["ok"]]


@pytest.mark.slow
def test_the_best_checkpoint_that_could_be_saved_is_the_result_when_the_best_could_not(farm):
    """Steps 3 and 6 are evaluated; the save of step 8, which is the best, fails."""
    done = farm.run(
        "run",
        "plan-0.yaml",
        "--name",
        "unlucky",
        hooks=[("limit_file_size", "metrics", 8, 30_000), ("unlimit_file_size", "checkpoint", 8)],
    )
    run = Run(farm.home / "runs" / "unlucky")
    assert done.code == 0, done.err
    status = read_status(run)
    assert status.checkpoints[8]["ok"] is False
    assert status.steps["monitor"]["evidence"]["checkpoint"] == 6


def fill(path):
    """Write until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(512)):
            pass


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_ends_the_run_with_one_sentence_and_nothing_lost(farm, copy):
    run = copy("checkpoint", 4)
    place = farm.home / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs rights that this process has not")
    try:
        shutil.copytree(run.folder, place / "run")
        filler = place / "filler"
        fill(filler)
        done = farm.run("resume", str(place / "run"))
        assert done.code == 1
        assert len(done.err.strip().splitlines()[-1]) > 40
        assert "No space left on device" in done.err
        assert "Traceback" not in done.err
        filler.unlink()
        assert farm.run("resume", str(place / "run")).code == 0
        assert farm.run("verify", str(place / "run")).code == 0
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_folder_that_may_only_be_read_is_refused_and_can_still_be_looked_at(farm, copy):
    run = copy("checkpoint", 4)
    places = [run.folder, *run.folder.rglob("*")]
    modes = [place.stat().st_mode for place in places]
    try:
        for place in places:
            place.chmod(0o555 if place.is_dir() else 0o444)
        done = farm.run("resume", run.name, hooks=[("respect_modes",)])
        assert done.code == 1
        assert "cannot be written (Permission denied)" in done.err
        assert "Traceback" not in done.err
        assert farm.run("status", run.name, "--json", hooks=[("respect_modes",)]).code == 0
        assert farm.run("verify", run.name, hooks=[("respect_modes",)]).code == 0
    finally:
        for place, mode in zip(places, modes, strict=True):
            place.chmod(mode)
    assert farm.run("resume", run.name).code == 0
