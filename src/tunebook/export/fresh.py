"""Work in a process of its own, which ends with this one: it gets the time limit, and dies when we die.

The child reads its standard input in a thread; when that closes, because this process ended in whatever way, it exits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tunebook.errors import ExportError

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}


@contextmanager
def process(
    module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m module arguments` while the block runs; killed with everything it started when the block ends.

    What it prints goes to `log`. It does not see Ctrl-C: this process does, and ends it.
    """
    # -P: a file in the working folder must not stand in for a library
    command = [sys.executable, "-P", "-m", module, *arguments]
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603  (no shell, our own module)
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, **QUIET, **(environment or {})},
            start_new_session=True,
        )
        try:
            yield child
        finally:
            end(child)


def end(child: subprocess.Popen[bytes], patience: float = 5) -> None:
    """End the process and its own children: asked first, killed after `patience` seconds."""
    if child.stdin:
        with suppress(OSError):
            child.stdin.close()
    for sign in (signal.SIGTERM, signal.SIGKILL):
        _signal(child, sign)
        with suppress(subprocess.TimeoutExpired):
            child.wait(patience)
            break
    _signal(child, signal.SIGKILL)  # whatever it started and left


def run_to_end(
    module: str, arguments: Sequence[str], log: Path, *, what: str, timeout: float, allowed: Sequence[int] = (0,)
) -> int:
    """Run to the end and return the exit code; ExportError when it takes more than `timeout` seconds or fails."""
    with process(module, arguments, log) as child:
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"{what} did not finish within {timeout:.0f} seconds and was ended.",
                do="Close other programs and try again.",
            ) from None
    if code not in allowed:
        killed = " (killed, perhaps for want of memory)" if code == -signal.SIGKILL else ""
        raise ExportError(f"{what} ended with exit code {code}{killed}: {last_words(log)}")
    return code


def patience(prompts: int, tokens: int) -> float:
    """Seconds after which a process that answers `prompts` with up to `tokens` each is taken to hang.

    A quarter of an hour to start, and two seconds a token, which is slow for a large model on a processor.
    """
    return 900.0 + 2.0 * prompts * tokens


def last_words(log: Path) -> str:
    """The last line that a process printed, cut to 300 characters."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip()[:300] if lines else "it printed nothing"


def end_with_parent() -> None:
    """Called in the child: exit as soon as standard input closes."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock a thread must not hold when Python ends
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _signal(child: subprocess.Popen[bytes], sign: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(child.pid, sign)
        else:
            child.kill()
