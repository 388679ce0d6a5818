"""The guard: nobody without the token, no foreign host or page, and nothing changed by what was refused."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.studio.conftest import CHANGE, HOST, TOKEN
from tunebook.studio.app import create_app
from tunebook.studio.guard import MAX_BODY

FOREIGN_HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example:8377",
    "localhost.:8377",
    "0.0.0.0:8377",
    "[::1]:8377",
    "[::1]evil",
    "127.0.0.1",
    "127.0.0.1:8378",
    "127.0.0.1:8377@evil.example",
    "",
]


def every_route(app):
    """(method, path) of all routes, static files and the description of the API among them."""
    found = []
    described = TestClient(app, base_url=f"http://{HOST}").get("/api/openapi.json", params={"token": TOKEN}).json()
    for path, methods in described["paths"].items():
        filled = path.replace("{name}", "done-1").replace("{key}", "phase-3-fine-tuning").replace("{step}", "0")
        found += [(method.upper(), filled) for method in methods]
    pages = ["/", "/runs/done-1", "/pages/phase-3-fine-tuning", "/data", "/static/icon.svg", "/api/openapi.json", "/no"]
    return found + [("GET", path) for path in pages]


def test_every_route_without_a_token_answers_401(app, stranger, place):
    routes = every_route(app)
    assert len(routes) > 20
    for method, path in routes:
        answer = stranger.request(method, path, headers=CHANGE, json={} if method != "GET" else None)
        assert answer.status_code == 401, (method, path)
        assert TOKEN not in answer.text
        assert "set-cookie" not in answer.headers
    assert (place.runs / "done-1").is_dir()


def test_a_wrong_token_answers_401(stranger):
    for headers in ({"authorization": "Bearer wrong"}, {"cookie": "tunebook=wrong"}, {"cookie": "tunebook="}):
        assert stranger.get("/api/runs", headers=headers).status_code == 401
    assert stranger.get("/api/runs?token=wrong").status_code == 401
    assert stranger.get("/api/runs?token=").status_code == 401


@pytest.mark.parametrize("other", ['g_state={"i_l":0}', "a[b]=c", "no equals sign", "=", 'quoted="half', "é=🙂"])
def test_a_cookie_of_another_server_that_cannot_be_read_hides_no_key(stranger, other):
    for cookie in (f"{other}; tunebook={TOKEN}", f"tunebook={TOKEN}; {other}"):
        assert stranger.get("/api/runs", headers={"cookie": cookie.encode()}).status_code == 200
    assert stranger.get("/api/runs", headers={"cookie": f"{other}; tunebook=x".encode()}).status_code == 401


def test_the_printed_address_sets_a_strict_cookie_and_leaves_no_token_in_the_address(stranger):
    answer = stranger.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert stranger.get("/").status_code == 200, "the cookie is enough from then on"


def test_the_address_for_the_browser_that_is_opened_works_once_and_for_the_first_page_alone(place):
    app = create_app(place, token=TOKEN, hosts=[HOST], once="only-once")
    first, second = (TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) for _ in range(2))
    for path in ("/api/runs", "/data", "/static/icon.svg"):
        assert first.get(path, params={"token": "only-once"}).status_code == 401
    assert first.post("/", params={"token": "only-once"}, headers=CHANGE, content="{}").status_code == 401
    assert first.get("/", params={"token": "only-once"}).status_code == 303
    assert first.get("/").status_code == 200
    assert second.get("/", params={"token": "only-once"}).status_code == 401
    assert second.get("/", params={"token": ""}).status_code == 401
    assert second.get("/", params={"token": TOKEN}).status_code == 303


def test_the_redirect_stays_on_this_host(stranger):
    answer = stranger.get(f"http://{HOST}//evil.example/x", params={"token": TOKEN, "a": "1"})
    assert answer.headers["location"] == "/evil.example/x?a=1"


def test_a_script_may_send_the_token_as_a_bearer(stranger):
    assert stranger.get("/api/runs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_host_is_refused_on_every_kind_of_route(client, host):
    for path in ("/", "/api/runs", "/static/icon.svg"):
        assert client.get(path, headers={"host": host}).status_code == 421
    headers = {**CHANGE, "host": host, "origin": f"http://{host}"}
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"ws://{HOST}/api/feed", headers=headers):
        pass


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"http://{HOST}.evil.example"},
        {"origin": f"https://{HOST}"},
        {"origin": None},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
def test_a_change_from_a_foreign_page_is_refused_and_nothing_changes(client, place, headers):
    sent = {key: value for key, value in {**CHANGE, **headers}.items() if value is not None}
    assert client.request("DELETE", "/api/runs/done-1", headers=sent, content="{}").status_code == 403
    assert (place.runs / "done-1").is_dir()


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_change_that_is_not_json_is_refused(client, place, kind):
    answer = client.request("DELETE", "/api/runs/done-1", headers={**CHANGE, "content-type": kind}, content="{}")
    assert answer.status_code == 415
    assert (place.runs / "done-1").is_dir()


def test_nothing_is_changed_by_a_get(client, place):
    for path in ("/api/runs/done-1/stop", "/api/runs/done-1/resume"):
        assert client.get(path).status_code in (404, 405)
    assert client.request("PATCH", "/api/runs/done-1", headers=CHANGE, content="{}").status_code == 405


def test_a_foreign_page_cannot_open_the_feed(client, stranger):
    for sender, origin in ((client, "https://evil.example"), (client, "null"), (stranger, f"http://{HOST}")):
        with (
            pytest.raises(WebSocketDisconnect),
            sender.websocket_connect(f"ws://{HOST}/api/feed", headers={"origin": origin}),
        ):
            pass


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(client):
    body = b'{"text": "' + b"x" * MAX_BODY + b'"}'
    assert client.post("/api/rules", headers=CHANGE, content=body).status_code == 413

    def pieces():
        for start in range(0, len(body), 500_000):
            yield body[start : start + 500_000]

    assert client.post("/api/rules", headers=CHANGE, content=pieces()).status_code in (400, 413, 422)


def test_every_answer_carries_the_strict_policy(client, stranger):
    answers = [client.get(path) for path in ("/", "/api/runs", "/static/icon.svg", "/nothing-here", "/data")]
    answers += [stranger.get("/"), client.get("/", headers={"host": "evil.example"})]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"


def test_the_pages_hold_no_inline_script_style_or_handler(client):
    for path in ("/", "/runs/done-1", "/pages/phase-3-fine-tuning", "/data"):
        text = client.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick" not in text
        assert "<script>" not in text
        assert TOKEN not in text
