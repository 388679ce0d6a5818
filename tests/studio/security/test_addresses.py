"""No address that a user gives is fetched."""

from __future__ import annotations

import socket

import pytest

from tests.studio.oracle import watched
from tests.studio.security.conftest import KEY, change

ADDRESSES = [
    "http://127.0.0.1:{port}/x",
    "http://[::1]:{port}/x",
    "http://2130706433:{port}/x",
    "http://0x7f000001:{port}/",
    "http://user@127.0.0.1:{port}\\@example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
    "hf://127.0.0.1:{port}/x",
    "http://169.254.169.254/latest/meta-data",
]


def test_server_side_requests_to_an_address_that_a_user_gives_are_never_made(client, place):
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with socket.create_server(("127.0.0.1", 0)) as listener, watched() as seen:
        listener.setblocking(False)
        for address in ADDRESSES:
            there = address.format(port=listener.getsockname()[1])
            assert change(client, "POST", "/api/data/check", {"file": there}).status_code == 404
            assert change(client, "POST", "/api/plan", {"page": KEY, "model": there}).status_code == 200
            assert change(client, "POST", "/api/runs", {"page": KEY, "data": there}).status_code == 404
            change(client, "POST", "/api/rules", {"text": f"stop when {there} says so"})
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not seen.addresses


def test_an_address_is_no_model(place):
    from tunebook.errors import ModelError
    from tunebook.model.sources import find_model

    for address in ADDRESSES:
        with pytest.raises(ModelError, match="There is no model"):
            find_model(address.format(port=9), place.folder)
