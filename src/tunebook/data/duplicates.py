"""Which rows say the same, or nearly the same. What is kept of a row for it lies on disk, not in memory.

Exact duplicates have equal contents. Near-duplicates share at least NEAR of their word triples, instructions of the
system aside; they are found by MinHash (`sketch.py`): rows whose sketches agree in one of 25 bands are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tunebook.data.conversation import Conversation
from tunebook.data.sketch import BANDS, SIZE, UInt32, UInt64, band_keys, similarity, sketches

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Pairs = npt.NDArray[np.int64]

NEAR = 0.7
_AT_ONCE = 4096
# name -> (dtype, numbers a row)
_COLUMNS: dict[str, tuple[Any, int]] = {
    "id": (np.uint64, 1),
    "group": (np.uint64, 1),
    "line": (np.int64, 1),
    "sketch": (np.uint32, SIZE),
    **{f"band{number}": (np.uint64, 1) for number in range(BANDS)},
}


class RowIndex:
    """Ids, groups, lines and sketches of rows, in files of one column each: row i stands at place i."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> RowIndex:
        self.folder.mkdir(exist_ok=True)
        self._files = {name: (self.folder / name).open("wb") for name in _COLUMNS}
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, rows: Sequence[Conversation], groups: Sequence[int]) -> None:
        """Append rows; `groups` are 64-bit numbers."""
        if not rows:
            return
        sketch = sketches([_words_of(row) for row in rows])
        keys = band_keys(sketch)
        values: dict[str, Any] = {
            "id": np.array([int(row.id[:16], 16) for row in rows], np.uint64),
            "group": np.array(groups, np.uint64),
            "line": np.array([row.line for row in rows], np.int64),
            "sketch": sketch,
            **{f"band{number}": keys[:, number] for number in range(BANDS)},
        }
        for name, value in values.items():
            self._files[name].write(np.ascontiguousarray(value).data)

    def __len__(self) -> int:
        return (self.folder / "id").stat().st_size // 8

    def column(self, name: str) -> Any:
        """One column of numbers, read whole: 8 bytes a row."""
        return np.fromfile(self.folder / name, _COLUMNS[name][0])

    def sketch(self, places: Int64) -> UInt32:
        """The sketches of some rows, read from the disk."""
        if not len(places):
            return np.empty((0, SIZE), np.uint32)
        # Mapped anew each time: the pages that were read are given back at once.
        stored = np.memmap(self.folder / "sketch", np.uint32, "r").reshape(-1, SIZE)
        return np.array(stored[places])


def _words_of(row: Conversation) -> str:
    return "\n".join(turn.content for turn in row.messages if turn.role != "system")


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """`first[i]` is the place of the first row that says exactly what row i says (i itself when it is the first).

    `near` are pairs (earlier, later) of rows that are first and nearly the same; `groups` has one number for each row,
    equal for rows that must stay on one side of a split.
    """

    first: Int64
    near: Pairs
    groups: UInt64


def find_duplicates(index: RowIndex, *, own_groups: bool = False) -> Duplicates:
    """Compare all rows of `index` with each other. `own_groups`: the groups are the user's, and stand as they are."""
    first = _first_of_equals(index.column("id"))
    near = _near_pairs([index], first == np.arange(len(first)))
    groups = index.column("group")
    groups = groups if own_groups else _useful(groups, index.column("id"))
    return Duplicates(first, near, _joined(groups, np.concatenate([near, _pairs_of(first)])))


def find_leaks(train: RowIndex, validation: RowIndex) -> Pairs:
    """Pairs (row of train, row of validation) that say the same or nearly so; one for each such row of train.

    Of a run of near-duplicates that reaches into the validation file, every row of train is one: what is nearly the
    same as a near-copy is a copy too.
    """
    ids, count = np.concatenate([train.column("id"), validation.column("id")]), len(train)
    first = _first_of_equals(ids)
    near = _near_pairs([train, validation], first == np.arange(len(ids)))
    component = _components(np.concatenate([near, _pairs_of(first)]), len(ids))
    held, place = np.unique(component[count:], return_index=True)
    leaked = np.flatnonzero(np.isin(component[:count], held))
    return np.stack([leaked, place[np.searchsorted(held, component[leaked])]], 1)


def _first_of_equals(values: npt.NDArray[Any]) -> Int64:
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], np.int64)


def _pairs_of(first: Int64) -> Pairs:
    later = np.flatnonzero(first != np.arange(len(first)))
    return np.stack([first[later], later], 1)


def _near_pairs(indexes: Sequence[RowIndex], take_part: Bool) -> Pairs:
    """Pairs (earlier, later) of near-duplicates among the rows of all indexes end to end that take part."""
    found: list[Pairs] = [np.zeros((0, 2), np.int64)]
    for number in range(BANDS):
        keys = np.concatenate([index.column(f"band{number}") for index in indexes])
        for pairs in _agreeing(keys, take_part):
            alike = similarity(_sketch(indexes, pairs[:, 0]), _sketch(indexes, pairs[:, 1])) >= NEAR
            found.append(pairs[alike])
    return np.unique(np.concatenate(found), axis=0)


def _agreeing(keys: UInt64, take_part: Bool) -> Iterator[Pairs]:
    """Pairs of rows with equal keys, some at a time: each with the first of its run, and with the one before it."""
    rows = np.flatnonzero(take_part)
    rows = rows[np.argsort(keys[rows], kind="stable")]
    same = keys[rows[1:]] == keys[rows[:-1]]
    place = np.arange(len(rows))
    starts = np.maximum.accumulate(np.where(np.concatenate([[False], same]), 0, place)) if len(rows) else place
    later = np.flatnonzero(same) + 1
    pairs = np.stack([rows[later - 1], rows[later]], 1)
    leading = later[starts[later] != later - 1]
    pairs = np.concatenate([pairs, np.stack([rows[starts[leading]], rows[leading]], 1)])
    for start in range(0, len(pairs), _AT_ONCE):
        yield pairs[start : start + _AT_ONCE]


def _sketch(indexes: Sequence[RowIndex], places: Int64) -> UInt32:
    result = np.empty((len(places), SIZE), np.uint32)
    start = 0
    for index in indexes:
        mine = (places >= start) & (places < start + len(index))
        result[mine] = index.sketch(places[mine] - start)
        start += len(index)
    return result


def _useful(groups: UInt64, ids: UInt64) -> UInt64:
    """`groups`, but a first question that more than half of the rows share says nothing: those go by their content."""
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.where((sizes * 2 > len(groups))[inverse], ids, groups) if len(names) else groups


def _joined(groups: UInt64, pairs: Pairs) -> UInt64:
    """Groups that a pair of rows links become one, with the name of the earliest: rows added behind rename nothing."""
    names, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    component = _components(inverse[pairs], len(names))
    order = np.argsort(first, kind="stable")
    leader = np.zeros(len(names), np.int64)
    leader[component[order[::-1]]] = order[::-1]
    return np.asarray(names[leader[component]][inverse], np.uint64)


def _components(links: Pairs, count: int) -> Int64:
    """A number for each of `count` things, equal for those that are linked, directly or over others."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
