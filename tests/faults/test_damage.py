"""Files that are cut, flipped, empty or gone, clocks set back, two writers, half-deleted runs, power cuts."""

from __future__ import annotations

import json
import shutil
import signal

import psutil
import pytest

from tests.faults.compare import differences
from tunebook.runs.events import read_events
from tunebook.runs.lock import this_process
from tunebook.runs.store import Run

KINDS = {
    "plan.yaml": "refused",
    "run.json": "refused",
    "events.jsonl": "equal",
    "lock.json": "equal",
    "environment.json": "equal",
    "data/findings.json": "equal",
    "data/inputs.json": "refused",
    "data/started.json": "refused",
    "data/split.json": "equal",
    "evaluation/heldout-base.json": "equal",
    "samples/step-0.json": "equal",
    "checkpoints/step-6/weights.safetensors": "equal",
    "checkpoints/step-6/optimizer.safetensors": "equal",
    "checkpoints/step-6/state.json": "equal",
    "checkpoints/step-6/MANIFEST.json": "equal",
    "checkpoints/step-4/weights.safetensors": "equal",
}
QUICK = {("plan.yaml", "empty"), ("data/inputs.json", "cut"), ("events.jsonl", "flip")}
QUICK |= {("checkpoints/step-6/optimizer.safetensors", "flip"), ("checkpoints/step-6/state.json", "gone")}


def hurt(path, how):
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 0x80  # no longer UTF-8 where it was text
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(data[: len(data) * 2 // 3])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param(name, how, marks=pytest.mark.slow if (name, how) in QUICK else pytest.mark.heavy)
        for name in KINDS
        for how in ("flip", "cut", "empty", "gone")
    ],
)
def test_a_damaged_file_is_made_good_or_refused_by_name_and_never_believed(farm, finished, copy, name, how):
    run = copy("checkpoint", 6)
    hurt(run.folder / name, how)
    done = farm.run("resume", run.name)
    assert "Traceback" not in done.err
    if done.code:
        assert KINDS[name] == "refused"
        assert done.code == 1
        assert name.rpartition("/")[2] in done.err or "run.json" in done.err
        return
    assert KINDS[name] == "equal" or how in ("gone", "cut")
    different = [found for found in differences(finished, run) if "checkpoint 4" not in found]
    assert all("checkpoint" not in found for found in different)
    if different:  # what is lost of the record is named
        assert farm.run("verify", run.name).code == 1 or "The plan changed" in done.err


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used(farm, finished, copy):
    run = copy("checkpoint", 6)
    hurt(run.checkpoints / "step-6" / "weights.safetensors", "flip")
    assert farm.run("verify", run.name).code == 1
    done = farm.run("resume", run.name)
    assert done.code == 0, done.err
    assert "Checkpoint 6 is passed over: weights.safetensors was changed or cut short." in done.err
    assert differences(finished, run) == []


@pytest.mark.slow
def test_a_clock_set_back_a_day_changes_nothing(farm, finished):
    done = farm.run("run", "plan-0.yaml", "--name", "clock", hooks=[("set_clock_back", 3, 86_400.0)])
    assert done.code == 0, done.err
    run = Run(farm.home / "runs" / "clock")
    assert differences(finished, run) == []
    etas = [event["eta_seconds"] for event in read_events(run.events) if event["kind"] == "metrics"]
    assert all(eta >= 0 for eta in etas)


def test_a_living_owner_is_alive_whatever_the_clock_says(monkeypatch):
    from psutil import _pslinux

    owner = this_process()
    boot = psutil.boot_time()
    monkeypatch.setattr(_pslinux, "boot_time", lambda: boot - 3600)  # what it says after the clock was set back
    assert owner.alive()
    assert not type(owner)(owner.pid, owner.started + 100, owner.host).alive()


@pytest.mark.slow
def test_a_second_writer_is_refused_and_a_dead_ones_lock_is_taken_over_with_a_word(farm, finished, copy):
    run = copy("checkpoint", 4)
    first = farm.start("resume", run.name, hooks=[("pause_before_save", 6)])
    assert first.stopped()
    second = farm.run("resume", run.name)
    assert second.code == 1
    assert f"being written by process {first.pid}" in second.err
    removed = farm.run("runs", "rm", run.name)
    assert removed.code == 1
    first.kill()
    assert first.wait().code == -signal.SIGKILL
    done = farm.run("resume", run.name)
    assert done.code == 0, done.err
    assert f"The lock of process {first.pid}" in done.err
    assert differences(finished, run) == []


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once_and_leaves_what_can_be_gone_on_with(farm, finished, copy):
    run = copy("checkpoint", 4)
    child = farm.start("resume", run.name, hooks=[("kill_at", "metrics", 5, signal.SIGTERM), ("pause_before_save", 5)])
    assert child.stopped()
    child.kill(signal.SIGTERM)
    child.kill(signal.SIGCONT)
    assert child.wait().code == 143
    assert not (run.checkpoints / "step-5").exists()
    assert farm.run("resume", run.name).code == 0
    assert differences(finished, run) == []


@pytest.mark.heavy
@pytest.mark.parametrize("gone", ["checkpoints", "data", "evaluation", "samples"])
def test_a_run_that_lost_a_folder_goes_on_to_the_same_weights(farm, finished, copy, gone):
    run = copy("checkpoint", 6)
    shutil.rmtree(run.folder / gone)
    done = farm.run("resume", run.name)
    assert done.code == 0, done.err
    assert all("checkpoint" not in found for found in differences(finished, run))


@pytest.mark.slow
def test_a_half_deleted_run_is_not_listed_and_is_cleared_away_with_the_next(farm, copy):
    run, other = copy("checkpoint", 2), copy("checkpoint", 2)
    trash = run.folder.with_name(f".trash-{run.name}-0")
    run.folder.rename(trash)
    shutil.rmtree(trash / "checkpoints")
    listed = [row["name"] for row in json.loads(farm.run("runs", "--json").out)["runs"]]
    assert run.name not in listed
    assert farm.run("runs", "rm", other.name).code == 0
    assert not trash.exists()


@pytest.mark.slow
def test_after_a_power_cut_that_emptied_the_newest_files_the_run_goes_on_from_older_ones(farm, finished, copy):
    """What was not synced may be there by name and hold nothing, or zeros."""
    run = copy("checkpoint", 6)
    for path in (run.checkpoints / "step-6").iterdir():
        path.write_bytes(b"")
    staging = run.checkpoints / ".staging-8-0"
    staging.mkdir()
    staging.joinpath("weights.safetensors").write_bytes(b"")
    with run.events.open("ab") as file:
        file.write(bytes(700))
    run.folder.joinpath("lock.json").write_bytes(bytes(60))
    done = farm.run("resume", run.name)
    assert done.code == 0, done.err
    assert differences(finished, run) == []
    assert not staging.exists()
    assert farm.run("verify", run.name).code == 0


@pytest.mark.slow
def test_events_are_on_the_disk_before_the_checkpoint_that_they_tell_of(farm, copy):
    run = copy("checkpoint", 4)
    log = farm.home / "syncs"
    assert farm.run("resume", run.name, hooks=[("record_syncs", str(log))]).code == 0
    lines = log.read_text().splitlines()
    save = lines[: lines.index("rename step-6") + 2]
    save = save[len(save) - 1 - save[::-1].index("sync events.jsonl") :]
    names = ("weights.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json")
    assert save[0] == "sync events.jsonl"
    assert sorted(save[1:5]) == sorted(f"sync {name}" for name in names)
    assert save[5].startswith("sync .staging-6-")
    assert save[6:] == ["rename step-6", "sync checkpoints"]
