"""`/api/machine`: what is free now, and what `tunebook doctor` says of this machine."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tunebook.studio.command import call_json
from tunebook.studio.given import Here
from tunebook.studio.reply import Json
from tunebook.workflow.hardware import memory_bytes, memory_free_bytes

routes = APIRouter(prefix="/api")


@routes.get("/machine")
def machine(place: Here) -> Response:
    """Cores, memory and disk (bytes), as they are now."""
    disk = shutil.disk_usage(place.folder)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    now = {"memory_bytes": memory_bytes(), "memory_free_bytes": memory_free_bytes()}
    return Json({"cores": cores, **now, "disk_bytes": disk.total, "disk_free_bytes": disk.free})


@routes.get("/machine/doctor")
def doctor(place: Here) -> Response:
    """`tunebook doctor --json`, asked once: seconds, since it loads torch."""
    return Json(_doctor(place.folder))


@cache
def _doctor(folder: Path) -> dict[str, Any]:
    return call_json(["doctor", "--json"], folder, seconds=120)
