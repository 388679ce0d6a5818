"""Files that are whole or not there: write aside, sync, rename. JSON that never holds a NaN."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader, or a power cut, sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut (a no-op where folders cannot be opened, as on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for text, in UTF-8."""
    write_bytes(path, text.encode())


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON in UTF-8 with what is not finite as null; the caller flags it where a reader must know."""
    return json.dumps(finite(value), ensure_ascii=False, indent=indent, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """`to_json`, indented, written whole."""
    write_text(path, to_json(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`; ValueError or OSError when it is damaged or missing."""
    return json.loads(path.read_text(encoding="utf-8"))


def finite(value: Any) -> Any:
    """`value` with NaN and infinities replaced by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def sha256(path: Path) -> str:
    """The file's SHA-256, as 64 hexadecimal digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_sha256(hashes: Iterable[str]) -> str:
    """One hash over the hashes of several files, in the order given."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def copy_aside(path: Path) -> Path:
    """Copy a file beside itself as NAME.before, or NAME.before-2 and so on: over no earlier copy. OSError."""
    ends = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (path.with_name(f"{path.name}.before{end}") for end in ends)
    copy = next(name for name in names if not name.exists())
    write_bytes(copy, path.read_bytes())
    return copy
