"""Rendered examples: in memory one by one, on disk as an Arrow file that is mapped, not loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tunebook.errors import DataError

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_FORMAT = b"tunebook examples 2"
_ROWS_A_BATCH = 1024
SCHEMA = pa.schema(
    [
        ("ids", pa.list_(pa.int32())),
        ("trained", pa.list_(pa.uint8())),
        ("length", pa.int32()),
        ("trained_count", pa.int32()),
        ("prompt_length", pa.int32()),
        ("line", pa.int64()),
        ("group", pa.uint64()),
        ("copies", pa.int32()),
        ("id", pa.string()),
        ("reference", pa.string()),
    ],
    metadata={b"format": _FORMAT},
)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """Token ids of one conversation and which of them are trained.

        ids      <s> user What ? </s> assistant Paris . </s>
        trained   0   0    0   0   0      0       1   1   1

    `ids[:prompt_length]` is what inference sends for the last trained answer, whose words are `reference`. `group` is a
    64-bit number; examples of one group stay on one side of the split. `id` depends on the content alone. An
    epoch trains it `copies` times.
    """

    ids: Int32
    trained: Bool
    id: str
    line: int
    prompt_length: int
    reference: str
    group: int = 0
    copies: int = 1

    @property
    def prompt_ids(self) -> Int32:
        """The ids after which the last answer is generated."""
        return self.ids[: self.prompt_length]


class Examples(Sequence[Example]):
    """Examples in an Arrow file. Rows are views on the mapped file; `lengths` and `trained_counts` read no tokens."""

    def __init__(self, batches: Sequence[Any], path: Path) -> None:
        self.path = path
        self._batches = [batch for batch in batches if batch.num_rows]
        self._ends = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64)
        self.lengths: Int32 = self._column("length", np.int32)
        self.trained_counts: Int32 = self._column("trained_count", np.int32)

    @classmethod
    def open(cls, path: Path) -> Examples:
        """Map the file at `path`; DataError when it is missing, damaged or of another format."""
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if (reader.schema.metadata or {}).get(b"format") != _FORMAT:
                raise DataError(f"{path} was not written by this version of Tunebook.", do="Check the data set again.")
            return cls([reader.get_batch(index) for index in range(reader.num_record_batches)], path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"The examples in {path} cannot be read ({error}).", do="Check the data set again."
            ) from None

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        number = int(np.searchsorted(self._ends, place, side="right"))
        batch = self._batches[number]
        return _example(batch, place - int(self._ends[number]) + batch.num_rows)

    def __iter__(self) -> Iterator[Example]:
        for batch in self._batches:
            for row in range(batch.num_rows):
                yield _example(batch, row)

    @property
    def groups(self) -> npt.NDArray[np.uint64]:
        """The group of each example."""
        groups: npt.NDArray[np.uint64] = self._column("group", np.uint64)
        return groups

    @property
    def copies(self) -> Int32:
        """How often an epoch trains each example."""
        copies: Int32 = self._column("copies", np.int32)
        return copies

    @property
    def lines(self) -> Int64:
        """The line or row of the data file that each example comes from."""
        lines: Int64 = self._column("line", np.int64)
        return lines

    @property
    def row_ids(self) -> list[str]:
        """The content id of each example."""
        return [value for batch in self._batches for value in batch.column("id").to_pylist()]

    @property
    def fingerprint(self) -> str:
        """A hash of every token and mask in order: equal exactly when training sees the same examples."""
        digest = hashlib.sha256()
        for batch in _read_batches(self.path) if self._batches else ():
            digest.update(batch.column("length").to_numpy().tobytes())
            for name in ("ids", "trained"):
                digest.update(np.ascontiguousarray(batch.column(name).flatten().to_numpy()).data)
        return digest.hexdigest()

    def _column(self, name: str, kind: Any) -> Any:
        parts = [batch.column(name).to_numpy() for batch in self._batches]
        return np.concatenate(parts) if parts else np.zeros(0, kind)


def _read_batches(path: Path) -> Iterator[Any]:
    """Record batches read one by one, not mapped: what has been read does not stay in memory."""
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _example(batch: Any, row: int) -> Example:
    return Example(
        ids=_values(batch.column("ids"), row),
        trained=_values(batch.column("trained"), row).view(np.bool_),
        id=batch.column("id")[row].as_py(),
        line=batch.column("line")[row].as_py(),
        prompt_length=batch.column("prompt_length")[row].as_py(),
        reference=batch.column("reference")[row].as_py(),
        group=batch.column("group")[row].as_py(),
        copies=batch.column("copies")[row].as_py(),
    )


def _values(column: Any, row: int) -> Any:
    return column[row].values.to_numpy()


class ExampleWriter:
    """Writes examples batch by batch; the file is there, whole, once the `with` block ends without an error."""

    def __init__(self, path: Path) -> None:
        self._path, self._aside = path, path.with_name(f".{path.name}.{os.getpid()}")
        self._waiting: list[Example] = []

    def __enter__(self) -> ExampleWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = pa.OSFile(str(self._aside), "wb")
        self._writer = pa.ipc.new_file(self._sink, SCHEMA)
        return self

    def add(self, example: Example) -> None:
        """Append one example."""
        self._waiting.append(example)
        if len(self._waiting) >= _ROWS_A_BATCH:
            self._flush()

    def add_batch(self, batch: Any) -> None:
        """Append a record batch of SCHEMA."""
        self._flush()
        self._writer.write_batch(batch)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_batch(as_batch(self._waiting))
            self._waiting = []

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._flush()
            self._writer.close()
            self._sink.close()
            if kind is None:
                self._aside.replace(self._path)
        finally:
            self._aside.unlink(missing_ok=True)


def write_examples(path: Path, examples: Iterable[Example]) -> Examples:
    """Write `examples` to `path`, whole or not at all, and open the result."""
    with ExampleWriter(path) as writer:
        for example in examples:
            writer.add(example)
    return Examples.open(path)


def copy_examples(source: Path, target: Path, keep: Bool, groups: npt.NDArray[np.uint64]) -> Examples:
    """Copy the examples that `keep` marks from one file to another, with new groups; both have one value an example."""
    start = 0
    place = SCHEMA.get_field_index("group")
    with ExampleWriter(target) as writer:
        for batch in _read_batches(source):
            rows = slice(start, start + batch.num_rows)
            batch = batch.set_column(place, SCHEMA.field(place), pa.array(groups[rows]))
            writer.add_batch(batch.filter(pa.array(keep[rows])).replace_schema_metadata(SCHEMA.metadata))
            start += batch.num_rows
    return Examples.open(target)


def as_batch(examples: Sequence[Example]) -> Any:
    """The record batch of some examples."""
    lengths = np.array([len(example.ids) for example in examples], np.int32)
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    trained = np.concatenate([example.trained for example in examples])
    counts = np.array([int(example.trained.sum()) for example in examples], np.int32)
    ids = np.concatenate([example.ids for example in examples])
    columns = [
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids, pa.int32())),
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(trained.view(np.uint8))),
        pa.array(lengths),
        pa.array(counts),
        pa.array([example.prompt_length for example in examples], pa.int32()),
        pa.array([example.line for example in examples], pa.int64()),
        pa.array([example.group for example in examples], pa.uint64()),
        pa.array([example.copies for example in examples], pa.int32()),
        pa.array([example.id for example in examples], pa.string()),
        pa.array([example.reference for example in examples], pa.string()),
    ]
    return pa.record_batch(columns, schema=SCHEMA)
