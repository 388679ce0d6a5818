"""What stands before every route and the feed: Host, token, Origin, content type, size, and headers for the answer.

Pure ASGI, so that WebSockets pass through it and streams are not held back.

    a request -> Host is one of ours?        421  DNS rebinding ends here
              -> token or cookie?            401  every route, static files and the feed too
              -> a change, or the feed?      403  unless Origin is ours and Sec-Fetch-Site, if sent, is same-origin
              -> a change: JSON, not huge?   415, 413   (a data file: bytes)

A page asked for with `?token=` answers with a redirect that sets the cookie and takes the token out of the address. The
browser that Tunebook opens itself is given a token that works once, since other users see the arguments of processes.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 5_000_000
MAX_FILE = 4_000_000_000
_FILES = "/api/data/files/"  # what is sent there is a file's bytes, and may be long
_READS = ("GET", "HEAD")
_CHANGES = ("POST", "PUT", "DELETE")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Wraps the app. `hosts` are the exact Host values that are ours, port included; `once` opens `/` one time."""

    def __init__(
        self, app: ASGIApp, *, token: str, hosts: Collection[str], cookie: str = "tunebook", once: str = ""
    ) -> None:
        self.app, self.token, self.hosts, self.cookie, self.once = app, token, frozenset(hosts), cookie, once

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused:
            await _refuse(scope, receive, send, *refused)
        elif (clean := self._without_token(scope)) is not None:
            await self._redirect(scope, send, clean)
        else:
            await self.app(scope, _limited(receive, _limits(scope)[1]), _with_headers(scope, send))

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and reason, or None when the request may pass."""
        host = headers.getlist("host")
        if len(host) != 1 or host[0] not in self.hosts:
            return 421, "This address is not the studio's. Open the one that `tunebook studio` printed."
        if not self._known(scope, headers):
            return 401, "Open the address that `tunebook studio` printed: it holds the key to this page."
        if _reads(scope):
            return None
        origins = headers.getlist("origin")
        if origins != [f"http://{host[0]}"] or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return 403, "Only the studio's own pages may do this."
        return None if scope["type"] == "websocket" else _bad_change(scope, headers)

    def _known(self, scope: Scope, headers: Headers) -> bool:
        given = [headers.get("authorization", "").removeprefix("Bearer "), _cookie(headers, self.cookie)]
        asked = [value for key, value in _query(scope) if key == "token"] if _reads(scope) else []
        if any(_same(value, self.token) for value in given + asked):
            return True
        return scope["path"] == "/" and any(_same(value, self.once) for value in asked)

    def _without_token(self, scope: Scope) -> str | None:
        """The address of a page without its `token=`; None where there is nothing to take out."""
        if not _reads(scope) or scope["path"].startswith("/api/"):
            return None
        query = _query(scope)
        rest = [(key, value) for key, value in query if key != "token"]
        if len(rest) == len(query):
            return None
        path: str = "/" + scope["raw_path"].decode("latin-1").lstrip("/")  # never `//elsewhere`
        return path.partition("?")[0] + (f"?{urlencode(rest)}" if rest else "")

    async def _redirect(self, scope: Scope, send: Send, place: str) -> None:
        given = next(value for key, value in _query(scope) if key == "token")
        headers = [(b"location", place.encode("latin-1")), (b"content-length", b"0")]
        if _same(given, self.token) or _same(given, self.once):
            self.once = "" if _same(given, self.once) else self.once
            cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000"
            headers.append((b"set-cookie", cookie.encode("latin-1")))
        send = _with_headers(scope, send)
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _limits(scope: Scope) -> tuple[str, int]:
    """The content type that a change must have, and the most bytes of it."""
    files = scope["type"] == "http" and scope["path"].startswith(_FILES)
    return ("application/octet-stream", MAX_FILE) if files else ("application/json", MAX_BODY)


def _bad_change(scope: Scope, headers: Headers) -> tuple[int, str] | None:
    if scope["method"] not in _CHANGES:
        return 405, "This method is not one of the studio's."
    kind, most = _limits(scope)
    if headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        return 415, f"Changes are sent as {kind} here."
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        return 413, f"That is more than {most / 1e6:,.0f} MB."
    return None


def _limited(receive: Receive, most: int) -> Receive:
    """A body that says nothing of its length ends where the limit is."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b"")) if message["type"] == "http.request" else 0
        return message if seen <= most else {"type": "http.disconnect"}

    return limited


def _with_headers(scope: Scope, send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
        await send(message)

    return sender


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    """Answer with a sentence: JSON for the API, plain text for people. A WebSocket is never accepted."""
    api = scope["path"].startswith("/api/")
    body = json.dumps({"error": {"what": why}}).encode() if api else f"{why}\n".encode()
    kind = b"application/json" if api else b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    prefix = "http"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        prefix = "websocket.http"
    start: Message = {"type": f"{prefix}.response.start", "status": status, "headers": headers}
    MutableHeaders(raw=headers).update(_HEADERS)
    await send(start)
    await send({"type": f"{prefix}.response.body", "body": body})


def _same(given: str, token: str) -> bool:
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def _reads(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in _READS


def _cookie(headers: Headers, name: str) -> str:
    """Other servers on this machine may set cookies of any form: one that nobody could read must hide none."""
    return cookie_parser(headers.get("cookie", "")).get(name, "")


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
