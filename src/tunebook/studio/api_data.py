"""`/api/data`: a data set looked at, and a row as the model sees it, by the command line in a process of its own."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from tunebook.studio.api_runs import Here, Nothing
from tunebook.studio.command import call_json
from tunebook.studio.reply import Json

routes = APIRouter(prefix="/api/data")


class Look(Nothing):
    """Which file, with which model's tokenizer (none: rows are checked and not tokenized), against which limit."""

    file: str = Field(max_length=1000)
    model: str = Field("", max_length=1000)
    max_length: int = Field(1024, ge=8, le=10_000_000)
    too_long: Literal["drop", "cut", "refuse"] = "drop"


class Row(Nothing):
    """One row of a file, counted from 1."""

    file: str = Field(max_length=1000)
    model: str = Field(min_length=1, max_length=1000)
    row: int = Field(ge=1)


@routes.get("")
def files(place: Here) -> Response:
    """The data files below the working folder."""
    return Json({"files": place.data_files()})


@routes.post("/check")
def check(look: Look, place: Here) -> Response:
    """What `tunebook data check --json` finds."""
    path = place.data_file(look.file)
    arguments = ["data", "check", "--json", f"--max-length={look.max_length}", f"--too-long={look.too_long}"]
    arguments += [f"--model={look.model}"] if look.model else []
    return Json(call_json([*arguments, "--", str(path)], place.folder))


@routes.post("/show")
def show(row: Row, place: Here) -> Response:
    """A row token by token, with what is trained, as `tunebook data show --json` prints it."""
    arguments = ["data", "show", "--json", f"--model={row.model}", f"--row={row.row}"]
    return Json(call_json([*arguments, "--", str(place.data_file(row.file))], place.folder, seconds=120))
