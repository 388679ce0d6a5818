"""Checkpoints: whole or not there, proved by hash, rotated by step number."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from tunebook.errors import CheckpointError
from tunebook.runs.checkpoints import damage, newest_good, outlived, remove, steps_saved
from tunebook.train.checkpoint import load_checkpoint, save_checkpoint

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}
MOMENTS = {"a/exp_avg": torch.zeros(2, 3), "a/step": torch.tensor(3.0)}


def save(folder, step):
    return save_checkpoint(folder, step, WEIGHTS, MOMENTS, {"step": step, "loss": 0.1 + 0.2})


def test_what_is_read_is_what_was_written(tmp_path):
    save(tmp_path, 7)
    read = load_checkpoint(tmp_path, 7)
    assert all(torch.equal(read.weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert all(torch.equal(read.optimizer[name], MOMENTS[name]) for name in MOMENTS)
    assert read.state == {"step": 7, "loss": 0.1 + 0.2}


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone"])
def test_any_damage_to_any_file_is_found(tmp_path, name, how):
    save(tmp_path, 1)
    assert damage(tmp_path, 1) == ""
    path = tmp_path / "step-1" / name
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(data[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    assert damage(tmp_path, 1)
    with pytest.raises(CheckpointError, match="step 1 cannot be used"):
        load_checkpoint(tmp_path, 1)


def test_a_damaged_one_is_named_and_the_newest_good_one_found(tmp_path):
    for step in (5, 10, 15):
        save(tmp_path, step)
    (tmp_path / "step-15" / "state.json").write_text("{}")
    found = list(newest_good(tmp_path))
    assert found == [(15, "state.json was changed or cut short"), (10, "")]


def test_rotation_goes_by_step_number_and_keeps_the_best(tmp_path):
    for step in (5, 10, 15, 20):
        save(tmp_path, step)
    os.utime(tmp_path / "step-20", (0, 0))  # a clock set back
    assert outlived(tmp_path, 20, 2, {5}) == [10]
    assert outlived(tmp_path, 15, 1, set()) == [10, 5]  # a resume passed over 20, which is damaged: it does not count
    remove(tmp_path, [10])
    assert steps_saved(tmp_path) == [20, 15, 5]


def test_a_full_disk_leaves_no_half_and_touches_nothing_older(tmp_path, monkeypatch):
    save(tmp_path, 1)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(CheckpointError, match="could not be saved"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert damage(tmp_path, 1) == ""


def test_a_write_that_fails_half_way_leaves_no_half(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        save(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


def test_saving_twice_gives_the_same_bytes(tmp_path):
    save(tmp_path / "one", 3)
    save(tmp_path / "two", 3)
    for file in (tmp_path / "one" / "step-3").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / "step-3" / file.name).read_bytes()
