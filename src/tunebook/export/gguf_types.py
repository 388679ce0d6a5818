"""How each tensor of a GGUF file is stored: F16, Q8_0, or Q4_K_M where llama.cpp's own quantiser is at hand.

Q4_K_M is a mixture: 4-bit blocks of 256 for most matrices, 6-bit ones for the output and for some of the value and
down projections; rows that do not divide by 256 fall back to 5 and 8 bits. Which is which follows
github.com/ggml-org/llama.cpp, src/llama-quant.cpp.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tunebook.export.gguf_eight_bits import eight_bits

Kind = Literal["f16", "q8_0", "q4_k_m"]
_BLOCK = re.compile(r"blk\.(\d+)\.(attn_v|ffn_down)\.")


def kinds_at_hand() -> tuple[Kind, ...]:
    """What can be written here; Q4_K_M needs the extra `llama`."""
    return ("f16", "q8_0", "q4_k_m") if _quantiser() else ("f16", "q8_0")


def file_type(kind: Kind) -> int:
    """The file's type as llama.cpp numbers it."""
    import gguf

    return int(gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"])


def stored_type(name: str, width: int, kind: Kind, layers: int, tied: bool) -> Any:
    """The type (GGMLQuantizationType) of the matrix `name` with rows of `width` numbers."""
    import gguf

    types = gguf.GGMLQuantizationType
    if kind == "f16" or width % 32:
        return types.F16
    if kind == "q8_0":
        return types.Q8_0
    found = _BLOCK.match(name)
    more = found is not None and _more_bits(int(found[1]), layers)
    output = name == "output.weight" or (tied and name == "token_embd.weight")
    if width % 256:
        return types.Q8_0 if more or output else types.Q5_0
    return types.Q6_K if more or output else types.Q4_K


def quantise(values: npt.NDArray[np.float32], kind: Any) -> npt.NDArray[np.uint8]:
    """Rows of float32 as rows of bytes of the type `kind`."""
    import gguf

    if kind == gguf.GGMLQuantizationType.Q8_0:
        return eight_bits(values)
    if kind == gguf.GGMLQuantizationType.Q5_0:
        return np.asarray(gguf.quantize(values, kind))
    function = _quantiser()
    assert function is not None
    rows = np.ascontiguousarray(values, np.float32)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    made = np.empty((*rows.shape[:-1], rows.shape[-1] // block * size), np.uint8)
    count = rows.size // rows.shape[-1]
    written = function(int(kind), rows.ctypes.data, made.ctypes.data, 0, count, rows.shape[-1], None)
    if written != made.nbytes:
        raise ValueError(f"llama.cpp wrote {written} bytes of {kind.name} where {made.nbytes} belong")
    return made


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


@cache
def _quantiser() -> Any | None:
    """`ggml_quantize_chunk` (ggml.h) of the library in xllamacpp; None without the extra, or when it hides it."""
    found = importlib.util.find_spec("xllamacpp")
    for path in sorted(Path(found.origin).parent.glob("*.so")) if found and found.origin else ():
        try:
            function = ctypes.CDLL(str(path)).ggml_quantize_chunk
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_size_t
        pointer, long = ctypes.c_void_p, ctypes.c_int64
        function.argtypes = [ctypes.c_int, pointer, pointer, long, long, long, pointer]
        return function
    return None
