"""CSV, Parquet and pairs of line files, row by row."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunebook.data.conversation import Problem, Row
from tunebook.data.jsonl import MAX_ROW_BYTES
from tunebook.errors import DataError

_BATCH = 1024


def read_csv(path: Path) -> Iterator[Row | Problem]:
    """Rows under a header line; commas, semicolons or tabs (a .tsv file has tabs). An empty cell is a missing value.

    Rows count from 1, blank lines not at all. DataError when the header cannot be read.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        between = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
        reader = csv.reader(itertools.chain([first], file), delimiter=between, strict=True)
        header = _header(reader, path)
        number = 0
        while True:
            begin = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                # A quote that is not closed swallows the lines below it: each may have been a row.
                for line in range(begin, reader.line_num + 1):
                    number += 1
                    yield _bad_csv(number, error, begin, line)
                continue
            if cells is None:
                return
            if len(cells) > 1 or "".join(cells).strip():
                number += 1
                yield _csv_row(number, header, cells, reader.line_num)


def _bad_csv(number: int, error: csv.Error, begin: int, line: int) -> Problem:
    swallowed = f", behind a quote that line {begin} opens" if line > begin else ""
    return Problem(number, "bad_csv", f"not valid CSV: {error} (file line {line}{swallowed})")


def _header(reader: Any, path: Path) -> list[str]:
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        raise DataError(f"The header line of {path} is not valid CSV ({error}).", do="Mend its quotes.") from None
    if not header or len(set(header)) < len(header) or not all(name.strip() for name in header):
        raise DataError(f"The first line of {path} does not name every column once.", do="Give it a header line.")
    return header


def _csv_row(number: int, header: list[str], cells: list[str], line: int) -> Row | Problem:
    if len(cells) != len(header):
        message = f"{len(cells)} cells where the header has {len(header)} (file line {line})"
        return Problem(number, "wrong_cells", message, raw=cells)
    if any(not cell.isascii() and any("\udc80" <= char <= "\udcff" for char in cell) for cell in cells):
        return Problem(number, "bad_utf8", f"not UTF-8 text (file line {line})", raw=cells)
    return Row(number, {name: cell or None for name, cell in zip(header, cells, strict=True)})


def read_parquet(path: Path) -> Iterator[Row | Problem]:
    """Rows of a Parquet file, batch by batch. Keys that a nested row lacks are null in Arrow, and are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for value in _values(_written_out(batch)):
                    number += 1
                    if isinstance(value, UnicodeDecodeError):
                        yield Problem(number, "bad_utf8", "not UTF-8 text")
                    elif isinstance(value, Exception):
                        yield Problem(number, "wrong_type", f"holds a value that cannot be read ({value})")
                    else:
                        yield Row(number, without_nulls(value))
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}.") from None


def _written_out(batch: Any) -> Any:
    """The batch with times and decimals as text: Python does not hold all of them, and JSON none."""
    import pyarrow as pa

    columns = list(batch.columns)
    for place, column in enumerate(columns):
        if (kind := _as_text(column.type)) != column.type:
            with contextlib.suppress(pa.ArrowException):  # an unknown time zone, say: then Python is to try
                columns[place] = column.cast(kind)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _as_text(kind: Any) -> Any:
    """The Arrow type `kind` with text in place of times and decimals, at any depth."""
    import pyarrow as pa

    if (pa.types.is_temporal(kind) and not pa.types.is_interval(kind)) or pa.types.is_decimal(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_text(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_text(kind.value_type)))
    return kind


def _values(batch: Any) -> Iterator[dict[str, Any] | Exception]:
    """The rows of a batch; in place of one with a value that Python cannot hold, why."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except (ValueError, OverflowError) as error:
                yield error


def without_nulls(value: Any) -> Any:
    """`value` with null members of objects left out, at any depth."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def read_line_files(path: Path) -> Iterator[Row | Problem]:
    """Files of plain lines that belong together (`all.nl`, `all.cm`): line i of each is a column named by its file."""
    paths = line_files(path)
    files = [file.open("rb") for file in paths]
    try:
        for number, lines in enumerate(itertools.zip_longest(*files), 1):
            try:
                begin = "utf-8-sig" if number == 1 else "utf-8"
                cells = [line.decode(begin).rstrip("\r\n") if line is not None else None for line in lines]
            except UnicodeDecodeError:
                yield Problem(number, "bad_utf8", "not UTF-8 text", raw=list(lines))
                continue
            if any(cells):
                yield Row(number, {file.name: cell or None for file, cell in zip(paths, cells, strict=True)})
    finally:
        for file in files:
            file.close()


def line_files(path: Path) -> list[Path]:
    """`path`, then the files beside it that differ from it in their ending alone and have as many lines."""
    count = _count_lines(path)
    beside = [
        other
        for other in sorted(path.parent.glob(f"{glob_escape(path.stem)}.*"))
        if other != path and other.is_file() and other.suffix not in (".json", ".jsonl", ".csv", ".parquet")
    ]
    return [path, *(other for other in beside if _count_lines(other) == count)]


def glob_escape(name: str) -> str:
    """`name` with the characters that a glob pattern reads taken literally."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        lines, last = 0, b"\n"
        for piece in iter(lambda: file.read(2**20), b""):
            lines, last = lines + piece.count(b"\n"), piece[-1:]
        return lines + (last != b"\n")
