"""A studio over a folder with two runs, asked through FastAPI's test client; no model is trained."""

from __future__ import annotations

import math

import pytest
from starlette.testclient import TestClient

from tests.evaluate.runs import make_run
from tunebook.plan.files import make_plan
from tunebook.runs.events import EventWriter
from tunebook.runs.store import create_run
from tunebook.studio.app import create_app
from tunebook.studio.place import Place

HOST = "127.0.0.1:8377"
TOKEN = "a-key-for-tests"
CHANGE = {"origin": f"http://{HOST}", "content-type": "application/json", "sec-fetch-site": "same-origin"}


def plan():
    return make_plan({"model": {"name": "smollm2-135m"}, "data": {"path": "data.jsonl"}})


@pytest.fixture
def place(tmp_path):
    """A finished run, and one whose process is gone and whose loss was not a number."""
    make_run(tmp_path / "runs" / "done-1", steps=40, review={"policy": "all"})
    run = create_run("broken-1", tmp_path / "runs", plan())
    events = EventWriter(run.events)
    events.emit("run", state="started", reason="", pid=1)
    for step, loss in enumerate([2.5, 2.4, math.nan, math.inf], 1):
        events.emit("metrics", step=step, epoch=step / 10, values={"training_loss": loss}, parts={"data": 0.1})
    return Place(tmp_path, tmp_path / "runs")


@pytest.fixture
def app(place):
    return create_app(place, token=TOKEN, hosts=[HOST])


@pytest.fixture
def stranger(app):
    """A browser that has no token."""
    return TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)


@pytest.fixture
def client(app):
    """A browser that opened the printed address."""
    client = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)
    client.cookies.set("tunebook", TOKEN)
    return client
