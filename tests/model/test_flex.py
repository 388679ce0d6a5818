"""FlexAttention gives what each example's own attention gives, and is not used where it does not.

A CPU runs its rule of who sees whom without compiling it; what a GPU's compiler makes of it, a GPU has to say.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.tiny import tiny_model
from tunebook.model import flex
from tunebook.model.dropout import draws, set_dropout
from tunebook.train.forward import make_engine

CPU = torch.device("cpu")
GPU = torch.device("cuda")
CONFIG = SimpleNamespace(num_attention_heads=4, num_key_value_heads=2, hidden_size=64)


@pytest.mark.usefixtures("flex_on_a_cpu")
def test_output_and_gradients_are_those_of_pytorchs_own_attention():
    assert flex.largest_difference(4, 2, 16, CPU, torch.float64) < 1e-12
    assert flex.largest_difference(4, 4, 8, CPU, torch.float32) < 1e-5


def test_each_token_sees_the_prefix_and_its_own_example_up_to_itself():
    sees = flex.mask((3, 2), 2, CPU).mask_mod
    rows = [[bool(sees(None, None, torch.tensor(q), torch.tensor(k))) for k in range(7)] for q in range(7)]
    drawn = ["".join(".#"[seen] for seen in row) for row in rows]
    assert drawn == ["#......", "##.....", "###....", "####...", "#####..", "##...#.", "##...##"]


@pytest.mark.usefixtures("flex_on_a_cpu")
@pytest.mark.parametrize(("made_with", "rate", "flexible"), [(0.0, 0.1, False), (0.1, 0.0, True), (0, 0.1, False)])
def test_a_model_whose_attention_draws_dropout_does_not_use_it(made_with, rate, flexible):
    model = tiny_model(attention_dropout=made_with)
    set_dropout(model, rate)  # the plan's, whatever its configuration says
    engine = make_engine(model, way="joined")
    assert engine.flexible is flexible
    assert engine.why_not_flex == ("" if flexible else "the model's attention has dropout")
    assert draws(model) is not flexible


def test_a_kernel_that_fails_or_is_wrong_is_not_used_and_says_so(monkeypatch):
    def broken(*_):
        raise RuntimeError("no ptxas")

    monkeypatch.setattr(flex, "largest_difference", broken)
    assert flex.why_not(CONFIG, GPU, [torch.float32]) == "its kernel failed on this machine (RuntimeError)"
    for apart in (0.02, float("nan")):
        monkeypatch.setattr(flex, "largest_difference", lambda *_, apart=apart: apart)
        assert flex.why_not(CONFIG, GPU, [torch.float32]).startswith(f"its kernel is wrong by {apart:.2g} in")
    monkeypatch.setattr(flex, "largest_difference", lambda *_: 1e-6)
    assert flex.why_not(CONFIG, GPU, [torch.bfloat16, torch.float32]) == ""


@pytest.mark.usefixtures("flex_on_a_cpu")
def test_a_model_that_passes_its_trial_uses_it_and_a_cpu_without_a_kernel_never_does(monkeypatch):
    engine = make_engine(tiny_model(), way="joined", precision="bfloat16")
    assert (engine.flexible, engine.why_not_flex) == (True, "")
    monkeypatch.setattr(flex, "why_not", lambda *_: "its kernel failed")
    engine = make_engine(tiny_model(), way="joined")
    assert (engine.flexible, engine.why_not_flex) == (False, "its kernel failed")
    monkeypatch.undo()
    engine = make_engine(tiny_model(), way="joined")
    assert (engine.flexible, engine.why_not_flex) == (False, "")


@pytest.mark.parametrize("wrong", ["scale", "mask", "prefix", "nan in a gradient", "wrong without gradients"])
@pytest.mark.usefixtures("flex_on_a_cpu")
def test_the_trial_catches_a_wrong_kernel(monkeypatch, wrong):
    right, mask = flex.attend, flex.mask
    changed = {
        "scale": lambda q, k, v, m, scale: right(q, k, v, m, 0.2),
        "nan in a gradient": lambda q, k, v, m, scale: right(q, k, _Spoils.apply(v), m, scale),
        "wrong without gradients": lambda *given: right(*given) * (1 if torch.is_grad_enabled() else 1.1),
    }
    if wrong in changed:
        monkeypatch.setattr(flex, "attend", changed[wrong])
    elif wrong == "mask":
        monkeypatch.setattr(flex, "mask", lambda lengths, *rest: mask((sum(lengths),), *rest))
    else:
        monkeypatch.setattr(flex, "mask", lambda lengths, prefix, *rest: mask((prefix, *lengths), 0, *rest))
    assert not flex.largest_difference(4, 2, 16, CPU, torch.float32) < 0.05


class _Spoils(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        grad = grad.clone()
        grad.view(-1)[3] = torch.nan
        return grad
