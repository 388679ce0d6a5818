"""`/api/data`: a data set looked at, and a row as the model sees it, by the command line in a process of its own."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from tunebook.errors import DataError, TunebookError
from tunebook.studio.command import call_json
from tunebook.studio.given import Given, Here
from tunebook.studio.reply import Json, run_in_threadpool, tell

routes = APIRouter(prefix="/api/data")


class Look(Given):
    """Which file, with which model's tokenizer (none: rows are checked and not tokenized), against which limit."""

    file: str = Field(max_length=1000)
    model: str = Field("", max_length=1000)
    max_length: int = Field(1024, ge=8, le=10_000_000)
    too_long: Literal["drop", "cut", "refuse"] = "drop"
    columns: dict[str, str] = Field({}, max_length=20)


class Row(Given):
    """One row of a file, counted from 1."""

    file: str = Field(max_length=1000)
    model: str = Field(min_length=1, max_length=1000)
    row: int = Field(ge=1)
    columns: dict[str, str] = Field({}, max_length=20)


@routes.get("")
def files(place: Here) -> Response:
    """The data files below the working folder."""
    return Json({"files": place.data_files()})


@routes.post("/check")
def check(look: Look, place: Here) -> Response:
    """What `tunebook data check --json` finds; `error` for a file that cannot be read as rows."""
    path = place.data_file(look.file)
    arguments = ["data", "check", "--json", f"--max-length={look.max_length}", f"--too-long={look.too_long}"]
    arguments += [*([f"--model={look.model}"] if look.model else []), *_columns(look.columns)]
    try:
        return Json(call_json([*arguments, "--", str(path)], place.folder))
    except TunebookError as error:
        return Json(tell(error))


@routes.post("/show")
def show(row: Row, place: Here) -> Response:
    """A row token by token, with what is trained, as `tunebook data show --json` prints it."""
    arguments = ["data", "show", "--json", f"--model={row.model}", f"--row={row.row}", *_columns(row.columns)]
    return Json(call_json([*arguments, "--", str(place.data_file(row.file))], place.folder, seconds=120))


@routes.post("/files/{name}", status_code=201)
async def keep(name: str, request: Request, place: Here) -> Response:
    """Keep the bytes that are sent as a data file of the working folder, under a name that is free."""
    targets = place.new_data_files(name)
    part = place.folder / f".{secrets.token_hex(8)}.part"
    try:
        with part.open("xb") as file:
            async for piece in request.stream():
                await run_in_threadpool(file.write, piece)
        target = put(part, targets)
    except OSError as error:
        raise DataError(f"{name[:120]} could not be written ({error.strerror or error}).", do="Free space.") from error
    finally:
        part.unlink(missing_ok=True)
    return Json({"file": target.name}, 201)


def put(part: Path, targets: Iterator[Path]) -> Path:
    """Move a file to the first of `targets` that is free. It is made there first, so that no two files take one."""
    for target in targets:
        if target.is_symlink():  # whether it leads anywhere is not looked at
            continue
        with suppress(FileExistsError):
            target.open("xb").close()
            return part.replace(target)
    raise FileExistsError(errno.EEXIST, "too many files have this name")


def _columns(mapping: dict[str, str]) -> list[str]:
    return [f"--columns={ours}={yours}" for ours, yours in mapping.items()]
