"""Checkpoints that prove themselves.

    checkpoints/step-N/
        weights.safetensors    the trained parameters, by name
        optimizer.safetensors  AdamW's moments, by parameter name
        state.json             all that changes beside them
        MANIFEST.json          size and SHA-256 of each file; written last

Saving: free space is checked, files go to a staging folder, each is synced, the manifest last; then the folder is
renamed and its parent synced, and only then older ones are rotated away, by step number and never by clock: the newest
n and the best stay, and since weights that are not finite are never saved, the last finite. Reading: only after every
hash agrees. No pickle anywhere.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from tunebook.errors import CheckpointError
from tunebook.files import read_json, sha256, sync_folder, to_json
from tunebook.runs.checkpoints import FORMAT, damage


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
        if broken := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
            raise ValueError(f"{broken[0]} is not finite")
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
        if target.exists():  # a damaged one, or one saved when a stop put an evaluation off
            target.rename(folder / f".old-{target.name}")
        aside.rename(target)
        sync_folder(folder)
        shutil.rmtree(folder / f".old-{target.name}", ignore_errors=True)
    except Exception as error:  # safetensors has errors of its own for a full disk
        shutil.rmtree(aside, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"The checkpoint of step {step} could not be saved ({reason}).",
            kept="Training goes on; earlier checkpoints are untouched.",
            do="See to the run's folder before the next save.",
        ) from error
    return sum(file["bytes"] for file in files.values())


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


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
