"""An exported folder is whole or not there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunebook.errors import ExportError
from tunebook.export.staging import check_space, damage, manifest_of, staged


def export(target: Path, text: str = "weights", owner: str = "run-1") -> None:
    with staged(target, owner, {"kind": "test"}) as folder:
        (folder / "weights").write_text(text)


def test_a_whole_export_has_a_manifest_that_agrees(tmp_path: Path) -> None:
    export(tmp_path / "out")
    assert damage(tmp_path / "out") == []
    found = manifest_of(tmp_path / "out")
    assert found is not None
    assert found["kind"] == "test"
    assert found["files"]["weights"]["bytes"] == 7


@pytest.mark.parametrize("name", ["cut", "changed", "gone", "no manifest"])
def test_each_kind_of_damage_is_named(tmp_path: Path, name: str) -> None:
    export(tmp_path / "out")
    file = tmp_path / "out" / "weights"
    if name == "cut":
        file.write_text("weigh")
    elif name == "changed":
        file.write_text("weighty")
    elif name == "gone":
        file.unlink()
    else:
        (tmp_path / "out" / "MANIFEST.json").unlink()
    assert len(damage(tmp_path / "out")) == 1


def test_an_export_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def half() -> None:
        with staged(tmp_path / "deep" / "out", "run-1") as folder:
            (folder / "weights").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_the_older_export(tmp_path: Path) -> None:
    export(tmp_path / "out", "old")
    with pytest.raises(ExportError, match="the disk is full"), staged(tmp_path / "out", "run-1"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (tmp_path / "out" / "weights").read_text() == "old"
    assert damage(tmp_path / "out") == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("words", ["I/O error: No space left on device (os error 28)", "4096 requested and 12 written"])
def test_a_full_disk_is_known_by_the_words_of_libraries_too(tmp_path: Path, words: str) -> None:
    with pytest.raises(ExportError, match="the disk is full"), staged(tmp_path / "out", "run-1"):
        raise RuntimeError(words)
    assert list(tmp_path.iterdir()) == []


def test_a_fault_that_is_no_disk_error_is_not_called_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="something else"), staged(tmp_path / "out", "run-1"):
        raise RuntimeError("something else")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kinds = (".out.part", ".check", ".deploy")
    for kind in kinds:
        (tmp_path / f"{kind}-{gone.pid}-abcd").mkdir()
        (tmp_path / f"{kind}-{os.getpid()}-abcd").mkdir()  # somebody at work
    export(tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out", *(f"{kind}-{os.getpid()}-abcd" for kind in kinds)}


def test_an_export_that_was_moved_away_when_the_process_died_comes_back(tmp_path: Path) -> None:
    export(tmp_path / "out", "old")
    (tmp_path / "out").rename(tmp_path / ".out.old-abcd")
    with pytest.raises(ExportError, match="another run"):
        export(tmp_path / "out", owner="run-2")
    assert damage(tmp_path / "out") == []
    assert (tmp_path / "out" / "weights").read_text() == "old"


def test_an_older_export_of_the_same_run_is_replaced_whole(tmp_path: Path) -> None:
    with staged(tmp_path / "out", "run-1") as folder:
        (folder / "older file").write_text("x")
    export(tmp_path / "out", "new")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"weights", "MANIFEST.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_export_of_another_run_is_not_touched(tmp_path: Path) -> None:
    export(tmp_path / "out", "old")
    with pytest.raises(ExportError, match="another run"):
        export(tmp_path / "out", "new", owner="run-2")
    assert (tmp_path / "out" / "weights").read_text() == "old"


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="not an export"):
        export(tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_a_file_that_a_user_put_beside_an_export_is_not_removed(tmp_path: Path) -> None:
    export(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"notes\.txt"):
        export(tmp_path / "out", "new")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_link_or_a_file_as_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("x")
    for name in ("link", "file"):
        with pytest.raises(ExportError, match="not an exported folder"):
            export(tmp_path / name)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(tmp_path / "out")
    assert damage(tmp_path / "out") == []


def test_too_little_space_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="MB are free"):
        check_space(tmp_path / "not" / "there", 10**18)
    assert list(tmp_path.iterdir()) == []
