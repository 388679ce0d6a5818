"""An OpenAI-compatible server over an exported folder: Transformers' own, on the loopback address, never left behind.

The folder is shown to the server as a model of a hub cache, under the run's name, so that `/v1/models` lists it and
clients name it as they name any other.
"""

from __future__ import annotations

import importlib.util
import re
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psutil

from tunebook.errors import ExportError
from tunebook.export.fresh import last_words, process

READY_SECONDS = 300.0
_NEEDED = ("fastapi", "uvicorn", "openai")
_REVISION = "0" * 40


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers: `address` ends in `/v1`, `model` is the name that clients give."""

    address: str
    model: str
    child: Popen[bytes]
    log: Path
    seconds_to_ready: float

    def memory(self) -> int:
        """Bytes of memory that the server's processes hold."""
        try:
            process = psutil.Process(self.child.pid)
            return sum(member.memory_info().rss for member in [process, *process.children(recursive=True)])
        except psutil.Error:
            return 0

    def healthy(self) -> bool:
        """Does it still answer `/health`?"""
        return self.child.poll() is None and _answers(self.address.removesuffix("/v1") + "/health")


def check_extra() -> None:
    """ExportError when the libraries that serving needs are not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"Serving needs {', '.join(missing)}, which Tunebook does not install by itself.",
            do="Install them with `pip install 'tunebook[serve]'`.",
        )


@contextmanager
def serve(
    folder: Path, name: str, *, port: int | None = None, file: str = "", patience: float = READY_SECONDS
) -> Iterator[Server]:
    """Serve the model in `folder` (or its GGUF `file`) while the block runs; `port` None takes a free one.

    ExportError when the port is taken, or the server ends or says nothing for `patience` seconds. The server, and all
    that it started, is gone when the block ends.
    """
    check_extra()
    port = free_port() if port is None else check_port(port)
    with tempfile.TemporaryDirectory(prefix="tunebook-serve-") as scratch:
        model = _show_as_cached(folder, name, Path(scratch) / "hub") + (f":{file}" if file else "")
        log = Path(scratch) / "log.txt"
        started = time.perf_counter()
        environment = {"HF_HUB_CACHE": str(Path(scratch) / "hub")}
        with process("tunebook.export.serving", [model, str(port), "auto"], log, environment) as child:
            _wait(child, f"http://127.0.0.1:{port}/health", log, patience)
            seconds = time.perf_counter() - started
            yield Server(f"http://127.0.0.1:{port}/v1", model, child, log, seconds)


def free_port() -> int:
    """A port on the loopback address that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def check_port(port: int) -> int:
    """`port`, when it is free; ExportError otherwise."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ExportError(
                f"Port {port} cannot be used ({(error.strerror or str(error)).lower()}).",
                kept="Nothing was started.",
                do="Give another one with --port, or end the program that listens there.",
            ) from error
    return port


def _show_as_cached(folder: Path, name: str, cache: Path) -> str:
    """Lay out a hub cache whose one model is made of links to the files of `folder`; returns the model's name in it."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    model = re.sub(r"-{2,}|\.{2,}", "-", clean)
    place = cache / f"models--{model}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(_REVISION)
    (place / "blobs").mkdir()
    snapshot = place / "snapshots" / _REVISION
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        if path.is_file():
            (snapshot / path.name).symlink_to(path.resolve())
    return model


def _wait(child: Popen[bytes], address: str, log: Path, patience: float) -> None:
    end = time.monotonic() + patience
    while not _answers(address):
        if child.poll() is not None:
            raise ExportError(
                f"The server ended with exit code {child.returncode} before it answered: {last_words(log)}",
                kept="The exported files are untouched.",
                do="Check the folder with `tunebook deploy-test`, or export again.",
            )
        if time.monotonic() > end:
            raise ExportError(
                f"The server did not answer within {patience:.0f} seconds and was ended.",
                kept="The exported files are untouched.",
                do="Close other programs and try again.",
            )
        time.sleep(0.1)


def _answers(address: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy between us and ourselves
    try:
        with direct.open(address, timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False
