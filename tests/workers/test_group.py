"""What workers say to each other, and what they learn of one that is gone."""

from __future__ import annotations

import pytest
import torch

from tests.workers.crew import crew
from tunebook.errors import TrainingError, WorkerLost
from tunebook.workers.group import ALONE


def talk(workers):
    """Everything that two workers can ask of each other; the second ends by a fault of its own."""
    weight, unused = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
    if workers.rank == 1:
        weight.grad = torch.tensor([1.0, 2.0, 3.0])
    loss = workers.sum_gradients([weight, unused], 1.5 + workers.rank)
    found = {
        "same": workers.same(f"said by {workers.rank}"),
        "gather": workers.gather(workers.rank * 10),
        "any": (workers.any(workers.rank == 1), workers.any(False)),
        "share": workers.share([3, 1, 4, 1, 5], [3, 1, 4, 1, 5], lambda mine: [(item, workers.rank) for item in mine]),
        "loss": loss,
        "grads": (weight.grad, unused.grad),
    }
    workers.mark("the last word")
    if workers.rank == 1:
        workers.report(TrainingError("The loss was not finite.", do="Lower it."))
        return found
    try:
        workers.same("never heard")
    except WorkerLost as error:
        found["lost"] = str(error)
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return crew(2, talk, tmp_path_factory.mktemp("talk"))


@pytest.mark.slow
def test_all_hear_the_first_and_everybody_hears_all(told):
    assert [each["same"] for each in told] == ["said by 0"] * 2
    assert [each["gather"] for each in told] == [[0, 10]] * 2
    assert [each["any"] for each in told] == [(True, False)] * 2


@pytest.mark.slow
def test_shared_work_comes_back_in_order_done_by_both(told):
    assert told[0]["share"] == told[1]["share"]
    assert [item for item, _ in told[0]["share"]] == [3, 1, 4, 1, 5]
    assert {rank for _, rank in told[0]["share"]} == {0, 1}


@pytest.mark.slow
def test_gradients_are_summed_and_what_no_worker_used_has_none(told):
    for each in told:
        assert each["loss"] == 4.0
        assert each["grads"][0].tolist() == [1.0, 2.0, 3.0]
        assert each["grads"][1] is None


@pytest.mark.slow
def test_the_fault_of_any_worker_is_known_to_the_first(told):
    assert "Worker 1 of 0 to 1 ended: The loss was not finite." in told[0]["lost"]


def test_one_worker_alone_talks_to_nobody():
    weight = torch.nn.Parameter(torch.zeros(2))
    assert ALONE.same("x") == "x"
    assert ALONE.gather(1) == [1]
    assert ALONE.share([2, 1], [2, 1], list) == [2, 1]
    assert ALONE.sum_gradients([weight], 0.5) == 0.5
    assert weight.grad is None
