"""One farm for all tests of the folder, with a small plan, its straight run, and copies of that run to be hurt."""

from __future__ import annotations

import shutil

import pytest

from tests.faults.farm import Farm
from tests.faults.matrix import straight
from tunebook.runs.store import Run

SETTINGS = {"training.dropout": 0.1, "training.micro_batch_tokens": 150, "evaluation.schedule": "every 3 steps"}


@pytest.fixture(scope="session")
def farm(tmp_path_factory):
    home = tmp_path_factory.mktemp("farm")
    with Farm(home) as farm:
        farm.furnish()
        yield farm


@pytest.fixture(scope="session")
def finished(farm):
    """A finished run of 8 optimizer steps with copies of its folder at every cut; not to be written to."""
    return straight(farm, 0, SETTINGS)


@pytest.fixture
def copy(finished):
    """A function that makes a copy of the run as it was cut: `copy("checkpoint", 6)`; of the finished run without."""
    made = []

    def make(kind=None, step=None):
        source = finished.folder.with_name(f"{finished.name}-{kind}-{step}") if kind else finished.folder
        folder = finished.folder.with_name(f"copy-{len(made)}")
        shutil.copytree(source, folder)
        made.append(folder)
        return Run(folder)

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)
