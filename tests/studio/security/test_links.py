"""Links that lead out of the studio's folders are neither followed nor written through."""

from __future__ import annotations

import json
import os

import pytest

from tests.studio.conftest import plan
from tests.studio.oracle import watched
from tests.studio.security.conftest import KEY, SECRET, change
from tunebook.runs.store import create_run


@pytest.mark.parametrize(
    "part", ["run.log", "plan.yaml", "report.json", "samples/step-0.json", "events.jsonl", "run.json"]
)
def test_a_link_inside_a_run_folder_that_leads_out_is_not_followed(client, root, place, part):
    """Such a link comes with a run folder that somebody else packed."""
    outside = root / "elsewhere" / "step-0.json"
    outside.write_text(
        json.dumps({"format": 1, "step": 0, "seq": 1, "time": 1, "kind": "log", "answers": SECRET}) + "\n"
    )
    path = place.runs / "done-1" / part
    path.unlink(missing_ok=True)
    path.symlink_to(outside)
    os.utime(outside, (2e9, 2e9))
    with watched() as seen:
        for name in ("", "/log", "/plan", "/report", "/samples/0", "/metrics"):
            assert SECRET not in client.get(f"/api/runs/done-1{name}").text
        client.get("/api/runs")
        client.get("/runs/done-1")
    assert not seen.outside(root, root / "home")


def test_a_linked_run_folder_is_neither_listed_nor_read_nor_removed(client, root, place):
    outside = create_run("outside-1", root / "elsewhere", plan())
    (place.runs / "link-1").symlink_to(outside.folder)
    with watched() as seen:
        assert "link-1" not in client.get("/api/runs").text
        assert client.get("/api/runs/link-1").status_code == 409
        assert change(client, "DELETE", "/api/runs/link-1", {}).status_code == 409
    assert outside.folder.is_dir()
    assert not [path for path in seen.outside(root, root / "home") if path.is_file()]


@pytest.mark.parametrize("link", ["answers", f"answers/{KEY}.yaml", "plans"])
def test_answers_and_plans_are_not_written_through_a_link_that_leads_out(client, root, place, link):
    target = root / "elsewhere" / "target"
    path = place.folder / link
    path.parent.mkdir(exist_ok=True)
    if link.endswith(".yaml"):
        target.write_text("untouched")
    else:
        target.mkdir()
    path.symlink_to(target)
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with watched() as seen:
        given = change(client, "POST", f"/api/pages/{KEY}/answers", {"changes": {"batch-size": "8 (Balanced)"}})
        assert given.status_code == 409 or link == "plans"
        assert change(client, "POST", "/api/runs", {"page": KEY, "data": "rows.jsonl", "model": "m"}).status_code >= 400
    assert not [path for path in seen.outside(root, root / "home") if path != target]
    assert target.read_text() == "untouched" if link.endswith(".yaml") else not list(target.iterdir())


def test_data_and_pages_behind_a_link_that_leads_out_are_not_offered(client, root, place):
    (place.folder / "rows.jsonl").symlink_to(root / "secret.jsonl")
    (place.folder / "mine.md").symlink_to(root / "secret.md")
    (place.folder / "deep").symlink_to(root / "elsewhere")
    offered = client.get("/api/data").json()["files"]
    assert offered
    assert not [name for name in offered if name.startswith(("rows", "deep"))]
    assert SECRET not in client.get("/").text
    for name in ("rows.jsonl", "deep/secret.jsonl"):
        assert change(client, "POST", "/api/data/check", {"file": name}).status_code == 404
