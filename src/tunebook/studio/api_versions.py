"""`/api/versions`: named results of runs, as `tunebook versions list --json` prints them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from tunebook.studio.given import Here
from tunebook.studio.reply import Json
from tunebook.versions.store import lineage, list_versions

routes = APIRouter(prefix="/api")


@routes.get("/versions")
def versions(place: Here) -> Response:
    """Every version with where it came from; one whose record is not whole is passed over."""
    rows = []
    for version in list_versions(place.runs):
        if not version.folder.resolve().is_relative_to(place.runs.resolve()):
            continue
        try:
            rows.append(version.to_json() | {"lineage": lineage(version, place.runs)})
        except (KeyError, TypeError):
            continue
    return Json({"versions": rows})
