"""Q8_0, llama.cpp's 8-bit blocks, faster than by the `gguf` package's own quantiser and with the same bytes.

    32 numbers   ->   scale (float16)  32 whole numbers of -127 to 127 (int8)        scale = largest magnitude / 127

A slab of blocks at a time, so that all passes over it find it in the processor's cache; of a large tensor two at once.
Facts: github.com/ggml-org/llama.cpp, ggml/src/ggml-quants.c (`quantize_row_q8_0_ref`).
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_BLOCK = 32
_SLAB = 4096  # blocks: half a megabyte
_LARGE = 64  # slabs, from where a tensor is worth two threads of its own
_BELOW_HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))


def eight_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Rows [..., width] as bytes [..., width / 32 * 34]; the width is a multiple of 32."""
    blocks = torch.from_numpy(np.ascontiguousarray(values)).view(-1, _BLOCK)
    made = torch.empty(len(blocks), 2 + _BLOCK, dtype=torch.uint8)
    slabs = torch.split(blocks, _SLAB), torch.split(made, _SLAB)
    if len(slabs[0]) < _LARGE:
        deque(map(_fill, *slabs), maxlen=0)
    else:
        with ThreadPoolExecutor(2, initializer=partial(torch.set_num_threads, 1)) as pool:
            deque(pool.map(_fill, *slabs), maxlen=0)
    return made.view(*values.shape[:-1], -1).numpy()


def _fill(blocks: Tensor, made: Tensor) -> None:
    """Put blocks [n, 32] into `made` [n, 34]."""
    scale = blocks.abs().amax(1, keepdim=True).div_(127)
    whole = blocks * torch.where(scale == 0, 0.0, 1 / scale)
    # halves are rounded away from zero; 0.5 itself would carry the number just below a half up, too
    whole += torch.full_like(whole, _BELOW_HALF).copysign_(whole)
    made[:, :2] = scale.half().view(torch.uint8)
    made[:, 2:] = whole.to(torch.int8).view(torch.uint8)  # cuts towards zero
