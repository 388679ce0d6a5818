"""Products with weights, in whichever precision, against float64."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest
import torch
from torch import Tensor

from tunebook.model.products import Times

SIZES = [(1, 7, 5), (33, 64, 48), (130, 96, 257)]


def operands(n: int, m: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, m), torch.randn(m, k), torch.randn(n, k)


@pytest.mark.parametrize("laid", [lambda b: b, lambda b: b.t().contiguous().t()], ids=["rows", "columns"])
@pytest.mark.parametrize("size", SIZES)
def test_exact_products_are_those_of_float64(size: tuple[int, int, int], laid: Callable[[Tensor], Tensor]) -> None:
    a, b, onto = operands(*size)
    before = onto.clone()
    wanted = a.double() @ b.double()
    made, added = Times()(a, laid(b)), Times()(a, laid(b), onto)
    turned = Times()(a.t().contiguous().t(), laid(b))
    for found, expected in ((made, wanted), (turned, wanted), (added, wanted + onto)):
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 2e-5 * size[1] ** 0.5
    assert torch.equal(onto, before)


def test_float64_stays_float64() -> None:
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


def test_memory_does_not_grow_with_the_number_of_sizes_seen() -> None:
    """Examples have many lengths; a library that keeps code for each of them (oneDNN: 0.6 MB) fills the memory."""
    weight, process = torch.randn(96, 64), psutil.Process()
    Times()(torch.randn(300, 64), weight.t())
    before = process.memory_info().rss
    for rows in range(2, 300):
        Times()(torch.randn(rows, 64), weight.t(), torch.randn(rows, 96))
        Times()(torch.randn(rows, 96), weight)
    assert process.memory_info().rss - before < 30e6
