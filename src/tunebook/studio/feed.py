"""The feed: one WebSocket a tab, which follows any number of runs and replays them by event number.

The tab says, at any time, all that it follows, and is sent what is new:

    -> {"runs": {"demo-1": 120}, "list": true, "answers": ["phase-3-fine-tuning"]}     120: the last seq it has
    <- {"run": "demo-1", "events": [...], "status": {...}}      events in order, none twice, none left out
    <- {"run": "demo-1", "gone": true}                          removed, or its file begins anew
    <- {"list": [...], "gone": [...]}                           rows of the run list that changed, names that went
    <- {"list": [...], "gone": [], "all": true}                 the whole list: first, and after the studio was away
    <- {"answers": "phase-3-fine-tuning", "stamp": 17}          the answers were written, perhaps by another tab

Nothing is queued for a tab: each has a place in the file and reads on from there when it can take more.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from tunebook.errors import TunebookError
from tunebook.files import to_json
from tunebook.studio.place import Place
from tunebook.studio.rows import run_json

TICK = 0.1  # seconds between looks
_CHUNK = 512 * 1024
_MOST_RUNS = 32
_STATUS_EVERY = 0.5


class Cursor:
    """One tab's place in one run's events."""

    def __init__(self, path: Path, since: int) -> None:
        self.path, self.since, self.offset = path, since, 0
        self.status_at = 0.0
        self.told = ""

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """The next events above `since`, and whether the file holds more. FileNotFoundError when the run is gone."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self.offset:
            raise FileNotFoundError(self.path)
        if size == self.offset:
            return [], False
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(_CHUNK)
            while b"\n" not in data and (more := file.read(_CHUNK)):
                data += more
        whole = data.rfind(b"\n") + 1
        self.offset += whole
        events = [event for line in data[:whole].split(b"\n") if (event := _event(line, self.since))]
        self.since = events[-1]["seq"] if events else self.since
        return events, whole > 0 and self.offset < size


class Feed:
    """One tab's connection, from its first word to its last."""

    def __init__(self, socket: WebSocket, place: Place) -> None:
        self.socket, self.place = socket, place
        self.cursors: dict[str, Cursor] = {}
        self.answers: dict[str, int] = {}
        self.list_told: dict[str, str] | None = None
        self.list_at = 0.0

    async def run(self) -> None:
        """Serve the tab until it goes."""
        await self.socket.accept()
        listener = asyncio.create_task(self._listen())
        try:
            while not listener.done():
                if not await self._pump():
                    await asyncio.wait({listener}, timeout=TICK)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the tab went while something was being sent
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await listener

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow(json.loads(await self.socket.receive_text()))
            except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
                await self._send({"error": "This is not something that the feed can follow."})

    async def _follow(self, wanted: dict[str, Any]) -> None:
        runs = {str(name): int(since) for name, since in list(wanted.get("runs", {}).items())[:_MOST_RUNS]}
        new = await run_in_threadpool(self._opened, {name: runs[name] for name in runs if name not in self.cursors})
        known = await run_in_threadpool(self.place.page_files)
        both = new | self.cursors
        self.cursors = {name: both[name] for name in runs if name in both}
        if not wanted.get("list"):
            self.list_told = None
        elif self.list_told is None:
            self.list_told, self.list_at = {}, 0.0
        self.answers = {key: self.answers.get(key, -1) for key in wanted.get("answers", ()) if key in known}
        for name in runs:
            if name not in self.cursors:  # removed while the tab, or the studio, was away
                await self._send({"run": name, "gone": True})

    def _opened(self, runs: dict[str, int]) -> dict[str, Cursor]:
        found = {}
        for name, since in runs.items():
            with suppress(TunebookError):
                found[name] = Cursor(self.place.run(name).events, since)
        return found

    async def _pump(self) -> bool:
        """Send what is new; True when there is more at once."""
        more = False
        for name, cursor in list(self.cursors.items()):
            more |= await self._pump_run(name, cursor)
        for key, before in list(self.answers.items()):
            stamp = self._stamp(key)
            if stamp != before and key in self.answers:
                self.answers[key] = stamp
                if before != -1:
                    await self._send({"answers": key, "stamp": stamp})
        if self.list_told is not None and time.monotonic() - self.list_at > 1:
            await self._pump_list()
        return more

    async def _pump_run(self, name: str, cursor: Cursor) -> bool:
        now = time.monotonic()
        try:
            events, more = await run_in_threadpool(cursor.read)  # a long file takes seconds to parse
            if self.cursors.get(name) is not cursor:  # the tab follows others by now
                return False
            message: dict[str, Any] = {"run": name, "events": events}
            if not more and now - cursor.status_at > _STATUS_EVERY:
                cursor.status_at = now
                status = await run_in_threadpool(lambda: run_json(self.place.live(name).status()))
                if (told := to_json(status)) != cursor.told:
                    cursor.told, message["status"] = told, status
        except (OSError, TunebookError):
            self.cursors.pop(name, None)
            await self._send({"run": name, "gone": True})
            return False
        if events or "status" in message:
            await self._send(message)
        return more

    async def _pump_list(self) -> None:
        first, self.list_at = not self.list_at, time.monotonic()
        told, now = self.list_told or {}, await run_in_threadpool(self.place.listing.rows)
        if now is told:
            return
        self.list_told = now
        changed = [row for name, row in now.items() if told.get(name) != row]
        gone = [name for name in told if name not in now]
        if changed or gone or first:
            whole = ', "all": true' if first else ""
            await self._send_text(f'{{"list": [{", ".join(changed)}], "gone": {to_json(gone)}{whole}}}')

    def _stamp(self, key: str) -> int:
        try:
            return self.place.answers_stamp(key)
        except (OSError, TunebookError):
            return 0

    async def _send(self, message: dict[str, Any]) -> None:
        await self._send_text(to_json(message))

    async def _send_text(self, text: str) -> None:
        await self.socket.send_text(text.encode("utf-8", "replace").decode())


def _event(line: bytes, since: int) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
        return event if event["seq"] > since else None
    except (ValueError, TypeError, KeyError):
        return None
