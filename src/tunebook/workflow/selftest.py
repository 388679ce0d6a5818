"""`tunebook run PLAN --selftest-resume`: on this model and data, a killed and resumed run equals a straight one.

Two short runs of the plan, each in a process of its own: one goes straight through, the other is killed (SIGKILL) once
its second optimizer step is saved, and resumed. Weights, optimizer and metrics at the end must be equal to the bit.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunebook.errors import Fault, TrainingError
from tunebook.files import read_json
from tunebook.plan.files import make_plan, put_value
from tunebook.plan.schema import Plan
from tunebook.runs.checkpoints import steps_saved
from tunebook.runs.metrics import metric_rows
from tunebook.runs.store import Run
from tunebook.workflow.start import prepare_run

STEPS, KILLED_AFTER = 6, 2
SHORT: dict[str, Any] = {
    "training.max_steps": STEPS,
    "checkpoints.every": 1,
    "evaluation.schedule": "every 3 steps",
    "evaluation.prompts": 1,
    "evaluation.max_new_tokens": 4,
    "evaluation.retention": False,
    "stopping.rules": [],
    "export.formats": [],
    "trackers": [],
    "quality.judge": None,
    "data.validation_share": 1e-9,  # one group of examples is held out, however small the share
    "data.validation_path": None,
}
_MEASURED = ("throughput", "memory", "memory_peak", "memory_device")  # of the machine, not of the training


def selftest_resume(plan: Plan, runs: Path, say: Callable[[str], None]) -> dict[str, int]:
    """Run the test in a hidden folder of `runs`; returns how many things were compared and found equal.

    TrainingError names what differed, or that a run did not get through; the folder is then kept.
    """
    value = plan.model_dump(mode="json", by_alias=True)
    for path, short in SHORT.items():
        put_value(value, path, short)
    place = runs / f".selftest-{uuid.uuid4().hex[:8]}"
    straight, killed = (prepare_run(make_plan(value), name, place) for name in ("straight", "killed"))
    say(f"A straight run of {STEPS} optimizer steps ...")
    _finish(straight, place)
    say(f"The same once more, killed after step {KILLED_AFTER} ...")
    _kill(killed, place)
    at = max(steps_saved(killed.checkpoints), default=0)
    say(f"Killed with step {at} saved; going on from there ...")
    _finish(killed, place)
    counts, faults = compare(straight, killed)
    if faults:
        what = "The resumed run differs from the straight one."
        raise TrainingError(what, kept=f"Both are in {place}.", do="Report it, please.", faults=faults)
    shutil.rmtree(place)
    return counts


def compare(straight: Run, other: Run) -> tuple[dict[str, int], list[Fault]]:
    """How many files of the last checkpoint and rows of metrics are equal, and what is not."""
    step = steps_saved(straight.checkpoints)[0]
    hashes = [_hashes(run, step) for run in (straight, other)]
    faults = [
        Fault(f"step-{step}/{name}", "differs")
        for name in ("weights.safetensors", "optimizer.safetensors")
        if hashes[0].get(name) != hashes[1].get(name)
    ]
    rows = [{(row["kind"], row["step"]): _values(row) for row in metric_rows(run)} for run in (straight, other)]
    faults += [
        Fault(f"{kind} of step {at}", f"{rows[0].get((kind, at))} and {rows[1].get((kind, at))}")
        for kind, at in rows[0] | rows[1]
        if rows[0].get((kind, at)) != rows[1].get((kind, at))
    ]
    return {"checkpoint files": 2, "rows of metrics": len(rows[0])}, faults


def _hashes(run: Run, step: int) -> dict[str, str]:
    path = run.checkpoints / f"step-{step}" / "MANIFEST.json"
    return {name: kept["sha256"] for name, kept in read_json(path)["files"].items()} if path.exists() else {}


def _values(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row["values"].items() if name not in _MEASURED}


def _start(run: Run) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "tunebook", "resume", str(run.folder)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _finish(run: Run, place: Path) -> None:
    """Let the run go to its end in a process of its own."""
    with _start(run) as process:
        _, words = process.communicate()
    if process.returncode:
        last = (words.strip().splitlines() or ["no word"])[-1]
        raise TrainingError(f"The run did not get through: {last}", kept=f"It is in {place}.")


def _kill(run: Run, place: Path) -> None:
    """Start the run and kill it as soon as the step to kill it after is saved."""
    with _start(run) as process:
        while process.poll() is None and KILLED_AFTER not in steps_saved(run.checkpoints):
            time.sleep(0.01)
        process.kill()
        process.communicate()
    if KILLED_AFTER not in steps_saved(run.checkpoints):
        raise TrainingError("The run ended before it could be killed.", kept=f"It is in {place}.")
