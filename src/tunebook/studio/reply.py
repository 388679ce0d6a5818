"""How the API answers: JSON that is never NaN, and faults as `{"error": {"what", "kept", "do", "faults"}}`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tunebook.errors import TunebookError
from tunebook.files import to_json


class Json(Response):
    """A JSON answer. What is not finite is null, and half a surrogate pair is a question mark."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content).encode("utf-8", "replace")


class FaultAt(BaseModel):
    """Where in what was given, and what is wrong there."""

    where: str
    message: str


class Said(BaseModel):
    """What happened, what was kept, what to do, and every fault of what was given."""

    what: str
    kept: str = ""
    do: str = ""
    faults: list[FaultAt] = []


class Fault(BaseModel):
    """The answer to a request that could not be done."""

    error: Said


FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Fault, "description": why}
    for status, why in {
        400: "No JSON.",
        401: "The key is missing.",
        403: "Asked by a foreign page.",
        404: "There is no such thing.",
        409: "It could not be done.",
        413: "Too much.",
        415: "A change that is not JSON.",
        421: "Another address than the studio's.",
        422: "It does not fit.",
    }.items()
}


def error_json(what: str, kept: str = "", do: str = "", faults: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The one shape of a fault."""
    return {"error": {"what": what, "kept": kept, "do": do, "faults": faults or []}}


def tell(error: TunebookError) -> dict[str, Any]:
    """A TunebookError in that shape."""
    faults = [{"where": fault.where, "message": fault.message} for fault in error.faults]
    return error_json(error.what, error.kept, error.do, faults)


def add_handlers(app: FastAPI) -> None:
    """Every fault reaches the page as a sentence."""

    @app.exception_handler(RequestValidationError)
    async def _misshapen(request: Request, error: RequestValidationError) -> Json:
        faults = [{"where": ".".join(map(str, item["loc"])), "message": item["msg"]} for item in error.errors()]
        return Json(error_json("The request does not fit.", faults=faults), 422)


__all__ = ["FAULTS", "Json", "add_handlers", "error_json", "run_in_threadpool", "tell"]
