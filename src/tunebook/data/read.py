"""A data file -> conversations with the places where they stood. Kind and form are found by looking."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunebook.data.columns import Shape, find_shape, unused_texts
from tunebook.data.conversation import Conversation, Problem, Row
from tunebook.data.formats import to_conversation
from tunebook.data.json_text import BOM
from tunebook.data.jsonl import MAX_ROW_BYTES, read_json, read_jsonl
from tunebook.data.tabular import line_files, read_csv, read_line_files, read_parquet
from tunebook.errors import DataError

Kind = Literal["jsonl", "json", "csv", "parquet", "lines"]
READERS: dict[Kind, Callable[[Path], Iterator[Row | Problem]]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "parquet": read_parquet,
    "lines": read_line_files,
}
# So many good rows decide the form, of so many that are looked at.
_GOOD_ROWS, _LOOKED_AT = 100, 10_000
_HEAD = 2**16


@dataclass(frozen=True, slots=True)
class Source:
    """A data file whose form is known. `shape` is None when none of its first rows can be read.

    `unused` are columns that hold text, of which the form makes nothing.
    """

    path: Path
    kind: Kind
    shape: Shape | None
    unused: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        """The name of the form."""
        return self.shape.name if self.shape else "unknown"

    @property
    def own_groups(self) -> bool:
        """Is there a column that groups rows?"""
        return self.shape is not None and "group" in self.shape.columns

    @property
    def files(self) -> list[Path]:
        """The file, and those read with it line by line."""
        return line_files(self.path) if self.kind == "lines" else [self.path]

    def conversations(self) -> Iterator[Conversation | Problem]:
        """Every row in file order: what it says, or what is wrong with it. DataError when reading fails midway."""
        try:
            for row in READERS[self.kind](self.path):
                yield self._read(row)
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def _read(self, row: Row | Problem) -> Conversation | Problem:
        if isinstance(row, Problem):
            return row
        if self.shape is None:
            return Problem(row.line, "missing_key", "form unknown", raw=row.value)
        return to_conversation(row, self.shape)


def open_source(path: Path, columns: Mapping[str, str] | None = None) -> Source:
    """Look at a data file. DataError: missing, unreadable, empty, or of a form that is not recognised."""
    try:
        kind = find_kind(path)
        found = itertools.islice(READERS[kind](path), _LOOKED_AT)
        first = next(found, None)
        good = (row.value for row in itertools.chain([first], found) if isinstance(row, Row))
        rows = list(itertools.islice(good, _GOOD_ROWS))
        if first is None:
            raise DataError(f"{path} has no rows.", do="Give a file with at least two examples.")
        if kind == "lines" and not columns:
            raise _lines_fault(path)
        shape = find_shape(rows, columns, path.name) if rows else None
        return Source(path, kind, shape, tuple(unused_texts(rows, shape)) if shape else ())
    except OSError as error:
        raise _unreadable(path, error) from None


def find_kind(path: Path) -> Kind:
    """What sort of file this is, from its name and first bytes. OSError; DataError for UTF-16 text and archives."""
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a data file.", do="Give a JSONL, JSON, CSV or Parquet file.")
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if head.removeprefix(BOM).lstrip()[:1] == b"{":  # the first row may be longer, and what follows it decides
            head += file.readline(MAX_ROW_BYTES) + file.read(_HEAD)
    if not head:
        raise DataError(f"{path} is empty.", do="Give a file with at least two examples.")
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path} is UTF-16 text.", do="Save it as UTF-8.")
    if head[:2] in (b"\x1f\x8b", b"PK") or head[:4] == b"\x28\xb5\x2f\xfd":
        raise DataError(f"{path} is compressed.", do="Unpack it first.")
    ending = path.suffix.lower()
    start = head.removeprefix(BOM).lstrip()
    if ending in (".jsonl", ".ndjson"):
        return "json" if start[:1] == b"[" and not start.split(b"\n")[0].rstrip().endswith(b"]") else "jsonl"
    if ending in (".csv", ".tsv"):
        return "csv"
    if ending in (".parquet", ".pq"):
        raise DataError(f"{path} is not a Parquet file.", do="Write it again, or name it after what it is.")
    if ending == ".json" or start[:1] in (b"{", b"["):
        return "jsonl" if _looks_like_lines(start) else "json"
    return "lines"


def _looks_like_lines(start: bytes) -> bool:
    """Is the first line an object by itself, with another one below?"""
    first, _, rest = start.partition(b"\n")
    return first.startswith(b"{") and first.rstrip().endswith(b"}") and rest.lstrip()[:1] == b"{"


def _lines_fault(path: Path) -> DataError:
    paths = line_files(path)
    if len(paths) == 1:
        return DataError(
            f"{path} is plain text, of which no file beside it has as many lines.",
            do="Give a JSONL, JSON, CSV or Parquet file.",
        )
    mine, other = paths[0].name, paths[1].name
    return DataError(
        f"{path} holds plain lines, as many as {other} beside it.",
        do=f"If each line of one answers that of the other: --columns prompt={mine} --columns completion={other}.",
    )


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(
            f"There is no data file {path}.", do="Check the path; relative ones count from the plan's folder."
        )
    return DataError(f"{path} cannot be read ({error.strerror or error}).", do="Check its permissions.")
