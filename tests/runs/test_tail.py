"""Following events as they are written."""

from __future__ import annotations

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
