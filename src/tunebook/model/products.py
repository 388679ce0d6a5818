"""The products with a layer's weights: most of a step's time.

    exact      a @ b in the tensors' own type, by PyTorch's BLAS
    bfloat16   both sides rounded to bfloat16 first, products summed in float32, the result rounded once and widened:
               half the time and less where the processor multiplies bfloat16 (AVX-512 BF16, AMX)

Weights are rounded when they are used; no copy of them is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        return a @ b if onto is None else torch.addmm(onto, a, b)


EXACT = Times()
