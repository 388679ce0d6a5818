"""Addresses that lead nowhere: a page to people, JSON to the API."""

from __future__ import annotations


def test_what_is_not_there_is_said_on_a_page_and_to_the_api_as_json(client):
    for path in ("/nothing-here", "/runs/nobody", "/static/nothing.js"):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"].startswith("text/html"), path
        assert "There is no" in answer.text, path
    answer = client.get("/api/nothing-here")
    assert (answer.status_code, answer.json()["error"]["what"]) == (404, "There is nothing at this address.")
