"""A sweep: every combination of the values, all runs or none."""

from __future__ import annotations

import pytest

from tests.queue.test_entries import names
from tests.studio.conftest import plan
from tunebook.errors import PlanError, RunError
from tunebook.plan.files import make_plan, save_plan
from tunebook.queue import entries
from tunebook.queue.sweep import add_sweep, variants
from tunebook.runs.store import create_run, list_runs


@pytest.fixture
def plan_file(home, values):
    save_plan(make_plan(values), home / "plan.yaml")
    return home / "plan.yaml"


@pytest.fixture
def prepared(monkeypatch):
    """Run folders are made without the checks that need a tokenizer."""
    monkeypatch.setattr("tunebook.queue.sweep.prepare_run", lambda plan, name, runs: create_run(name, runs, plan))


def test_every_combination_is_a_plan_and_the_last_value_varies_fastest(plan_file):
    found = variants(plan_file, ["training.learning_rate=[1e-4, 3e-4]", "lora.rank=[4, 8]", "training.seed=7"])
    seen = [(v.plan.training.learning_rate, v.plan.lora.rank, v.plan.training.seed) for v in found]
    assert seen == [(1e-4, 4, 7), (1e-4, 8, 7), (3e-4, 4, 7), (3e-4, 8, 7)]
    assert found[1].values == {"training.learning_rate": "0.0001", "lora.rank": "8", "training.seed": "7"}
    assert found[1].plan.origins["lora.rank"].origin == "set"


def test_a_value_that_is_a_list_stands_in_a_list(plan_file):
    found = variants(plan_file, ["export.formats=[[safetensors], [], [gguf, adapter]]"])
    assert [list(v.plan.export.formats) for v in found] == [["safetensors"], [], ["gguf", "adapter"]]
    assert [list(v.plan.export.formats) for v in variants(plan_file, ["export.formats=[]"])] == [[]]


def test_every_fault_is_told_at_once_and_no_run_is_made(plan_file, runs):
    with pytest.raises(PlanError) as told:
        add_sweep(plan_file, ["training.learning_rate=[1e-4, -1, fast]", "lora.rank=[4, 0]"], "x", runs)
    said = str(told.value)
    assert "5 of the 6 plans" in said
    assert all(value in said for value in ("-1", "fast", "0"))
    assert list_runs(runs) == []


@pytest.mark.parametrize("setting", ["lora.rnk=[1, 2]", "lora.rank", "lora.rank=[1", "=[1, 2]"])
def test_a_setting_that_is_none_is_told_in_the_plans_words(plan_file, setting):
    with pytest.raises(PlanError):
        variants(plan_file, [setting])


def test_more_than_a_hundred_runs_are_refused(plan_file):
    many = list(range(1, 12))
    with pytest.raises(PlanError, match="121 runs"):
        variants(plan_file, [f"training.seed={many}", f"lora.rank={many}"])


def test_the_runs_are_queued_in_order_under_the_sweeps_name(plan_file, runs, prepared):
    made = add_sweep(plan_file, ["lora.rank=[4, 8, 2]"], "rank", runs)
    assert [run.name for run in made] == names(runs) == ["rank-1", "rank-2", "rank-3"]
    assert [run.plan().lora.rank for run in made] == [4, 8, 2]


def test_a_name_that_is_taken_makes_no_run(plan_file, runs, prepared, queued):
    queued("rank-2")
    with pytest.raises(RunError, match="rank-2"):
        add_sweep(plan_file, ["lora.rank=[4, 8]"], "rank", runs)
    assert names(runs) == ["rank-2"]


def test_without_a_name_the_runs_are_called_by_their_data(plan_file, runs, prepared):
    assert [run.name for run in add_sweep(plan_file, ["lora.rank=[4, 8]"], None, runs)] == ["rows-1", "rows-2"]


def test_a_run_that_cannot_be_made_takes_the_others_along(plan_file, runs, monkeypatch):
    def prepare(plan, name, runs):
        if plan.lora.rank == 8:
            raise RunError("The disk is full.")
        return create_run(name, runs, plan)

    monkeypatch.setattr("tunebook.queue.sweep.prepare_run", prepare)
    with pytest.raises(RunError, match="disk is full"):
        add_sweep(plan_file, ["lora.rank=[4, 2, 8]"], "rank", runs)
    assert list_runs(runs) == []


def test_a_run_that_cannot_be_queued_takes_the_others_along(plan_file, runs, prepared, full_disk):
    full_disk(after=1)
    with pytest.raises(OSError, match="No space left"):
        add_sweep(plan_file, ["lora.rank=[4, 2, 8]"], "rank", runs)
    assert list_runs(runs) == []


def test_a_run_that_cannot_be_queued_is_not_left_behind(runs, full_disk, monkeypatch):
    monkeypatch.setattr("tunebook.workflow.start.prepare_run", lambda plan, name, runs: create_run(name, runs, plan))
    full_disk(after=0)
    with pytest.raises(OSError, match="No space left"):
        entries.add_runs([plan()], "one", runs)
    assert list_runs(runs) == []


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that has no room for a place in the queue, after some."""

    def full_disk(*, after):
        whole, written = entries.write_json, []

        def write(path, value):
            if len(written) == after:
                raise OSError(28, "No space left on device", str(path))
            written.append(whole(path, value))

        monkeypatch.setattr(entries, "write_json", write)

    return full_disk
