"""The checkpoints of a run as they lie on disk: which there are, whether each is whole, which to keep. No torch here.

    checkpoints/step-N/MANIFEST.json    size and SHA-256 of each file beside it; without it there is no checkpoint

`train/checkpoint.py` writes and loads them.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from tunebook.files import read_json, sha256

FORMAT = 1


def steps_saved(folder: Path) -> list[int]:
    """Steps that have a checkpoint folder, newest first; whether each is whole is not looked at."""
    numbers = [path.name.removeprefix("step-") for path in folder.glob("step-*")] if folder.is_dir() else []
    return sorted((int(number) for number in numbers if number.isdigit()), reverse=True)


def saved_at(step: int) -> str:
    """What is kept of a run that ended early, as a sentence; step 0 for no checkpoint."""
    return f"It is saved at optimizer step {step}." if step else "No optimizer step was saved yet."


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


def recover(folder: Path) -> None:
    """Put back a checkpoint that a crash caught between moving it aside and putting its successor in place."""
    for old in folder.glob(".old-step-*"):
        target = folder / old.name.removeprefix(".old-")
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


def newest_good(folder: Path) -> Iterator[tuple[int, str]]:
    """(step, what is wrong with it) from the newest down, ending with the first good one, whose reason is ''."""
    for step in steps_saved(folder):
        reason = damage(folder, step)
        yield step, reason
        if not reason:
            return


def outlived(folder: Path, step: int, keep: int, also: set[int]) -> list[int]:
    """The steps whose checkpoints are no longer kept: all but the newest `keep` up to `step` and those in `also`.

    What is newer than `step` was passed over by a resume, since it is damaged: it stays, and counts for nothing.
    """
    return [each for each in [s for s in steps_saved(folder) if s <= step][keep:] if each not in also]


def remove(folder: Path, steps: Iterable[int]) -> None:
    """Remove the checkpoints of `steps`, and what crashes left behind."""
    for step in steps:
        _discard(folder / f"step-{step}")
    for leftover in [*folder.glob(".staging-*"), *folder.glob(".trash-*")]:
        shutil.rmtree(leftover, ignore_errors=True)


def _discard(place: Path) -> None:
    """Rename first, so that a crash never leaves half a checkpoint under a good name."""
    trash = place.with_name(f".trash-{place.name}-{uuid.uuid4().hex[:8]}")
    place.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)
