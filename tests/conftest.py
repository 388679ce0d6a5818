"""What several rooms of tests ask pytest for."""

from __future__ import annotations

import importlib

import pytest

from tunebook.model import flex


@pytest.fixture
def flex_on_a_cpu(monkeypatch):
    """FlexAttention, uncompiled, also where PyTorch has no kernel for its backward pass and therefore refuses."""
    module = importlib.import_module("torch.nn.attention.flex_attention")
    monkeypatch.setattr(module, "_validate_device", lambda *_: None)
    monkeypatch.setattr(flex, "DEVICES", ("cpu",))
