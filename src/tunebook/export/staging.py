"""Exported folders that are whole or not there: written aside, every file hashed in MANIFEST.json last, then renamed.

A folder without its manifest, or with a file that differs from it, is not an export.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tunebook.errors import ExportError, Fault, TunebookError
from tunebook.files import read_json, sha256, sync_folder, write_json

MANIFEST = "MANIFEST.json"
FORMAT = 1
# how libraries that do not raise OSError with its number say that a disk is full: safetensors and tokenizers, numpy
_FULL = re.compile(r"os error (28|122)\b|No space left|\d+ requested and \d+ written")


@contextmanager
def staged(target: Path, owner: str, facts: dict[str, Any] | None = None) -> Iterator[Path]:
    """An empty folder beside `target` to write into; hashed and renamed to `target` when the block ends well.

    `owner` says which run the export belongs to: an export of the same owner at `target` is replaced, anything else
    there is left alone and raises ExportError, before anything is written. `facts` are kept in the manifest. When the
    block raises, nothing is left but what was at `target` before. A disk error in the block becomes an ExportError.
    """
    _tidy(target)
    check_target(target, owner)
    aside = target.with_name(f".{target.name}.part-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        with disk_errors(target, "Nothing is left of it; an older export there is as it was."):
            aside.mkdir(parents=True)
            yield aside
            with ThreadPoolExecutor(1) as pool:  # the disk writes while the processor hashes
                synced = [pool.submit(_sync, file) for file in files_of(aside)]
                found = hashes(aside)
            for file in synced:
                file.result()
            write_json(aside / MANIFEST, {"format": FORMAT, "owner": owner, **(facts or {}), "files": found})
            _swap(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def disk_errors(target: Path, kept: str) -> Iterator[None]:
    """Turn what a full or unwritable disk makes the block raise into an ExportError about `target`."""
    try:
        yield
    except TunebookError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and not _FULL.search(str(error)):
            raise
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _FULL.search(str(error))
        reason = "the disk is full" if full else getattr(error, "strerror", None) or error
        raise ExportError(
            f"{target} could not be written ({reason}).",
            kept=kept,
            do="Free space, or give another folder." if full else "Make the place writable, or give another folder.",
        ) from error


def check_target(target: Path, owner: str) -> None:
    """ExportError unless `target` is free, an empty folder, or an export of the same owner."""
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise ExportError(
            f"{target} exists and is not an exported folder.", kept="It was not touched.", do="Give another --to."
        )
    if not any(target.iterdir()):
        return
    found = manifest_of(target)
    if found is None:
        raise ExportError(
            f"The folder {target} holds files that are not an export of Tunebook.",
            kept="They were not touched.",
            do="Give a new or empty folder with --to.",
        )
    if found.get("owner") != owner:
        raise ExportError(
            f"The folder {target} holds the export of another run or plan.",
            kept="It was not touched.",
            do="Give another folder with --to, or remove that one.",
        )
    foreign = [
        file.relative_to(target) for file in files_of(target) if str(file.relative_to(target)) not in _names(found)
    ]
    if foreign:
        raise ExportError(
            f"The folder {target} holds files beside its export, which a new export would remove.",
            kept="They were not touched.",
            do="Move them away, or give another --to.",
            faults=[Fault(str(name), "is not part of the export") for name in foreign],
        )


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of an exported folder; None when there is none or it cannot be read."""
    try:
        value = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return None
    whole = isinstance(value, dict) and value.get("format") == FORMAT and isinstance(value.get("files"), dict)
    return value if whole else None


def damage(folder: Path) -> list[Fault]:
    """What is wrong with an exported folder: no manifest, or files that are missing or differ from their hash."""
    manifest = manifest_of(folder)
    if manifest is None:
        return [Fault(MANIFEST, "is missing or cannot be read, so the folder is not a whole export")]
    faults = []
    for name, entry in sorted(manifest["files"].items()):
        path = folder / name
        if not path.is_file():
            faults.append(Fault(name, "is missing"))
        elif path.stat().st_size != entry["bytes"]:
            faults.append(Fault(name, f"has {path.stat().st_size} bytes instead of {entry['bytes']}"))
        elif sha256(path) != entry["sha256"]:
            faults.append(Fault(name, "differs from what was exported"))
    return faults


def hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of every file of `folder` but its manifest, by relative name."""
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in files_of(folder)
    }


def files_of(folder: Path) -> list[Path]:
    """Every file of an exported folder but its manifest, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def check_space(folder: Path, needed: int) -> None:
    """ExportError when the disk of `folder` (or of its nearest parent) has not `needed` bytes and 5 % more free."""
    place = next(parent for parent in [folder, *folder.parents] if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed * 1.05:
        raise ExportError(
            f"The export needs {needed / 1e6:,.0f} MB in {place} and {free / 1e6:,.0f} MB are free.",
            kept="Nothing was written.",
            do="Free space, or give another folder with --to.",
        )


def _swap(aside: Path, target: Path) -> None:
    """Put `aside` in the place of `target`; the older export leaves only when the new one stands."""
    old = target.with_name(f".{target.name}.old-{uuid.uuid4().hex[:8]}")
    had = target.exists()
    if had:
        target.rename(old)
    try:
        aside.rename(target)
    except OSError:
        if had:
            old.rename(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _tidy(target: Path) -> None:
    """Clear away what a killed process left beside `target`; an export that it had moved away comes back."""
    left = (f".{target.name}.part-*", ".check-*", ".deploy-*")  # what is written, and what was asked of it
    for part in (path for pattern in left for path in target.parent.glob(pattern)):
        owner = part.name.split("-")[-2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(part, ignore_errors=True)
    for old in target.parent.glob(f".{target.name}.old-*"):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


def _names(manifest: dict[str, Any]) -> set[str]:
    return set(manifest["files"])


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
