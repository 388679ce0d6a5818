"""Whatever `data.path` names, opened: a file, a mix of data sets, or a data set of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tunebook.data.hub import is_hub, local_copy
from tunebook.data.mix import Mixture, is_mix, open_mix
from tunebook.data.read import Source, open_source
from tunebook.errors import DataError


def open_data(path: Path, columns: Mapping[str, str] | None = None) -> Source | Mixture:
    """Open the data set that `path` names. DataError when it cannot be read as rows of a known form.

    A mix has a mapping of columns for each of its data sets; one for all of them is refused.
    """
    if is_mix(path) and path.is_file():
        if columns:
            raise DataError(
                f"{path} is a mix of data sets, to which one mapping of columns cannot be applied.",
                do="Give the mapping as `columns` of the data sets in that file that need it.",
            )
        return open_mix(path, _open_one)
    return _open_one(path, columns)


def _open_one(path: Path, columns: Mapping[str, str] | None = None, rows: int | None = None) -> Source:
    return open_source(local_copy(path, rows) if is_hub(path) else path, columns)
