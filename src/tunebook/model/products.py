"""The products with a layer's weights: most of a step's time, so each kind of processor gets its fastest way.

    exact      a @ b in the tensors' own type, by PyTorch's BLAS (MKL) or by oneDNN: equal up to the order of sums
    bfloat16   both sides rounded to bfloat16 first, products summed in float32, the result rounded once and widened:
               half the time and less where the processor multiplies bfloat16 (AVX-512 BF16, AMX)

Weights are rounded when they are used; no copy of them is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Times:
    """`times(times.seen(a), b, onto)` is a b + onto. a [n, m], b [m, k], onto [n, k]; the result is a new tensor."""

    bfloat16: bool = False

    def seen(self, a: Tensor) -> Tensor:
        """One side as it is multiplied: made once where it has a part in several products."""
        return a.bfloat16() if self.bfloat16 else a

    def __call__(self, a: Tensor, b: Tensor, onto: Tensor | None = None) -> Tensor:
        """The product, in float32 where the sides were rounded, else in their own type."""
        if self.bfloat16:
            rounded = self.seen(a) @ self.seen(b)
            return rounded.float() if onto is None else onto + rounded
        linear = _onednn() if b.dtype == torch.float32 and b.device.type == "cpu" and a.is_contiguous() else None
        if linear is None:
            return a @ b if onto is None else torch.addmm(onto, a, b)
        made: Tensor = (
            linear(a, b.t(), None, "none", [], "") if onto is None else linear.binary(a, onto, b.t(), None, "add")
        )
        return made


EXACT = Times()


@cache
def _onednn() -> Any:
    """oneDNN's product on processors of AMD, where MKL takes slower paths (docs/benchmarks.md); None elsewhere."""
    try:
        made_by_amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()[:4096]
    except OSError:
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None) if made_by_amd else None
