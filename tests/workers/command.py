"""`tunebook` as a process of its own, and the workers that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tunebook.runs.events import read_events
from tunebook.runs.store import Run, open_run, runs_folder


def start(*words: str | Path, **environ: str) -> subprocess.Popen[str]:
    """Start `tunebook words`; its output is to be read with `communicate`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tunebook", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def tunebook(*words: str | Path, code: int = 0, seconds: float = 200) -> str:
    """What `tunebook words` prints, once it has ended with exit code `code`."""
    process = start(*words)
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == code, out
    return out


def made(name: str, process: subprocess.Popen[str], seconds: float = 150) -> Run:
    """The run, once its folder is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (runs_folder() / name / "run.json").exists():
            return open_run(name)
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError(f"the run {name} was not made in {seconds} s")


def wait_for_step(run: Run, step: int, process: subprocess.Popen[str], seconds: float = 150) -> None:
    """Wait until the run has done optimizer step `step`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(event["kind"] == "metrics" and event["step"] >= step for event in read_events(run.events)):
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached in {seconds} s")


def worker(process: subprocess.Popen[str], rank: int) -> psutil.Process:
    """The worker `rank` among all that `process` has started."""
    for child in psutil.Process(process.pid).children(recursive=True):
        if "resume" in child.cmdline() and child.environ().get("RANK") == str(rank):
            return child
    raise AssertionError(f"there is no worker {rank}")


def steps(run: Run) -> dict[int, dict[str, Any]]:
    """The values of each optimizer step; of one done twice, the later."""
    return {event["step"]: event["values"] for event in read_events(run.events) if event["kind"] == "metrics"}


def evaluations(run: Run) -> dict[int, float]:
    """Held-out loss by step."""
    found = [event for event in read_events(run.events) if event["kind"] == "evaluation"]
    return {event["step"]: event["values"]["validation_loss"] for event in found}
