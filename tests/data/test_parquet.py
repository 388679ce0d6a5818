"""Parquet files hold more kinds of values than JSON: none of them makes a file unreadable, or a call something else."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunebook.data.conversation import Conversation, Problem
from tunebook.data.read import open_source
from tunebook.data.tools import tools_as_text

WORDS = {"prompt": pa.array(["q"] * 3), "completion": pa.array(["a", "b", "c"])}


def read(folder: Path, **columns: Any) -> list[Conversation | Problem]:
    pq.write_table(pa.table(columns), folder / "x.parquet")
    return list(open_source(folder / "x.parquet").conversations())


@pytest.mark.parametrize(
    "beside",
    [
        pa.array([1001, None, 0], pa.timestamp("ns")),
        pa.array([10**18] * 3, pa.timestamp("us")),
        pa.array([10**7] * 3, pa.date32()),
        pa.array([1001] * 3, pa.time64("ns")),
        pa.array([1001] * 3, pa.duration("ns")),
        pa.array([{"at": [1001]}] * 3, pa.struct([("at", pa.list_(pa.timestamp("ns")))])),
    ],
    ids=lambda array: str(array.type),
)
def test_a_column_of_times_that_python_cannot_hold_hides_no_row(beside, tmp_path):
    rows = read(tmp_path, **WORDS, beside=beside)
    assert [row.messages[1].content for row in rows if isinstance(row, Conversation)] == ["a", "b", "c"]


def test_a_value_that_cannot_be_written_out_makes_its_own_row_bad_and_no_other(tmp_path):
    moments = pa.array([[("at", 0)], [("at", 10**18)], []], pa.map_(pa.string(), pa.timestamp("us")))
    first, bad, last = read(tmp_path, **WORDS, beside=moments)
    assert isinstance(first, Conversation)
    assert isinstance(last, Conversation)
    assert isinstance(bad, Problem)
    assert (bad.line, bad.code) == (2, "wrong_type")


def test_times_and_decimals_in_a_call_are_texts_and_bytes_no_fault_of_its_own(tmp_path):
    moment, price = datetime.datetime(2024, 5, 17, 8, 30), Decimal("9.50")
    call = {"function": {"name": "book", "arguments": {"at": moment, "price": price, "key": b"k"}}}
    turns = [
        {"role": "user", "content": "q", "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    (row,) = read(tmp_path, messages=pa.array([turns]))
    assert isinstance(row, Conversation)
    arguments = row.messages[1].extra["tool_calls"][0]["function"]["arguments"]
    assert arguments["at"].startswith("2024-05-17 08:30:00")
    assert arguments["price"] == "9.50"
    assert len(row.id) == 32
    assert "2024-05-17" in tools_as_text(row).messages[1].content
