"""Large requests, large pages and many heavy commands take a bounded time."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.studio.conftest import CHANGE
from tests.studio.security.conftest import KEY
from tunebook.studio import command

pytestmark = pytest.mark.slow  # seconds together


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/rules", '{"text": "' + "stop after 3 epochs, " * 200_000 + '"}'),
        ("/api/rules", '{"text": ' + "[" * 1_000_000 + "}"),
        ("/api/rules", '{"text": "' + "\\ud800" * 500_000 + '"}'),
        ("/api/order", json.dumps({"lines": ["validate the data set " * 200] * 1000})),
        (f"/api/pages/{KEY}/answers", json.dumps({"changes": {str(number): "x" for number in range(200_000)}})),
        (f"/api/pages/{KEY}/answers", json.dumps({"changes": {"metrics": ["x"] * 500_000}})),
        ("/api/plan", json.dumps({"page": KEY, "settings": ["training.seed=" + "9" * 40_000] * 100})),
        ("/api/plan", json.dumps({"page": "x" * 1_000_000})),
    ],
    ids=["prose", "nesting", "surrogates", "order", "many answers", "long list", "settings", "name"],
)
def test_denial_of_service_by_a_large_request_is_bounded(client, path, body):
    begun = time.process_time()
    answer = client.post(path, headers=CHANGE, content=body[:4_900_000])
    assert answer.status_code < 500
    assert time.process_time() - begun < 4
    assert client.get("/api/runs").status_code == 200, "and the studio goes on"


def test_denial_of_service_by_a_10_mb_page_is_bounded(client, place):
    (place.folder / "huge.md").write_text("---\ntitle: Huge\n---\n" + "## A\n\n- [ ] x **y** `z`\n" * 400_000)
    begun = time.process_time()
    assert client.get("/").status_code == 200
    assert client.get("/pages/own-huge").status_code == 200
    assert time.process_time() - begun < 2


def test_at_most_two_heavy_commands_run_at_once(place, monkeypatch):
    """However often a button is pressed, or however many tabs ask."""
    from threading import Barrier, Lock, Thread

    now, most, lock, together = 0, 0, Lock(), Barrier(8)

    def run(words, **options):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return subprocess.CompletedProcess(words, 0, "{}", "")

    monkeypatch.setattr(command.subprocess, "run", run)

    def ask():
        together.wait()
        command.call_json(["data", "check"], place.folder)

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
