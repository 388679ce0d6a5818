"""A request to stop lies in the run's folder until a process finds it, or begins anew."""

from __future__ import annotations

import pytest

from tunebook.runs.lock import hold_lock
from tunebook.runs.stop import ask_to_stop, drop_request, read_request, request_stop
from tunebook.runs.store import Run


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.mark.parametrize("discard", [False, True])
def test_a_run_that_a_process_writes_is_asked(run, discard):
    with hold_lock(run.folder):
        assert ask_to_stop(run, discard=discard)
    assert read_request(run).save is not discard
    drop_request(run)
    assert read_request(run) is None


def test_a_run_without_a_process_is_not_asked(run):
    assert not ask_to_stop(run, discard=False)
    assert read_request(run) is None


def test_a_damaged_request_asks_to_stop_and_save(run):
    request_stop(run, discard=True)
    (run.folder / "stop.json").write_text('{"disc')
    assert read_request(run).save
