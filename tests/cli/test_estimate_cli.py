"""`tunebook estimate`: what it promises, and that it reckons with what the plan says."""

from __future__ import annotations

import json

import pytest

from tests.cli.call import call
from tests.workflow.conftest import base, home, values  # noqa: F401  (fixtures)
from tunebook.plan.files import make_plan, save_plan
from tunebook.workflow.estimate import size_of


@pytest.mark.slow
def test_an_estimate_counts_what_the_plan_asks_for_and_leaves_nothing(home, values):  # noqa: F811
    save_plan(make_plan(values), home / "plan.yaml")
    done = call("estimate", "plan.yaml", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["size"] == "small"
    assert found["usual"] == "30 minutes to 2 hours"
    assert 0 < found["seconds"]["low"] <= found["seconds"]["expected"] <= found["seconds"]["high"]
    assert found["factors"]["steps_per_epoch"] * 2 == found["optimizer_steps"]
    assert found["factors"]["evaluations"] == len(
        {*range(3, found["optimizer_steps"] + 1, 3), found["optimizer_steps"]}
    )
    assert found["memory_bytes"] > 1e7
    assert found["disk_bytes"] > 0
    assert not (home / "runs").exists()
    longer = json.loads(call("estimate", "plan.yaml", "--json", "--set", "training.epochs.max=40").out)
    assert longer["optimizer_steps"] == 20 * found["optimizer_steps"]
    assert longer["factors"]["parts"]["training"] > 5 * found["factors"]["parts"]["training"]


@pytest.mark.parametrize(("examples", "size"), [(1, "small"), (999, "small"), (1000, "medium"), (10_000, "large")])
def test_sizes_are_the_pages(examples, size):
    assert size_of(examples) == size


def test_devices_that_are_not_here_are_computed_and_said_to_be(home, values):  # noqa: F811
    save_plan(make_plan(values), home / "plan.yaml")
    done = call("estimate", "plan.yaml", "--workers", "4", "--device", "h100", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["workers"], found["device"], found["computed"], found["fits"]) == (4, "h100", True, True)
    assert found["seconds"] == pytest.approx(found["seconds_per_step"] * found["optimizer_steps"])
    words = call("estimate", "plan.yaml", "--workers", "4", "--device", "h100")
    assert "4 x h100 (all-reduce)" in words.out
    assert "not measured" in words.err
    assert "Known are" in call("estimate", "plan.yaml", "--device", "abacus").err
