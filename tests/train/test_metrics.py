"""What a step and an evaluation say of themselves equals a float64 reference made row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.tiny import tiny_model
from tests.train.test_gradients import by_hand, rows, wide
from tunebook.evaluate.heldout import held_out_loss
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.plan.files import make_plan
from tunebook.train import loop
from tunebook.train.forward import make_engine
from tunebook.train.optim import clip_gradients, make_optimizer, norms_by_group
from tunebook.train.state import TrainState


def make_job(model, everything, **sections):
    training = {"method": "full", "batch_size": len(everything), "epochs": {"min": 1, "max": 1}}
    plan = make_plan({"model": {"name": "x"}, "data": {"path": "x"}, "training": training, **sections})
    model = make_trainable(model, plan).double()
    parameters = trainable_parameters(model)
    told = []

    def emit(kind, **fields):
        told.append({"kind": kind, **fields})

    return loop.Job(
        plan,
        make_engine(model),
        parameters,
        make_optimizer(parameters, plan.training),
        everything,
        np.arange(len(everything)),
        emit,
        lambda state: {},
        lambda state: None,
    ), told


def norm(gradients):
    return math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))


def test_loss_gradient_norm_and_token_counts_of_a_step_equal_the_reference():
    model, everything = wide(tiny_model()), rows()
    model.set_attn_implementation("sdpa")
    loss, expected = by_hand(model, everything)
    model.zero_grad(set_to_none=True)
    job, told = make_job(model, everything)
    loop.train(job, TrainState(50))
    (step,) = [event["values"] for event in told if event["kind"] == "metrics"]
    assert step["training_loss"] == pytest.approx(loss, abs=1e-12)
    assert step["gradient_norm"] == pytest.approx(norm(expected.values()), rel=1e-10)
    assert step["tokens"] == sum(len(row.ids) for row in everything)
    assert step["trained_tokens"] == sum(sum(row.trained[1:]) for row in everything)
    groups = {"embeddings": "embed", "layer 0": "layers.0.", "layer 1": "layers.1.", "head": "model.norm"}
    for group, part in groups.items():
        of_group = [gradient for name, gradient in expected.items() if part in name]
        assert step[f"gradient_norm/{group}"] == pytest.approx(norm(of_group), rel=1e-10)


def test_groups_are_few_and_their_squares_add_up_to_the_whole():
    model = tiny_model(num_hidden_layers=10)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    found = norms_by_group(dict(model.named_parameters()))
    assert [name.split("/")[1] for name in found] == [
        "embeddings",
        "layers 0-2",
        "layers 3-5",
        "layers 6-8",
        "layer 9",
        "head",
    ]
    whole = norm(parameter.grad for parameter in model.parameters())
    assert math.hypot(*found.values()) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("most", [0.5, 1e6])
def test_gradients_are_clipped_as_pytorch_clips_them(most):
    ours, theirs = tiny_model().double(), tiny_model().double()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.grad = torch.randn_like(mine)
        other.grad = mine.grad.clone()
    next(ours.parameters()).grad = next(theirs.parameters()).grad = None  # as of a parameter that had no part
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), most)
    found = clip_gradients(dict(ours.named_parameters()), most)
    assert found["gradient_norm"] == pytest.approx(float(expected), rel=1e-12)
    for mine, other in list(zip(ours.parameters(), theirs.parameters(), strict=True))[1:]:
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-12, atol=0)


def test_adapters_have_groups_too():
    job, told = make_job(
        tiny_model(), rows(), training={"method": "lora", "batch_size": 8, "epochs": {"min": 1, "max": 1}}
    )
    loop.train(job, TrainState(50))
    names = {name for event in told if event["kind"] == "metrics" for name in event["values"]}
    assert {"gradient_norm/layer 0", "gradient_norm/layer 1"} <= names


def test_a_metric_that_was_not_chosen_is_not_told():
    job, told = make_job(tiny_model(), rows(), metrics=["training_loss", "throughput"])
    loop.train(job, TrainState(50))
    (step,) = [event["values"] for event in told if event["kind"] == "metrics"]
    assert set(step) == {"training_loss", "learning_rate", "throughput", "tokens", "trained_tokens"}


def test_memory_is_told_with_its_peak_and_speed_in_tokens_per_second():
    job, told = make_job(tiny_model(), rows())
    loop.train(job, TrainState(50))
    (step,) = [event["values"] for event in told if event["kind"] == "metrics"]
    assert 1e7 < step["memory"] <= 1.01 * step["memory_peak"]
    (minutes,) = [event["minutes"] for event in told if event["kind"] == "metrics"]
    assert step["throughput"] == pytest.approx(step["tokens"] / (60 * minutes), rel=0.1)


def test_perplexity_equals_the_exponential_of_the_reference_loss():
    model, everything = wide(tiny_model()), rows()
    model.set_attn_implementation("sdpa")
    loss, _ = by_hand(model, everything)
    found = held_out_loss(make_engine(model), everything, range(len(everything)), 40)
    assert found.perplexity == pytest.approx(math.exp(loss), rel=1e-10)
    assert found.tokens == sum(sum(row.trained[1:]) for row in everything)
