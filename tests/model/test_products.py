"""Products with weights, by whichever library and in whichever precision, against float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tunebook.model import products
from tunebook.model.products import Times

SIZES = [(1, 7, 5), (33, 64, 48), (130, 96, 257)]


def operands(n: int, m: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, m), torch.randn(m, k), torch.randn(n, k)


@pytest.fixture(params=["PyTorch's BLAS", "oneDNN"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if request.param == "oneDNN" and linear is None:
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(products, "_onednn", lambda: linear if request.param == "oneDNN" else None)
    return str(request.param)


@pytest.mark.parametrize("laid", [lambda b: b, lambda b: b.t().contiguous().t()], ids=["rows", "columns"])
@pytest.mark.parametrize("size", SIZES)
def test_exact_products_are_those_of_float64(
    library: str, size: tuple[int, int, int], laid: Callable[[Tensor], Tensor]
) -> None:
    a, b, onto = operands(*size)
    before = onto.clone()
    wanted = a.double() @ b.double()
    made, added = Times()(a, laid(b)), Times()(a, laid(b), onto)
    turned = Times()(a.t().contiguous().t(), laid(b))
    for found, expected in ((made, wanted), (turned, wanted), (added, wanted + onto)):
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 2e-5 * size[1] ** 0.5
    assert torch.equal(onto, before)


def test_float64_stays_float64(library: str) -> None:
    a, b, onto = (tensor.double() for tensor in operands(5, 6, 7))
    assert torch.equal(Times()(a, b, onto), torch.addmm(onto, a, b))


@pytest.mark.parametrize("size", SIZES)
def test_bfloat16_rounds_both_sides_and_the_result_once(size: tuple[int, int, int]) -> None:
    a, b, onto = operands(*size)
    times = Times(bfloat16=True)
    rounded = a.bfloat16().double() @ b.bfloat16().double()
    made, added = times(times.seen(a), b), times(a, times.seen(b), onto)
    assert made.dtype == added.dtype == torch.float32
    spacing = rounded.abs().clamp(min=1e-2) * 2.0**-8  # half a unit in the last of bfloat16's 8 places
    assert ((made - rounded).abs() <= spacing * 1.01).all()
    assert ((added - (rounded + onto)).abs() <= spacing * 1.01 + 1e-6).all()
    assert not torch.equal(made.double(), rounded)
