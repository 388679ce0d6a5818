"""Whatever `data.path` names, opened: a file, a mix of data sets, or a data set of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tunebook.data.hub import is_hub, local_copy
from tunebook.data.mix import Mixture, is_mix, open_mix
from tunebook.data.read import Source, open_source


def open_data(path: Path, columns: Mapping[str, str] | None = None) -> Source | Mixture:
    """Open the data set that `path` names. DataError when it cannot be read as rows of a known form."""
    if is_mix(path) and path.is_file():
        return open_mix(path, _open_one)
    return _open_one(path, columns)


def _open_one(path: Path, columns: Mapping[str, str] | None = None, rows: int | None = None) -> Source:
    return open_source(local_copy(path, rows) if is_hub(path) else path, columns)
