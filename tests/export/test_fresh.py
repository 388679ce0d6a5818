"""Work in a process of its own ends when it should, and never stays behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tunebook.errors import ExportError
from tunebook.export.fresh import process, run_to_end

pytestmark = pytest.mark.slow  # seconds together

LONG = "import time; time.sleep(600)"


def timeit(statement: str, setup: str = "pass") -> list[str]:
    """Arguments with which `python -m timeit` runs a statement once."""
    return ["-n", "1", "-r", "1", "-s", setup, statement]


def test_a_process_that_hangs_is_ended_at_its_limit(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="did not finish within 1 second"):
        run_to_end("timeit", timeit(LONG), tmp_path / "log", what="It", timeout=1)
    assert not [child for child in psutil.Process().children() if "timeit" in child.cmdline()]


def test_a_process_that_fails_is_told_by_its_last_words(tmp_path: Path) -> None:
    fails = "raise SystemExit('no such thing')"
    with pytest.raises(ExportError, match="exit code 1: .*no such thing"):
        run_to_end("timeit", timeit(fails), tmp_path / "log", what="It", timeout=60)


def test_nothing_that_a_process_started_stays_behind(tmp_path: Path) -> None:
    starts = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {LONG!r}]); print('up', flush=True); {LONG}"
    )
    with process("timeit", timeit(starts), tmp_path / "log") as child:
        while b"up" not in (tmp_path / "log").read_bytes():
            assert child.poll() is None
        family = [psutil.Process(child.pid), *psutil.Process(child.pid).children()]
        assert len(family) == 2
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    setup = "from tunebook.export.fresh import end_with_parent; end_with_parent(); print('watching', flush=True)"
    code = (
        "from pathlib import Path; from tunebook.export.fresh import process\n"
        f"with process('timeit', {timeit(LONG, setup)!r}, Path({str(tmp_path / 'log')!r})) as child:\n"
        "    print(child.pid, flush=True); child.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    while b"watching" not in (tmp_path / "log").read_bytes():
        assert parent.poll() is None
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert psutil.wait_procs([child], timeout=10)[1] == []
