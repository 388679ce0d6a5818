"""The gate's results on disk, found again by content: the same file, tokenizer and settings are checked once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunebook.errors import DataError

VERSION = 4
# How the tokenizer was last asked to cut and to fill texts, which says nothing of the ids that a text becomes.
_CUT_AND_FILL = re.compile(r'"truncation":.*?,"padding":.*?,"added_tokens":')
_UNUSED_SECONDS, _UNFINISHED_SECONDS = 30 * 86_400, 86_400
# What `once` writes. The folder may be one of the user's, and hold other things too.
_OURS = re.compile(r"[0-9a-f]{32}|\.[0-9a-f]{32}\..*")


def default_folder() -> Path:
    """The folder `data` in TUNEBOOK_CACHE, else in `~/.cache/tunebook`, where converted models lie too."""
    return Path(os.environ.get("TUNEBOOK_CACHE") or Path.home() / ".cache" / "tunebook") / "data"


def key_of(*parts: Any) -> str:
    """A name for everything that a result depends on."""
    text = json.dumps([VERSION, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def tokenizer_fingerprint(tokenizer: Any, template: str) -> str:
    """A hash of all that decides which ids a text becomes, chat template included."""
    digest = hashlib.sha256(template.encode())
    if getattr(tokenizer, "is_fast", False):
        plain = '"truncation":null,"padding":null,"added_tokens":'
        digest.update(_CUT_AND_FILL.sub(plain, tokenizer.backend_tokenizer.to_str(), count=1).encode())
    else:
        digest.update(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode() + type(tokenizer).__name__.encode())
    digest.update(json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def once(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `key` below `folder`, filled by `make` if it is not there yet; never half filled.

    DataError when the cache cannot be written.
    """
    done = folder / key
    if done.is_dir():
        with contextlib.suppress(OSError):  # a cache that may only be read is no fault
            os.utime(done)
        return done
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _forget_old(folder)
        aside = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=folder))
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        make(aside)
        _rename(aside, done)
    except OSError as error:
        raise _unwritable(folder, error) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return done


def forget(folder: Path) -> None:
    """Remove a result that turned out to be damaged."""
    shutil.rmtree(folder, ignore_errors=True)


def _forget_old(folder: Path) -> None:
    """Remove results that no one has used for a month, and what a crash left unfinished a day ago."""
    now = time.time()
    for entry in filter(lambda entry: _OURS.fullmatch(entry.name), folder.iterdir()):
        with contextlib.suppress(OSError):
            age = now - entry.stat().st_mtime
            if age > (_UNFINISHED_SECONDS if entry.name.startswith(".") else _UNUSED_SECONDS):
                shutil.rmtree(entry, ignore_errors=True)


def _rename(aside: Path, done: Path) -> None:
    try:
        aside.rename(done)
    except OSError:
        # Another process may have been quicker with the same result.
        if not done.is_dir():
            raise


def _unwritable(folder: Path, error: OSError) -> DataError:
    reason = error.strerror or str(error)
    return DataError(
        f"The cache folder {folder} cannot be used ({reason}).",
        do="Free some space, or name another folder in the environment variable TUNEBOOK_CACHE.",
    )
