"""A finished run becomes a version: what it came from, what was measured, and its exported files, stored once."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from tunebook.errors import Fault, RunError
from tunebook.files import joint_sha256, read_json, sha256, sync_folder, write_json
from tunebook.plan.files import dump_plan
from tunebook.runs.lock import hold_lock
from tunebook.runs.status import read_status
from tunebook.runs.store import Run, is_run
from tunebook.versions.store import (
    FORMAT,
    RECORD,
    Version,
    changing,
    check_name,
    list_versions,
    next_number,
    open_version,
    read_line,
    write_line,
)

_MANIFEST = "MANIFEST.json"


def promote(run: Run, name: str | None, reason: str) -> Version:
    """Make the result of `run` the current version of `name` (else of the run's name without its number).

    RunError when the run is not finished, has no whole safetensors export, is that version already, when a run has the
    name, or when its report objects and no `reason` is given. The version's files are hard links to the run's, so
    weights lie on the disk once; where the disk knows no hard links, they are symbolic ones.
    """
    runs = run.folder.parent
    name = check_name(name or re.sub(r"-\d+$", "", run.name))
    if is_run(name, runs):
        raise RunError(
            f"A run is named '{name}', and would be meant where the version is named.",
            kept="Nothing was promoted.",
            do="Give the version another name with --as.",
        )
    with hold_lock(run.folder), changing(runs) as place:
        found = objections(run)
        if found and not reason.strip():
            raise RunError(
                f"The run '{run.name}' has something against it.",
                kept="Nothing was promoted.",
                do="Say why it is promoted all the same, with --reason; the reason is kept with the version.",
                faults=[Fault("", text) for text in found],
            )
        facts = _facts(run, found, reason)
        for other in list_versions(runs, name):
            if (other.facts["run"], other.facts["files"]) == (run.name, facts["files"]):
                again = f"Make it current with `tunebook versions rollback {name} --to {other.number}`."
                raise RunError(
                    f"This result is {other.title} already.",
                    kept="Nothing was changed.",
                    do="" if other.current else again,
                )
        number = next_number(place, name)
        _store(run.folder / "export" / "safetensors", place / f"{name}@{number}", facts)
        try:
            write_line(place, name, [*read_line(place, name)["line"], number], "promote", number, reason)
        except OSError:
            shutil.rmtree(place / f"{name}@{number}")
            raise
    return open_version(f"{name}@{number}", runs)


def objections(run: Run) -> list[str]:
    """What the run's own evidence says against its result, in sentences; empty when nothing does.

    RunError when the run is not finished or has no report.
    """
    from tunebook.evaluate.review import rejected_steps  # from a room below: verdicts are newer than the report

    state = read_status(run).state
    report = _evidence(run.folder / "report.json")
    if state != "finished" or not report:
        raise RunError(
            f"The run '{run.name}' {f'is {state}' if state != 'finished' else 'has no report'}.",
            kept="Nothing was promoted.",
            do=f"`tunebook resume {run.name}` goes on with it, `tunebook report {run.name}` writes its report.",
        )
    found = [str(item["why"]) for item in report.get("indicators", []) if item["verdict"] == "no"]
    if _step(run) in rejected_steps(run.folder):
        found.append("A reviewer rejected the checkpoint that is its result.")
    if _evidence(run.folder / "export" / "deployment.json").get("verdict") == "failed":
        found.append("Its last deployment test failed.")
    return found


def _facts(run: Run, found: list[str], reason: str) -> dict[str, Any]:
    """What version.json holds."""
    plan = run.plan()
    inputs = _evidence(run.folder / "data" / "inputs.json")
    report = _evidence(run.folder / "report.json")
    files = _whole_files(run)
    weights = [entry["sha256"] for file, entry in sorted(files.items()) if file.endswith(".safetensors")]
    return {
        "format": FORMAT,
        "run": run.name,
        "step": _step(run),
        "created": time.time(),
        "parent": _parent(run, plan.model.name, inputs.get("model")),
        "data_sha256": inputs.get("data"),
        "plan_sha256": hashlib.sha256(dump_plan(plan).encode()).hexdigest(),
        "weights_sha256": joint_sha256(weights),
        "headline": report.get("headline", ""),
        "indicators": [{key: item[key] for key in ("id", "verdict", "why")} for item in report.get("indicators", [])],
        "objections": found,
        "reason": reason.strip() or None,
        "files": files,
    }


def _parent(run: Run, model: str, digest: str | None) -> dict[str, Any]:
    """The base model: its name, the hash of its weights, and the version that it is, found by that hash."""
    same = [v for v in list_versions(run.folder.parent) if digest and v.facts["weights_sha256"] == digest]
    named = next((version for version in same if version.folder.resolve() == Path(model).resolve()), None)
    version = named or (same[-1] if same else None)
    return {"model": model, "sha256": digest, "version": version.title if version else None}


def _whole_files(run: Run) -> dict[str, dict[str, Any]]:
    """Size and hash of each exported file, as its manifest has them; RunError when one differs."""
    folder = run.folder / "export" / "safetensors"
    files: dict[str, dict[str, Any]] = _evidence(folder / _MANIFEST).get("files") or {}
    wrong = [name for name, entry in sorted(files.items()) if not _same(folder / name, entry)]
    if wrong or not files:
        raise RunError(
            f"The run '{run.name}' has no whole export in the format safetensors.",
            kept="Nothing was promoted.",
            do=f"Make one with `tunebook export {run.name} --format safetensors`.",
            faults=[Fault(name, "is missing, or not what was exported") for name in wrong],
        )
    return files


def _same(path: Path, entry: dict[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == entry["bytes"] and sha256(path) == entry["sha256"]


def _store(source: Path, target: Path, facts: dict[str, Any]) -> None:
    """Link the exported files into a folder aside, add the record, and rename it: whole, or not there."""
    aside = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        for name in [*facts["files"], _MANIFEST]:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            _link(source / name, aside / name)
        write_json(aside / RECORD, facts)
        aside.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links; what a version points to cannot be removed, so the link holds
        target.symlink_to(source)


def _step(run: Run) -> int | None:
    return _evidence(run.folder / "evaluation" / "result.json").get("step")


def _evidence(path: Path) -> dict[str, Any]:
    """A JSON object of the run; empty when it is not there or damaged."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
