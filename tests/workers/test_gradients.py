"""Two workers and one: the same examples in the same step, and the same gradients, however the model is held."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.tiny import tiny_model
from tests.train.test_gradients import error, rows, wide
from tests.workers.crew import crew
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.plan.files import make_plan
from tunebook.train.forward import make_engine
from tunebook.train.loop import Job, optimizer_step
from tunebook.train.state import TrainState
from tunebook.workers.group import ALONE
from tunebook.workers.sharding import shard

DTYPES = {"float32": (torch.float32, 1e-6), "float64": (torch.float64, 1e-12)}
CASES = list(itertools.product(("lora", "full"), DTYPES, (False, True)))  # method, numbers, plain way
CLIPPED = 0.02


class Recorder:
    """In the optimizer's place: keeps each step's gradients, put together from all workers."""

    def __init__(self, workers, parameters):
        self.workers, self.parameters, self.steps, self.param_groups = workers, parameters, [], [{}]

    def step(self):
        grads = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        self.steps.append({name: grad.clone() for name, grad in self.workers.whole(grads).items()})

    def zero_grad(self, set_to_none):
        for parameter in self.parameters.values():
            parameter.grad = None


def steps_of(workers, method, dtype, plain, max_grad_norm=1e9):
    """(gradients, values) of three optimizer steps of a tiny model."""
    plan = make_plan(
        {
            "model": {"name": "x"},
            "data": {"path": "x"},
            "training": {
                "method": method,
                "batch_size": 4,
                "max_grad_norm": max_grad_norm,
                "micro_batch_tokens": 40,
                "epochs": {"min": 1, "max": 2},
            },
        }
    )
    base = wide(tiny_model()) if dtype == torch.float64 else tiny_model()
    model = make_trainable(base, plan).to(dtype)
    with torch.no_grad():  # adapters begin at nothing, and half of their gradients with them
        for name, parameter in trainable_parameters(model).items():
            if "lora_B" in name:
                parameter.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).view_as(parameter))
    if workers.sharded:
        shard(model, workers.world, "cpu")
    way = "plain" if plain else "joined" if workers.sharded else "fused"
    engine, parameters = make_engine(model, way=way), trainable_parameters(model)
    recorder, state = Recorder(workers, parameters), TrainState(micro_batch_tokens=40)
    everything = rows(12)
    job = Job(plan, engine, parameters, recorder, everything, np.arange(12), nothing, nothing, nothing, workers=workers)
    values = []
    for _ in range(3):
        values.append(optimizer_step(job, state))
        state.step += 1
    return recorder.steps, values


def nothing(*_, **__):
    return None


def all_cases(workers):
    found = {(method, kind, plain): steps_of(workers, method, DTYPES[kind][0], plain) for method, kind, plain in CASES}
    found["clipped"] = steps_of(workers, "full", torch.float64, False, CLIPPED)
    return found


@pytest.fixture(scope="module")
def one():
    return all_cases(ALONE)


@pytest.fixture(scope="module", params=["all-reduce", "fully_shard"])
def two(request, tmp_path_factory):
    """The first of two workers' results."""
    folder = tmp_path_factory.mktemp("crew")
    return crew(2, all_cases, folder, sharded=request.param == "fully_shard")[0]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1]} {'plain' if case[2] else 'fast'}")
def test_gradients_of_two_workers_equal_those_of_one(one, two, case):
    steps, values = one[case]
    their_steps, their_values = two[case]
    assert len(their_steps) == len(steps) == 3
    for mine, theirs in zip(steps, their_steps, strict=True):
        assert error(theirs, mine) < DTYPES[case[1]][1]
    for mine, theirs in zip(values, their_values, strict=True):
        assert theirs["training_loss"] == pytest.approx(mine["training_loss"], rel=DTYPES[case[1]][1])
        assert [theirs[name] for name in ("tokens", "trained_tokens")] == [mine["tokens"], mine["trained_tokens"]]


@pytest.mark.slow
def test_gradients_are_clipped_by_the_norm_of_all_workers(one, two):
    steps, values = one["clipped"]
    their_steps, their_values = two["clipped"]
    for mine, theirs in zip(values, their_values, strict=True):
        assert mine["gradient_norm"] > CLIPPED
        assert theirs["gradient_norm"] == pytest.approx(mine["gradient_norm"], rel=1e-9)
    for mine, theirs in zip(steps, their_steps, strict=True):
        assert error(theirs, mine) < 1e-9
