"""What an export costs: seconds against reading and writing the same bytes, memory against the model's size.

    python benchmarks/export.py [--rounds N]

SmolLM2-135M with LoRA adapters of rank 16 on every linear layer is exported by a process of its own: imports first,
then the base is read, the adapters are merged, the folder is written, hashed and synced (the comparison afterwards is
not part of it). Beside each export another process reads the base's file and writes as many bytes as the export has,
and syncs them. Files are put out of the page cache before each. Prints medians over the rounds and the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

KINDS = ("safetensors", "f16", "q8_0")


def export(kind: str, folder: Path) -> dict[str, Any]:
    """Export once, in this process: seconds of each part, bytes, and the peak of memory above what imports take."""
    import gguf  # noqa: F401  (these three so that they count as imports)
    import peft  # noqa: F401
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401

    from tunebook.export.gguf import write_gguf
    from tunebook.export.staging import files_of, staged
    from tunebook.export.weights import write_merged
    from tunebook.model.adapters import make_trainable, trainable_parameters
    from tunebook.model.sources import SMOLLM2, load_model, load_tokenizer
    from tunebook.plan.files import make_plan

    tokenizer = load_tokenizer(SMOLLM2)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    started = time.perf_counter()
    model = make_trainable(load_model(SMOLLM2), make_plan({"model": {"name": SMOLLM2}, "data": {"path": "none"}}))
    with torch.no_grad():
        for name, parameter in trainable_parameters(model).items():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    loaded = time.perf_counter()
    with staged(folder, "benchmark") as place:
        if kind == "safetensors":
            write_merged(model, tokenizer, place)
        else:
            write_gguf(model, tokenizer, place / f"model-{kind}.gguf", kind, SMOLLM2)  # type: ignore[arg-type]
    ended = time.perf_counter()
    return {
        "load_seconds": loaded - started,
        "write_seconds": ended - loaded,
        "seconds": ended - started,
        "bytes": sum(file.stat().st_size for file in files_of(folder)),
        "memory_above_imports": _memory("VmHWM") - before,
        "model_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
    }


def copy(source: Path, size: int, target: Path) -> dict[str, Any]:
    """Read `source` and write `size` bytes: what any export of that size must do."""
    started = time.perf_counter()
    piece = 1 << 24
    with source.open("rb") as file:
        last = data = file.read(piece)
        while data:
            last, data = data, file.read(piece)
    with target.open("wb") as file:
        left = size
        while left > 0:
            left -= file.write(last[: min(left, len(last))] or bytes(min(left, piece)))
        file.flush()
        os.fsync(file.fileno())
    return {"seconds": time.perf_counter() - started}


def main() -> None:
    """Alternate exports and copies, and print a row for each kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=KINDS, action="append")
    given = parser.parse_args()
    from tunebook.model.sources import SMOLLM2, model_folder

    source = model_folder(SMOLLM2) / "model.safetensors"
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        for kind in given.kind or KINDS:
            exports, copies = [], []
            for number in range(given.rounds):
                folder = Path(scratch) / f"{kind}-{number}"
                exports.append(_fresh(source, "export", kind, str(folder)))
                size = exports[-1]["bytes"]
                copies.append(_fresh(source, "copy", str(source), str(size), str(folder.with_suffix(".copy"))))
            _row(kind, exports, copies)


def _fresh(source: Path, *arguments: str) -> Any:
    """Run one part in a process of its own, with `source` out of the page cache."""
    handle = os.open(source, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)
    done = subprocess.run([sys.executable, __file__, "part", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _row(kind: str, exports: list[Any], copies: list[Any]) -> None:
    def middle(name: str, rows: list[Any] = exports) -> float:
        return median(row[name] for row in rows)

    ratio = median(one["seconds"] / two["seconds"] for one, two in zip(exports, copies, strict=True))
    print(
        f"{kind}: {middle('bytes') / 1e6:.0f} MB in {middle('seconds'):.2f} s (loading {middle('load_seconds'):.2f}, "
        f"writing {middle('write_seconds'):.2f}); reading and writing the bytes {middle('seconds', copies):.2f} s: "
        f"{ratio:.2f} times. Memory {middle('memory_above_imports') / 1e6:.0f} MB above imports: "
        f"{middle('memory_above_imports') / middle('model_bytes'):.2f} times the model in memory.",
        flush=True,
    )


def _memory(name: str) -> int:
    """Bytes, from /proc/self/status."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["part"]:
        what, *rest = sys.argv[2:]
        done = export(rest[0], Path(rest[1])) if what == "export" else copy(Path(rest[0]), int(rest[1]), Path(rest[2]))
        print(json.dumps(done))
    else:
        main()
