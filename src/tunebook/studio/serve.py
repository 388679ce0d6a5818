"""Serve the studio on this machine alone."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from tunebook.errors import TunebookError
from tunebook.studio.app import create_app, new_token, warm
from tunebook.studio.place import Place

PORT = 8377


def serve(place: Place, port: int | None, ready: Callable[[str, str], None]) -> None:
    """Serve until a signal ends it. TunebookError when the port is taken.

    `ready` is told the address once it answers, and one that works once, to open a browser with.

    Without a port, the usual one, or any that is free when that one is taken. Runs go on when the studio ends.
    """
    listener = _bind(port)
    number = listener.getsockname()[1]
    token, once = new_token(), new_token()
    hosts = (f"127.0.0.1:{number}", f"localhost:{number}")
    app = create_app(place, token=token, hosts=hosts, cookie=f"tunebook-{number}", once=once)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        ws="websockets-sansio",
        ws_max_size=1_000_000,
        ws_per_message_deflate=False,  # nothing leaves this machine, and each tab would cost its own buffers
        lifespan="off",
    )
    _share_memory()
    warm(place)
    with listener:
        ready(*(f"http://127.0.0.1:{number}/?token={key}" for key in (token, once)))
        uvicorn.Server(config).run(sockets=[listener])


def _share_memory() -> None:
    """Let all threads take memory from the same few places, where the C library can be told so (glibc).

    Otherwise each thread that ever listed a thousand runs keeps the room that this took.
    """
    arena_max = -8
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(arena_max, 2)


def _bind(port: int | None) -> socket.socket:
    for number in (PORT, 0) if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
            listener.listen(128)
            return listener
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
    raise TunebookError(f"Port {port} cannot be used ({reason}).", do="Give another --port, or none for any free one.")
