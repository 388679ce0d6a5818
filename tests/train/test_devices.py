"""What a GPU asks of the code around it, shown on devices that a CPU has: where tensors go, and which are let go."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import pytest
import torch

from tests.tiny import tiny_model
from tunebook.errors import TrainingError
from tunebook.model.adapters import trainable_parameters
from tunebook.model.products import Times
from tunebook.plan.files import make_plan
from tunebook.train.loop import _one_try, rehearse
from tunebook.train.loss import summed_loss, token_losses
from tunebook.train.memory import memory_taken
from tunebook.train.optim import load_optimizer_tensors, make_optimizer, optimizer_tensors
from tunebook.train.state import TrainState


def test_an_optimizers_state_goes_where_its_parameters_are():
    plan = make_plan({"model": {"name": "x"}, "data": {"path": "x"}, "training": {"method": "full"}})
    parameters = trainable_parameters(tiny_model())
    optimizer = make_optimizer(parameters, plan.training)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    saved = optimizer_tensors(optimizer, parameters)
    elsewhere = {name: torch.nn.Parameter(parameter.to("meta")) for name, parameter in parameters.items()}
    resumed = make_optimizer(elsewhere, plan.training)
    load_optimizer_tensors(resumed, elsewhere, saved)
    assert len(saved) == 3 * len(elsewhere)
    assert all(tensor.is_meta for tensor in optimizer_tensors(resumed, elsewhere).values())


def test_a_step_that_ran_out_of_memory_keeps_none_of_its_tensors():
    held = []

    class Engine:
        def join(self, group):
            return group

        def forward_backward(self, group, divide_by):
            activations = torch.zeros(10)
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory")

    summed, failed = _one_try(SimpleNamespace(engine=Engine()), [([1], True)], 1)
    assert (summed, type(failed)) == (0.0, torch.OutOfMemoryError)
    assert held[0]() is None


def test_an_optimizer_that_memory_does_not_hold_is_found_before_step_1(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty_like", full)
    parameters = {"weight": torch.nn.Parameter(torch.zeros(3))}
    engine = SimpleNamespace(model=SimpleNamespace(train=lambda: None))
    job = SimpleNamespace(parameters=parameters, optimizer=SimpleNamespace(state={}), engine=engine)
    with pytest.raises(TrainingError, match="Memory ran out"):
        rehearse(job, TrainState(64), [SimpleNamespace(ids=[1, 2])])


@pytest.mark.parametrize("chunk", [3, 100])
def test_logits_rounded_to_bfloat16_give_a_loss_and_gradients_near_the_exact_ones(chunk):
    torch.manual_seed(0)
    hidden, weight = torch.randn(20, 16), torch.randn(50, 16)
    targets = torch.randint(0, 50, (20,))
    found = []
    for times in (Times(), Times(bfloat16=True)):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        loss = summed_loss(h, w, targets, chunk=chunk, times=times, logits_times=times)
        loss.backward()
        found.append((loss.detach(), h.grad, w.grad))
    exact, rounded = found
    assert float(exact[0]) == pytest.approx(float(token_losses(hidden, weight, targets).sum()), rel=1e-5)
    for one, other in zip(exact, rounded, strict=True):
        assert 0 < float((one - other).norm() / one.norm()) < 0.02


def test_memory_is_the_gpus_where_there_is_one(monkeypatch):
    assert memory_taken()["memory"] > 1e6
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    assert (memory_taken()["memory"], memory_taken()["memory_device"]) == (123.0, 123.0)
