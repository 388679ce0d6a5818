"""`/api/chat`: a conversation in a browser is one WebSocket and one child process, `tunebook chat --json`.

The model lives in the child, from the tab's first word to its last: closing the tab, or the studio, ends it. The server
loads no model and no torch.

    -> {"ask": "..."}  {"new": true}  {"stop": true}        the last breaks the answers off
    <- what `export/talk_json.py` says, and {"gone": "..."} when the child ended by itself, with its sentence
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
from fastapi import APIRouter, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect

from tunebook.errors import TunebookError
from tunebook.files import to_json
from tunebook.runs.store import is_run
from tunebook.studio.place import Place
from tunebook.versions.store import find_version, open_version

routes = APIRouter(prefix="/api")
MOST = 3  # conversations at a time: each holds a model in memory
_LONGEST = 100_000  # characters of a question
_CHILD = [sys.executable, "-P", "-m", "tunebook", "chat", "--json"]
_talking: set[Conversation] = set()


class Conversation:
    """One tab's conversation with one run or checkpoint, its base beside it when the arguments ask for it."""

    def __init__(self, socket: WebSocket, arguments: list[str], place: Place) -> None:
        self.socket = socket
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 - what the child says beside its answers, closed with it
        self.child = subprocess.Popen(
            [*_CHILD, *arguments],
            cwd=place.folder,
            env=os.environ | {"TUNEBOOK_RUNS": str(place.runs)},  # where a version's name is looked up
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
        )

    async def run(self) -> None:
        """Talk until the tab goes or the child ends."""
        async with anyio.create_task_group() as both:
            for job in (self._from_tab, self._from_child):
                both.start_soon(self._until_over, job, both.cancel_scope)

    async def _until_over(self, job: Callable[[], Awaitable[None]], both: anyio.CancelScope) -> None:
        try:
            with suppress(WebSocketDisconnect, RuntimeError):  # the tab went
                await job()
        finally:
            self.child.kill()  # it has nothing to save; a thread that waits for its words is woken by that
            both.cancel()
            with anyio.CancelScope(shield=True):  # a big model takes its time to go
                await run_in_threadpool(self.child.wait)

    async def _from_tab(self) -> None:
        while True:
            asked = _understood(await self.socket.receive_text())
            if asked.get("stop"):
                self.child.send_signal(signal.SIGINT)
            else:
                await run_in_threadpool(self._write, to_json(asked))

    def _write(self, line: str) -> None:
        assert self.child.stdin
        with suppress(OSError):  # the child ended: what it said last is on its way
            self.child.stdin.write(line.encode("utf-8", "replace") + b"\n")
            self.child.stdin.flush()

    async def _from_child(self) -> None:
        assert self.child.stdout
        while line := await run_in_threadpool(self.child.stdout.readline):
            await self.socket.send_text(line.decode("utf-8", "replace"))
        self.said.seek(0)
        words = self.said.read().decode("utf-8", "replace").strip().splitlines()
        gone = "\n".join(words[-6:]) or "The model's process ended."
        await self.socket.send_text(to_json({"gone": gone}))


@routes.websocket("/chat/{name}")
async def chat(socket: WebSocket, name: str, step: int | None = None, base: bool = True) -> None:
    """A conversation with a run's result or one of its checkpoints (`step`), beside its base; or with a version."""
    place: Place = socket.app.state.place
    await socket.accept()
    try:
        arguments = _arguments(place, name, step, base)
        if len(_talking) >= MOST:
            raise TunebookError(f"{MOST} conversations are open already.", do="Close one of them.")
    except TunebookError as error:
        await socket.send_text(to_json({"gone": str(error)}))
        await socket.close()
        return
    talk = Conversation(socket, arguments, place)
    _talking.add(talk)
    try:
        await talk.run()
        with suppress(RuntimeError):  # the tab went first
            await socket.close()
    finally:
        _talking.discard(talk)


def _arguments(place: Place, name: str, step: int | None, base: bool) -> list[str]:
    """What `tunebook chat` is told; RunError when there is no such run or version here."""
    runs = f"--runs={place.runs}"
    if "@" in name or (not is_run(name, place.runs) and find_version(name, place.runs)):
        return [runs, "--", open_version(name, place.runs).title]
    wanted = [*(["--with-base"] if base else []), *([f"--step={step}"] if step else [])]
    return [runs, *wanted, "--", place.run(name).name]


def _understood(text: str) -> dict[str, Any]:
    """A message of the tab, with nothing in it but what the child takes."""
    try:
        value = json.loads(text)
        if value.get("stop") or value.get("new"):
            return {key: True for key in ("stop", "new") if value.get(key)}
        return {"ask": str(value["ask"])[:_LONGEST]}
    except (ValueError, KeyError, AttributeError, TypeError):
        return {}
