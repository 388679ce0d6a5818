"""Sees every file that this process opens or lists, every process it starts and every connection it makes.

Python's audit events are the oracle: what a route answers may be a lie, what it opened is not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_WATCHED = {"open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "shutil.rmtree"}


@dataclass
class Seen:
    """What happened inside the block."""

    files: list[Path] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    addresses: list[object] = field(default_factory=list)

    def outside(self, root: Path, allowed: Path) -> list[Path]:
        """Files below `root` that do not lie below `allowed`, links followed."""
        real = [Path(os.path.realpath(path)) for path in self.files]
        return [path for path in real if path.is_relative_to(root) and not path.is_relative_to(allowed)]


_now: list[Seen] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _now:
        return
    if event in _WATCHED:
        paths = [
            os.fsdecode(item) for item in arguments[:2] if isinstance(item, str | bytes) and b"/" in os.fsencode(item)
        ]
        _now[-1].files += map(Path, paths)
    elif event == "subprocess.Popen":
        _now[-1].commands.append([str(word) for word in arguments[1]])  # type: ignore[attr-defined]
    elif event in ("os.system", "os.exec", "os.posix_spawn"):
        _now[-1].commands.append([event, str(arguments)])
    elif event == "socket.connect":
        _now[-1].addresses.append(arguments[1])


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[Seen]:
    """Collect what this process does in the block, in any of its threads."""
    seen = Seen()
    _now.append(seen)
    try:
        yield seen
    finally:
        _now.remove(seen)
