"""Versions: results of runs under a name and a number. `NAME` means the current one, `NAME@2` the second.

runs/.versions/NAME@2/    version.json and the exported model's files; a model folder like any other
runs/.versions/NAME.json  {"format": 1, "line": [1, 3], "log": [{"time", "did", "number", "reason"}]}

The last number of `line` is the current version; rolling back takes it off, promoting puts one on.
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.errors import RunError
from tunebook.files import read_json, write_json
from tunebook.runs.store import runs_folder

FORMAT = 1
RECORD = "version.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ONE = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})(?:@([1-9][0-9]{0,8}))?")


@dataclass(frozen=True, slots=True)
class Version:
    """One version. `facts` is its version.json: run, step, parent, hashes, indicators, reason."""

    folder: Path
    name: str
    number: int
    current: bool
    facts: dict[str, Any]

    @property
    def title(self) -> str:
        """Such as `house-style@2`."""
        return f"{self.name}@{self.number}"

    def to_json(self) -> dict[str, Any]:
        """As `tunebook versions list --json` prints it; `files` are left to version.json."""
        facts = {key: value for key, value in self.facts.items() if key not in ("format", "files")}
        return {"version": self.title, "current": self.current, "folder": str(self.folder), **facts}


def versions_folder(runs: Path | None = None) -> Path:
    """Where the versions of the runs in `runs` lie."""
    return (runs or runs_folder()) / ".versions"


def check_name(name: str) -> str:
    """`name`, when versions can be called so; RunError otherwise."""
    if not _NAME.fullmatch(name):
        raise RunError(
            f"'{name}' cannot be the name of a version.",
            do="Use small letters, digits, '.', '_' and '-', beginning with a letter or digit, 64 at most.",
        )
    return name


def list_versions(runs: Path | None = None, name: str | None = None) -> list[Version]:
    """All versions, or those of one name, by name and number. Folders that are not whole are passed over."""
    place = versions_folder(runs)
    found = []
    for folder in place.iterdir() if place.is_dir() else ():
        match = _ONE.fullmatch(folder.name)
        if match and match[2] and name in (None, match[1]) and (facts := _read(folder / RECORD)):
            line = read_line(place, match[1])["line"]
            number = int(match[2])
            found.append(Version(folder, match[1], number, line[-1:] == [number], facts))
    return sorted(found, key=lambda version: (version.name, version.number))


def next_number(place: Path, name: str) -> int:
    """One more than any number that `name` ever had, by its folders, whole or not, and its log: none is given twice."""
    folders = [match for folder in place.iterdir() if (match := _ONE.fullmatch(folder.name))]
    used = [int(match[2]) for match in folders if match[1] == name and match[2]]
    return 1 + max([*used, *(entry["number"] for entry in read_line(place, name)["log"])], default=0)


def find_version(text: str, runs: Path | None = None) -> Version | None:
    """The version that `NAME` or `NAME@2` means; None when there is none."""
    match = _ONE.fullmatch(text)
    if not match:
        return None
    wanted = int(match[2]) if match[2] else None
    for version in list_versions(runs, match[1]):
        if version.number == wanted or (wanted is None and version.current):
            return version
    return None


def open_version(text: str, runs: Path | None = None) -> Version:
    """`find_version`, or a RunError that says which there are."""
    if version := find_version(text, runs):
        return version
    there = ", ".join(version.title for version in list_versions(runs)) or "none"
    raise RunError(f"There is no version '{text}'.", do=f"There are: {there}.")


def lineage(version: Version, runs: Path | None = None) -> list[str]:
    """Where the version came from, itself first: versions, then the base model that the first of them had."""
    found, parent = [version.title], version.facts["parent"]
    while (older := find_version(parent["version"], runs) if parent["version"] else None) and older.title not in found:
        found.append(older.title)
        parent = older.facts["parent"]
    base = Path(parent["model"])
    return [*found, base.name if base.is_absolute() else parent["model"]]


def rollback(name: str, number: int | None, reason: str, runs: Path | None = None) -> Version:
    """Make the version before the current one current again, or the one with that `number`. Nothing is deleted."""
    with changing(runs) as place:
        known = [version.number for version in list_versions(runs, check_name(name))]
        if not known:
            open_version(name, runs)
        line: list[int] = read_line(place, name)["line"]
        if number is None and len(line) < 2:
            raise RunError(
                f"No version of '{name}' was current before {name}@{line[-1] if line else known[-1]}.",
                kept="Nothing was changed.",
                do=f"Name one with --to; there are: {', '.join(f'{name}@{other}' for other in known)}.",
            )
        target = line[-2] if number is None else number
        if target not in known:
            open_version(f"{name}@{target}", runs)
        if line[-1:] == [target]:
            raise RunError(f"{name}@{target} is the current version already.", kept="Nothing was changed.")
        line = line[: line.index(target) + 1] if target in line else [*line, target]
        write_line(place, name, line, "rollback", target, reason)
    return open_version(f"{name}@{target}", runs)


def read_line(place: Path, name: str) -> dict[str, Any]:
    """What `NAME.json` in the folder for versions holds; an empty line when it is not there or damaged."""
    return _read(place / f"{name}.json") or {"format": FORMAT, "line": [], "log": []}


def write_line(place: Path, name: str, line: list[int], did: str, number: int, reason: str) -> None:
    """Write who is current, and add to the log what was done."""
    log = [
        *read_line(place, name)["log"],
        {"time": time.time(), "did": did, "number": number, "reason": reason},
    ]
    write_json(place / f"{name}.json", {"format": FORMAT, "line": line, "log": log})


@contextmanager
def changing(runs: Path | None = None) -> Iterator[Path]:
    """The folder for versions, with no other process changing it. RunError when the disk refuses a change."""
    place = versions_folder(runs)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with (place / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield place
    except OSError as error:
        raise RunError(
            f"The versions in {place} could not be changed ({error.strerror or error}).",
            kept="They are as they were.",
            do="Free space there, or make the folder writable.",
        ) from error


def _read(path: Path) -> dict[str, Any] | None:
    """The record at `path`; None when it is missing, damaged or of another format."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("format") == FORMAT else None
