"""The command line, called by the studio: a run is started, and heavy work done, in a process of its own.

So there is one path with two windows, the server stays small and quick, and what a library prints or breaks stays
outside. Arguments are a list, never a shell's text, and what a user named stands behind `--`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from tunebook.errors import TunebookError

# Each takes a core and half a gigabyte: however many tabs ask, two work, some wait, and the rest are told so.
_WORKING, _ASKED = BoundedSemaphore(2), BoundedSemaphore(12)


def call(arguments: Sequence[str], folder: Path, *, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run `tunebook ARGUMENTS` in `folder` to its end. TunebookError when it takes longer than `seconds`."""
    command = [sys.executable, "-P", "-m", "tunebook", *arguments]
    if not _ASKED.acquire(blocking=False):
        raise TunebookError("The studio is busy with a dozen other requests.", do="Try again in a moment.")
    try:
        with _WORKING:
            return subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=seconds,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise TunebookError(f"`tunebook {arguments[0]}` took more than {seconds:.0f} seconds and was ended.") from None
    except ValueError:  # a NUL, or half of a surrogate pair
        raise TunebookError("What was given holds a character that no command takes.") from None
    finally:
        _ASKED.release()


def call_json(arguments: Sequence[str], folder: Path, *, seconds: float = 600) -> dict[str, Any]:
    """The JSON object that `tunebook ARGUMENTS` prints. TunebookError with its sentence when it prints none."""
    done = call(arguments, folder, seconds=seconds)
    try:
        value = json.loads(done.stdout)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise failure(done)
    return value


def failure(done: subprocess.CompletedProcess[str]) -> TunebookError:
    """What a command that failed said, as an error."""
    said = done.stderr.strip().splitlines()
    return TunebookError("\n".join(said[-12:]) or f"The command ended with exit code {done.returncode}.")
