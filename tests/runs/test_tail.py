"""Following events as they are written."""

from __future__ import annotations

import pytest

from tunebook.runs.events import EventTail, EventWriter


def test_a_tail_gives_each_new_event_once_and_no_unfinished_line(tmp_path):
    path = tmp_path / "events.jsonl"
    early = EventTail(path)
    writer = EventWriter(path)
    writer.emit("log", message="before")
    late = EventTail(path)
    writer.emit("log", message="one")
    with path.open("ab") as file:
        file.write(b'{"seq": 3, "ki')
    assert [event["message"] for event in early.new()] == ["before", "one"]
    assert [event["message"] for event in late.new()] == ["one"]
    assert late.new() == []
    with path.open("ab") as file:
        file.write(b'nd": "log", "message": "two"}\n')
    assert [event["message"] for event in late.new()] == ["two"]


@pytest.mark.parametrize("left", [b'{"seq": 2, "ki', b"\0" * 40])
def test_what_a_dead_writer_left_half_written_is_passed_over(tmp_path, left):
    path = tmp_path / "events.jsonl"
    EventWriter(path).emit("log", message="before")
    with path.open("ab") as file:
        file.write(left)
    tail = EventTail(path)
    assert tail.new() == []
    EventWriter(path).emit("log", message="after")  # the next writer cuts it off first
    assert [event["message"] for event in tail.new()] == ["after"]
