"""Nothing is started, changed or removed without the key, by any route that there is."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from tests.studio.conftest import CHANGE, HOST, TOKEN
from tests.studio.oracle import watched
from tests.studio.security.conftest import KEY
from tunebook.studio.app import create_app


def test_jobs_cannot_be_started_stopped_or_removed_without_the_key(app, place):
    stranger = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    described = TestClient(app, base_url=f"http://{HOST}").get("/api/openapi.json", params={"token": TOKEN}).json()
    changing = [(method, path) for path, methods in described["paths"].items() for method in methods if method != "get"]
    assert len(changing) >= 8
    with watched() as seen:
        for method, path in changing:
            body = {"page": KEY, "data": "rows.jsonl", "model": "m", "name": "x-1", "changes": {}, "discard": True}
            filled = path.replace("{name}", "done-1").replace("{key}", KEY)
            for more in ({}, {"cookie": "tunebook=x"}, {"authorization": "Bearer x"}, {"authorization": TOKEN[:-1]}):
                answer = stranger.request(method.upper(), filled, headers={**CHANGE, **more}, content=json.dumps(body))
                assert answer.status_code == 401, (method, path)
            with_token = stranger.request(method.upper(), f"{filled}?token={TOKEN}", headers=CHANGE, content="{}")
            assert with_token.status_code == 401, "a key in an address changes nothing"
    assert not seen.commands
    assert not [path for path in seen.files if path.is_relative_to(place.folder)]
    assert (place.runs / "done-1").is_dir()


def test_every_public_route_is_described_so_that_the_tests_above_see_it(app):
    """A route left out of the description is a page, drawn by `views`, and only reads."""
    inner = app.app
    described = set(inner.openapi()["paths"])
    for route in _routes(inner):
        path, methods = getattr(route, "path", ""), getattr(route, "methods", None) or set()
        if methods and path not in described:
            assert methods <= {"GET", "HEAD"}, path


def _routes(app):
    found, more = [], list(app.routes)
    while more:
        route = more.pop()
        inside = getattr(route, "routes", None)
        more += list(inside) if inside and not hasattr(route, "methods") else []
        found.append(route)
    return found


def test_a_studio_can_only_be_made_for_named_hosts(place):
    with pytest.raises(TypeError):
        create_app(place, token=TOKEN)  # type: ignore[call-arg]
