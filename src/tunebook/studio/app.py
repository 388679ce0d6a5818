"""The studio's app: routes, files and the guard, put together."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

import tunebook
from tunebook.errors import TunebookError
from tunebook.studio import (
    api_data,
    api_machine,
    api_pages,
    api_plan,
    api_queue,
    api_review,
    api_runs,
    api_versions,
    api_work,
    chat,
    views,
)
from tunebook.studio.guard import Guard
from tunebook.studio.place import Place
from tunebook.studio.reply import FAULTS, Json, add_handlers, tell

STATIC = Path(__file__).parent / "static"


def create_app(
    place: Place, *, token: str, hosts: Collection[str], cookie: str = "tunebook", once: str = ""
) -> ASGIApp:
    """The app behind its guard. `hosts` are the Host values that are answered, such as `127.0.0.1:8377`."""
    app = FastAPI(
        title="Tunebook studio",
        version=tunebook.__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses=FAULTS,
    )
    app.state.place = place
    add_handlers(app)

    @app.exception_handler(TunebookError)
    async def _sentence(request: Request, error: TunebookError) -> Response:
        status = 404 if error.what.startswith("There is no ") else 409  # how the house words what is not there
        return _told(request, error, status)

    @app.exception_handler(HTTPException)
    async def _unknown(request: Request, error: HTTPException) -> Response:
        words = "There is nothing at this address." if error.status_code == 404 else str(error.detail)
        return _told(request, TunebookError(words), error.status_code)

    rooms = (api_runs, api_review, api_work, api_queue, api_versions, chat)
    for room in (*rooms, api_pages, api_plan, api_data, api_machine, views):
        app.include_router(room.routes)
    app.mount("/static", StaticFiles(directory=STATIC))
    return Guard(app, token=token, hosts=hosts, cookie=cookie, once=once)


def _told(request: Request, error: TunebookError, status: int) -> Response:
    """A fault as JSON to the API, as a page to people."""
    if f"{request.url.path}/".startswith("/api/"):
        return Json(tell(error), status)
    return views.draw("fault", status, here="", error=error)


def new_token() -> str:
    """A key that cannot be guessed."""
    return secrets.token_urlsafe(24)


def warm(place: Place) -> threading.Thread:
    """Read every run once, beside serving, so that a list of thousands is quick when it is asked for."""
    thread = threading.Thread(target=place.statuses, name="warm", daemon=True)
    thread.start()
    return thread
