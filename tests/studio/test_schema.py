"""Requests made from the API's own description, by schemathesis: none ends in a fault of the studio's own.

`make api-test` runs this. Commands are not started: what they print is a fault, in words.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from types import SimpleNamespace

import pytest

schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis.errors import Unsatisfiable  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance  # noqa: E402

from tests.studio.conftest import CHANGE, HOST, TOKEN  # noqa: E402
from tunebook.studio import api_queue, api_work, command  # noqa: E402

pytestmark = pytest.mark.heavy
KEY = {"authorization": f"Bearer {TOKEN}"}
REAL = {"name": "done-1", "key": "phase-3-fine-tuning", "step": 0}
CHECKS = [not_a_server_error, content_type_conformance, status_code_conformance]


@pytest.fixture
def operations(app, place, monkeypatch):
    """Each method and path of the description; commands answer with a fault."""
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')

    def run(words, **options):
        return subprocess.CompletedProcess(words, 1, "", "The command line says no.")

    monkeypatch.setattr(command.subprocess, "run", run)
    ended = SimpleNamespace(poll=lambda: 1, pid=1)
    monkeypatch.setattr(
        api_work, "subprocess", SimpleNamespace(Popen=lambda *_, **__: ended, DEVNULL=subprocess.DEVNULL)
    )
    monkeypatch.setattr(api_queue, "start_worker", lambda runs: 1)
    monkeypatch.setattr("tunebook.workflow.start.start_detached", lambda run: 1)
    found = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers={**KEY, "host": HOST})
    operations = [result.ok() for result in found.get_all_operations()]
    assert len(operations) > 20
    return operations


def each(operations, count, ask):
    """Call `ask` with `count` requests to each operation that fit its description, and as many that do not."""
    quick = settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with suppress(Unsatisfiable):  # where nothing is asked for, nothing can be wrong
                quick(given(operation.as_strategy(mode))(ask))()


def test_any_request_is_answered_as_described(operations):
    def ask(case):
        case.call_and_validate(headers={**CHANGE, **KEY, "host": HOST}, checks=CHECKS)

    each(operations, 20, ask)


def test_a_request_about_what_exists_is_answered_as_described(operations):
    def ask(case):
        case.path_parameters = {name: REAL[name] for name in case.path_parameters or {}}
        case.call_and_validate(headers={**CHANGE, **KEY, "host": HOST}, checks=CHECKS)

    each([operation for operation in operations if operation.method.lower() != "delete"], 20, ask)


def test_any_request_without_the_key_is_answered_401(operations):
    def ask(case):
        for guess in ("", "x", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper()):
            headers = {**CHANGE, "authorization": f"Bearer {guess}", "host": HOST}
            assert case.call(headers=headers).status_code == 401

    each(operations, 3, ask)
