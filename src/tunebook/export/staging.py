"""Exported folders that are whole or not there: written aside, every file hashed in MANIFEST.json last, then renamed.

A folder without its manifest, or with a file that differs from it, is not an export.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunebook.errors import ExportError, Fault
from tunebook.files import read_json, sha256, sync_folder, write_json

MANIFEST = "MANIFEST.json"
FORMAT = 1


@contextmanager
def staged(target: Path, owner: str, facts: dict[str, Any] | None = None) -> Iterator[Path]:
    """An empty folder beside `target` to write into; hashed and renamed to `target` when the block ends well.

    `owner` says which run the export belongs to: an export of the same owner at `target` is replaced, anything else
    there is left alone and raises ExportError, before anything is written. `facts` are kept in the manifest. When the
    block raises, nothing is left but what was at `target` before. A disk error in the block becomes an ExportError.
    """
    check_target(target, owner)
    aside = target.with_name(f".{target.name}.part-{uuid.uuid4().hex[:8]}")
    try:
        aside.mkdir(parents=True)
        yield aside
        write_json(aside / MANIFEST, {"format": FORMAT, "owner": owner, **(facts or {}), "files": hashes(aside)})
        for file in files_of(aside):
            _sync(file)
        _swap(aside, target)
    except OSError as error:
        raise not_written(target, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


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


def not_written(target: Path, error: OSError) -> ExportError:
    """The sentence for a disk error while an export was written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ExportError(
        f"The export could not be written to {target} ({'the disk is full' if full else error.strerror or error}).",
        kept="Nothing is left of it; an older export there is as it was.",
        do="Free space, or give another folder with --to."
        if full
        else "Make the place writable, or give another --to.",
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


def _names(manifest: dict[str, Any]) -> set[str]:
    return set(manifest["files"])


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
