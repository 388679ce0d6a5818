"""A server that forks loaded processes: `tunebook ...` in a process of its own, without seconds of imports.

    with Farm(home) as farm:
        done = farm.run("run", "plan.yaml", "--name", "one")             # exit code and words, as of a shell
        child = farm.start("resume", "one", hooks=[("kill_at_step", 3)])  # a live process: signal it, wait for it

The server imports what a run needs and then does nothing but fork, so that a child starts as a fresh process does, with
no thread and no state of an earlier run. Hooks (tests/faults/hooks.py) are called in the child before its command.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Hook = tuple[Any, ...]  # its name, then its arguments


@dataclass(frozen=True)
class Done:
    """How a child ended: its exit code (negative: the signal that killed it), and what it printed."""

    code: int
    out: str
    err: str


class Farm:
    """The client of one server. Runs and caches of its children lie in `home`, which is their working folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.count = 0
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TUNEBOOK_CACHE": str(home / "cache"),
            "TUNEBOOK_RUNS": str(home / "runs"),
            "PYTHONPATH": str(ROOT),
        }
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.farm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=home,
            env=environment,
        )

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()

    def furnish(self) -> None:
        """Put the models and data that the matrix's plans name into `home`."""
        done = self.run("--help", hooks=[("furnish", str(self.home))])
        if done.code:
            raise RuntimeError(done.err)

    def start(self, *arguments: str, hooks: list[Hook] | None = None) -> Child:
        """`tunebook ARGUMENTS` in a forked process."""
        self.count += 1
        words = self.home / f"words-{self.count}"
        pid = self._ask({"fork": list(arguments), "hooks": hooks or [], "words": str(words)})["pid"]
        return Child(self, pid, words)

    def run(self, *arguments: str, hooks: list[Hook] | None = None) -> Done:
        """The same, waited for."""
        return self.start(*arguments, hooks=hooks).wait()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        reply: dict[str, Any] = json.loads(self.server.stdout.readline())
        return reply


@dataclass(frozen=True)
class Child:
    """A forked process of a farm."""

    farm: Farm
    pid: int
    words: Path

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 120) -> Done:
        """Wait until it has ended; one that takes longer is killed, which is a fault of the test."""
        code = self.farm._ask({"wait": self.pid, "seconds": seconds})["code"]
        if code is None:
            raise TimeoutError(f"process {self.pid} did not end in {seconds} s: {self._read('err')}")
        return Done(code, self._read("out"), self._read("err"))

    def stopped(self, seconds: float = 20) -> bool:
        """Wait until it has stopped itself (SIGSTOP); False when it ended instead."""
        return self._until(lambda: self._state() == "T", seconds)

    def waits_at(self, pipe: Path, seconds: float = 20) -> int | None:
        """Wait until it waits for a named pipe. Returns the end to close for it to go on; None when it has ended."""
        ends: list[int] = []

        def opened() -> bool:
            with contextlib.suppress(OSError):  # no one reads there yet
                ends.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            return bool(ends)

        return ends[0] if self._until(opened, seconds) else None

    def _until(self, happened: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not happened():
            if self._state() == "Z":
                return False
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} neither stopped nor ended in {seconds} s")
            time.sleep(0.002)
        return True

    def _state(self) -> str:
        found = re.search(r"\(.*\) (.)", Path(f"/proc/{self.pid}/stat").read_text())
        return found[1] if found else "Z"

    def _read(self, name: str) -> str:
        file = self.words.with_name(f"{self.words.name}.{name}")
        return file.read_text(errors="replace") if file.exists() else ""  # killed before it could open it


def serve() -> None:
    """Read requests, a JSON object a line, until the input ends."""
    _load()
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        reply = {"pid": _fork(request)} if "fork" in request else {"code": _wait(request["wait"], request["seconds"])}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _load() -> None:
    """Import all that a run imports; the server itself never runs anything."""
    from tunebook.cli.app import COMMANDS
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    for module in (
        *(f"tunebook.cli.{module}" for module, _ in COMMANDS.values()),
        *("tunebook.workflow.runner", "tunebook.workflow.start", "tunebook.workflow.result", "tunebook.data.gate"),
        *("tunebook.evaluate.report_html", "tunebook.evaluate.report_markdown", "tests.faults.hooks"),
        *("transformers.models.llama.modeling_llama", "peft.tuners.lora.model", "rouge_score.rouge_scorer"),
        *("scipy.stats", "sacrebleu", "torch.optim.adamw", "rich.console", "rich.live"),
    ):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        for number, end in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{request['words']}.{end}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = _command(request["fork"], request["hooks"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command(arguments: list[str], hooks: list[Hook]) -> int:
    from tests.faults.hooks import HOOKS
    from tunebook.cli import main

    for name, *given in hooks:
        HOOKS[name](*given)
    sys.argv = ["tunebook", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _wait(pid: int, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.002)


if __name__ == "__main__":
    serve()
