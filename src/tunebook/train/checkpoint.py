"""Checkpoints that prove themselves.

    checkpoints/step-N/
        weights.safetensors    the trained parameters, by name
        optimizer.safetensors  AdamW's moments, by parameter name
        state.json             all that changes beside them
        MANIFEST.json          size and SHA-256 of each file; written last

Saving: free space is checked, files go to a staging folder, each is synced, the manifest last; then the folder is
renamed and its parent synced, and only then older ones are rotated away, by step number and never by clock: the newest
n, the best and the last finite stay. Reading: only after every hash agrees. No pickle anywhere.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from tunebook.errors import CheckpointError
from tunebook.files import read_json, sha256, sync_folder, to_json

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds: tensors by name, and the state's plain values."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: Mapping[str, Any]
) -> int:
    """Write `folder/step-N` whole or not at all; returns its bytes. CheckpointError when it could not be written."""
    target = folder / f"step-{step}"
    aside = folder / f".staging-{step}-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        needed = sum(tensor.nbytes for tensor in (*weights.values(), *optimizer.values()))
        free = shutil.disk_usage(folder).free
        if free < 1.1 * needed:
            raise OSError(f"it needs {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free")
        aside.mkdir()
        save_file(_contiguous(weights), aside / "weights.safetensors")
        save_file(_contiguous(optimizer), aside / "optimizer.safetensors")
        (aside / "state.json").write_text(to_json(state, indent=1))
        files: dict[str, dict[str, Any]] = {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in sorted(aside.iterdir())
        }
        manifest = {"format": FORMAT, "step": step, "files": files}
        (aside / "MANIFEST.json").write_text(to_json(manifest, indent=1))
        for file in aside.iterdir():
            file.chmod(0o644)
            _sync(file)
        sync_folder(aside)
        if target.exists():  # a damaged one of an earlier try
            _discard(target)
        aside.rename(target)
        sync_folder(folder)
    except Exception as error:  # safetensors has errors of its own for a full disk
        shutil.rmtree(aside, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"The checkpoint of step {step} could not be saved ({reason}).",
            kept="Training goes on; earlier checkpoints are untouched.",
            do="Free space in the run's folder before the next save.",
        ) from error
    return sum(file["bytes"] for file in files.values())


def steps_saved(folder: Path) -> list[int]:
    """Steps that have a checkpoint folder, newest first; whether each is whole is not looked at."""
    numbers = [path.name.removeprefix("step-") for path in folder.glob("step-*")] if folder.is_dir() else []
    return sorted((int(number) for number in numbers if number.isdigit()), reverse=True)


def damage(folder: Path, step: int) -> str:
    """What is wrong with the checkpoint of `step`, in a few words; '' when every file agrees with the manifest."""
    place = folder / f"step-{step}"
    try:
        manifest = read_json(place / "MANIFEST.json")
        if manifest["format"] != FORMAT:
            return f"its format is {manifest['format']}, not {FORMAT}"
        if manifest["step"] != step or not {"weights.safetensors", "state.json"} <= set(manifest["files"]):
            return "its manifest is not its own"
        for name, kept in manifest["files"].items():
            file = place / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != kept["bytes"] or sha256(file) != kept["sha256"]:
                return f"{name} was changed or cut short"
    except (OSError, ValueError, KeyError, TypeError):
        return "its manifest is missing or damaged"
    return ""


def load_checkpoint(folder: Path, step: int) -> Checkpoint:
    """Read the checkpoint of `step` after checking every hash; CheckpointError says what is wrong with it."""
    if reason := damage(folder, step):
        raise CheckpointError(f"The checkpoint of step {step} cannot be used: {reason}.", kept="Nothing was loaded.")
    place = folder / f"step-{step}"
    return Checkpoint(
        step,
        load_file(place / "weights.safetensors"),
        load_file(place / "optimizer.safetensors"),
        read_json(place / "state.json"),
    )


def newest_good(folder: Path) -> Iterator[tuple[int, str]]:
    """(step, what is wrong with it) from the newest down, ending with the first good one, whose reason is ''."""
    for step in steps_saved(folder):
        reason = damage(folder, step)
        yield step, reason
        if not reason:
            return


def rotate(folder: Path, keep: int, also: set[int]) -> list[int]:
    """Remove all but the newest `keep` checkpoints and those in `also`; returns the steps removed. Clears leftovers."""
    removed = []
    for step in steps_saved(folder)[keep:]:
        if step not in also:
            _discard(folder / f"step-{step}")
            removed.append(step)
    for leftover in [*folder.glob(".staging-*"), *folder.glob(".trash-*")]:
        shutil.rmtree(leftover, ignore_errors=True)
    return removed


def _discard(place: Path) -> None:
    """Rename first, so that a crash never leaves half a checkpoint under a good name."""
    trash = place.with_name(f".trash-{place.name}-{uuid.uuid4().hex[:8]}")
    place.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
