"""8-bit blocks have the bytes of the `gguf` package's own quantiser."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from tunebook.export import gguf_eight_bits
from tunebook.export.gguf_eight_bits import eight_bits


def rows(kind: str) -> np.ndarray:
    made = np.random.default_rng(1).standard_normal((1000, 320)).astype(np.float32)
    if kind == "halves":  # with the largest at 127 the scale is 1, and every half is exact
        made = np.round(made * 20) + np.float32(0.5)
        made = made.astype(np.float32).reshape(-1, 32)
        made[:, 0] = 127
        made[:, 1] = np.nextafter(np.float32(0.5), np.float32(0))
        made[:, 2] = -made[:, 1]
        return np.ascontiguousarray(made.reshape(-1, 320))
    if kind == "zeros":
        made[::3] = 0
        made[1, :32] = -0.0
    if kind == "tiny":
        made *= np.float32(1e-7)
    return made


@pytest.mark.parametrize("kind", ["usual", "halves", "zeros", "tiny"])
def test_bytes_are_those_of_the_gguf_package(kind: str) -> None:
    values = rows(kind)
    wanted = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    made = eight_bits(values)
    assert made.shape == wanted.shape
    assert np.array_equal(made, wanted)


def test_every_shape_of_rows_and_a_view_that_is_not_in_order_come_out_the_same() -> None:
    values = rows("usual")
    for given in (values[:1], values[7], values.reshape(10, 100, 320), values.reshape(320, 1000)[:, ::-1][:, :992]):
        wanted = gguf.quantize(np.ascontiguousarray(given), gguf.GGMLQuantizationType.Q8_0)
        assert np.array_equal(eight_bits(given), wanted)


def test_a_large_tensor_made_by_two_threads_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rows("usual")
    wanted = eight_bits(values)
    monkeypatch.setattr(gguf_eight_bits, "_SLAB", 100)  # so that these are 100 slabs
    assert len(values) * 10 / 100 >= gguf_eight_bits._LARGE
    assert np.array_equal(eight_bits(values), wanted)
