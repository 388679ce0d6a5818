"""A folder for runs, and runs in it that nothing has begun."""

from __future__ import annotations

import pytest

from tests.studio.conftest import plan
from tests.workflow.conftest import base, home, values  # noqa: F401  (fixtures)
from tunebook.queue.entries import enqueue
from tunebook.runs.store import create_run


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def queued(runs):
    def queued(name, **more):
        run = create_run(name, runs, plan())
        enqueue(run, **more)
        return run

    return queued
