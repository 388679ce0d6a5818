"""Requests made from the API's own description, by schemathesis: none ends in a fault of the studio's own.

`make api-test` runs this. Commands are not started: what they print is a fault, in words.
"""

from __future__ import annotations

import subprocess

import pytest

schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, settings  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance  # noqa: E402

from tests.studio.conftest import CHANGE, HOST, TOKEN  # noqa: E402
from tunebook.studio import api_queue, command  # noqa: E402

pytestmark = pytest.mark.heavy
KEY = {"authorization": f"Bearer {TOKEN}"}
REAL = {"name": "done-1", "key": "phase-3-fine-tuning", "step": 0}
CHECKS = [not_a_server_error, content_type_conformance, status_code_conformance]
quick = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def description(app, place, monkeypatch):
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')

    def run(words, **options):
        return subprocess.CompletedProcess(words, 1, "", "The command line says no.")

    monkeypatch.setattr(command.subprocess, "run", run)
    monkeypatch.setattr(api_queue, "start_worker", lambda runs: 1)
    monkeypatch.setattr("tunebook.workflow.start.start_detached", lambda run: 1)
    return schemathesis.openapi.from_asgi("/api/openapi.json", app, headers={**KEY, "host": HOST})


api = schemathesis.pytest.from_fixture("description")


@api.parametrize()
@quick
def test_any_request_is_answered_as_described(case):
    case.call_and_validate(headers={**CHANGE, **KEY, "host": HOST}, checks=CHECKS)


@api.exclude(method="DELETE").parametrize()
@quick
def test_a_request_about_what_exists_is_answered_as_described(case):
    case.path_parameters = {name: REAL[name] for name in case.path_parameters or {}}
    case.call_and_validate(headers={**CHANGE, **KEY, "host": HOST}, checks=CHECKS)


@api.parametrize()
@settings(quick, max_examples=10)
def test_any_request_without_the_key_is_answered_401(case):
    for guess in ("", "x", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper()):
        headers = {**CHANGE, "authorization": f"Bearer {guess}", "host": HOST}
        assert case.call(headers=headers).status_code == 401
