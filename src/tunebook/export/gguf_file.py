"""The `gguf` package's writer, without two waits: for long lists of texts, and for tensors made one after another."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

_AHEAD = 2  # tensors in the making, each on one core
Made = TypeVar("Made")


def file_writer(path: Path, arch: str) -> Any:
    """A `gguf.GGUFWriter` that packs lists at once: a vocabulary with its kinds and merges is some 150,000 values."""
    import gguf

    class Writer(gguf.GGUFWriter):
        def _pack_val(self, val: Any, vtype: Any, add_vtype: bool, sub_type: Any = None) -> bytes:
            packed = _PACK.get(type(val[0])) if isinstance(val, list) and val else None
            if packed is None or sub_type is not None or {type(item) for item in val} != {type(val[0])}:
                return super()._pack_val(val, vtype, add_vtype, sub_type)
            kind = struct.pack("<I", vtype) if add_vtype else b""
            return kind + struct.pack("<IQ", gguf.GGUFValueType.get_type(val[0]), len(val)) + packed(val)

    return Writer(path, arch)


def _texts(values: list[str]) -> bytes:
    encoded = [value.encode() for value in values]
    return b"".join([part for text in encoded for part in (struct.pack("<Q", len(text)), text)])


_PACK: dict[type, Callable[[list[Any]], bytes]] = {
    str: _texts,
    int: lambda values: struct.pack(f"<{len(values)}i", *values),
    float: lambda values: struct.pack(f"<{len(values)}f", *values),
}


def made_ahead(makers: Sequence[Callable[[], Made]]) -> Iterator[Made]:
    """What each of `makers` makes, in order, the next ones already in the making while one is written."""
    with ThreadPoolExecutor(_AHEAD, initializer=partial(torch.set_num_threads, 1)) as pool:
        waiting = deque(pool.submit(maker) for maker in makers[:_AHEAD])
        for maker in [*makers[_AHEAD:], *[None] * len(waiting)]:
            values = waiting.popleft().result()
            if maker is not None:
                waiting.append(pool.submit(maker))
            yield values
