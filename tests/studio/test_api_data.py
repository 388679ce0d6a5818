"""Data in the API: files taken into the working folder, and what the command line is asked of them."""

from __future__ import annotations

import pytest

from tests.studio.conftest import CHANGE
from tunebook.studio import api_data

BYTES = {**CHANGE, "content-type": "application/octet-stream"}
ROWS = b'{"prompt": "a", "completion": "b"}\n'


def send(client, name, data=ROWS, headers=BYTES):
    return client.post(f"/api/data/files/{name}", content=data, headers=headers)


def test_a_file_is_taken_as_it_is_and_listed(client, place):
    assert send(client, "rows.jsonl").json() == {"file": "rows.jsonl"}
    assert (place.folder / "rows.jsonl").read_bytes() == ROWS
    assert client.get("/api/data").json()["files"] == ["rows.jsonl"]


def test_a_file_of_a_name_that_is_taken_gets_a_number(client, place):
    names = [send(client, "rows.jsonl", data).json()["file"] for data in (b"1", b"2", b"3")]
    assert names == ["rows.jsonl", "rows-2.jsonl", "rows-3.jsonl"]
    assert [(place.folder / name).read_bytes() for name in names] == [b"1", b"2", b"3"]


def test_a_name_that_was_taken_while_a_file_was_sent_is_not_written_over(client, place, monkeypatch):
    real = api_data.run_in_threadpool

    async def meanwhile(*work):
        (place.folder / "rows.jsonl").write_bytes(b"another's")
        return await real(*work)

    monkeypatch.setattr(api_data, "run_in_threadpool", meanwhile)
    assert send(client, "rows.jsonl").json() == {"file": "rows-2.jsonl"}
    assert (place.folder / "rows.jsonl").read_bytes() == b"another's"
    assert (place.folder / "rows-2.jsonl").read_bytes() == ROWS


def test_what_the_studio_keeps_itself_is_not_offered_as_data(client, place):
    client.post("/api/pages/phase-3-fine-tuning/tasks", json={"done": ["a"]}, headers=CHANGE)
    (place.folder / "old.tasks.json").write_text("{}")
    assert (place.folder / "answers" / "phase-3-fine-tuning.tasks.json").exists()
    assert client.get("/api/data").json()["files"] == []


@pytest.mark.parametrize(
    "name", ["..%2F..%2Fetc%2Frows.jsonl", ".rows.jsonl", "a%00b.jsonl", "é 🙂.jsonl", "x" * 300 + ".csv"]
)
def test_a_name_never_leads_out_of_the_folder(client, place, name):
    answer = send(client, name)
    if answer.status_code == 201:
        (made,) = place.data_files()
        assert (place.folder / made).resolve().parent == place.folder.resolve()
        assert len(made) <= 120
    else:
        assert answer.status_code in (404, 405)
        assert place.data_files() == []


@pytest.mark.parametrize("name", ["rows.exe", "rows", ".jsonl", "rows.jsonl.sh"])
def test_what_is_no_data_file_by_its_name_is_refused(client, place, name):
    before = sorted(place.folder.iterdir())
    assert send(client, name).status_code == 409
    assert sorted(place.folder.iterdir()) == before


def test_only_files_may_be_bytes_and_they_must_be(client):
    assert send(client, "rows.jsonl", headers=CHANGE).status_code == 415
    assert client.post("/api/rules", content=b"{}", headers=BYTES).status_code == 415


def test_a_file_may_be_longer_than_other_changes(client, place):
    data = b"x" * 6_000_000
    assert send(client, "long.csv", data).status_code == 201
    assert (place.folder / "long.csv").stat().st_size == len(data)


def test_the_users_columns_reach_the_command_line_as_words(client, place, monkeypatch):
    called = []
    monkeypatch.setattr(api_data, "call_json", lambda arguments, folder, **_: called.append(arguments) or {})
    send(client, "rows.jsonl")
    columns = {"prompt": "question; rm", "completion": "--model=x"}
    client.post("/api/data/check", json={"file": "rows.jsonl", "columns": columns}, headers=CHANGE)
    client.post(
        "/api/data/show", json={"file": "rows.jsonl", "model": "m", "row": 1, "columns": columns}, headers=CHANGE
    )
    for arguments in called:
        assert {"--columns=prompt=question; rm", "--columns=completion=--model=x"} <= set(arguments)
        assert arguments[-2:] == ["--", str(place.folder / "rows.jsonl")]
