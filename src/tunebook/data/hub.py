"""Data sets of the Hugging Face hub, streamed once into a local JSONL file. Needs the extra `tunebook[hub]`.

A reference is `hub:owner/name`, with `#configuration` and `@split` where they are not the only one and `train`:
`hub:owner/name#plain@validation`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
from pathlib import Path

from tunebook.data.cache import default_folder
from tunebook.data.tabular import without_nulls
from tunebook.errors import DataError
from tunebook.files import finite

_VERSION = 2
# A plan's folder may stand in front, as it does before every path.
_REFERENCE = re.compile(
    r"(?:^|/)hub:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:#(?P<configuration>[\w.-]+))?(?:@(?P<split>[\w.:%\[\]-]+))?$"
)


def is_hub(path: Path) -> bool:
    """Is `path` a reference to a hub data set?"""
    return _REFERENCE.search(path.as_posix()) is not None


def local_copy(path: Path, rows: int | None = None) -> Path:
    """The JSONL file of the data set, or of its first `rows`; fetched when it is not there yet. Raises DataError."""
    found = _REFERENCE.search(path.as_posix())
    if found is None:
        raise DataError(f"{path} is no reference to a hub data set.", do="Its form is hub:owner/name@split.")
    name, configuration, split = found["name"], found["configuration"], found["split"] or "train"
    key = hashlib.sha256(json.dumps([_VERSION, name, configuration, split, rows]).encode()).hexdigest()[:16]
    copy = default_folder().parent / "hub" / f"{name.replace('/', '--')}-{key}.jsonl"
    if not copy.exists():
        _fetch(copy, name, configuration, split, rows)
    return copy


def _fetch(copy: Path, name: str, configuration: str | None, split: str, rows: int | None) -> None:
    try:
        load_dataset = importlib.import_module("datasets").load_dataset
    except ImportError:
        raise DataError(
            f"The hub data set {name} needs a library that is not installed.", do="pip install 'tunebook[hub]'"
        ) from None
    aside = copy.with_name(f".{copy.name}.{os.getpid()}")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        stream = load_dataset(name, configuration, split=split, streaming=True)
        with aside.open("w", encoding="utf-8") as file:
            for row in stream.take(rows) if rows else stream:
                # Arrow fills in nulls for the keys that a nested row lacks; NaN is no JSON.
                file.write(json.dumps(without_nulls(finite(row)), default=str) + "\n")
        aside.replace(copy)
    except Exception as error:  # the library raises whatever its readers and the network raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"The hub data set {name}, split {split}, cannot be read ({reason}).",
            do="Check its name, configuration and split, and the network.",
        ) from error
    finally:
        aside.unlink(missing_ok=True)
