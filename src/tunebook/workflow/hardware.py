"""What this machine has: one probe, read by `doctor`, the estimate and the run's environment.json."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

_LIBRARIES = ("tunebook", "torch", "transformers", "peft", "safetensors", "tokenizers", "numpy", "pyarrow")


def probe(folder: Path | None = None) -> dict[str, Any]:
    """Device, cores, memory and free disk (where `folder` is or will be) in bytes, precisions, versions."""
    import torch

    place = (folder or Path.cwd()).absolute()
    there = next(path for path in (place, *place.parents) if path.exists())
    return {
        "device": pick_device(),
        "device_name": _device_name(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": memory_bytes(),
        "memory_free_bytes": memory_free_bytes(),
        "disk_free_bytes": shutil.disk_usage(there).free,
        "precisions": precisions(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
    }


# where a container's kernel says how much memory it may use: cgroups of version 2 and 1
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_bytes() -> int:
    """Memory of this machine, or of the container that this process is in where that may use less."""
    found = [psutil.virtual_memory().total]
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # not there, or "max"
            found.append(int(path.read_text()))
    return min(found)


def memory_free_bytes() -> int:
    """Memory that is free now; in a container no more than it may use in all."""
    return min(psutil.virtual_memory().available, memory_bytes())


def threads_of_each(workers: int) -> int:
    """Threads for each of `workers` processes on this machine: its cores divided, one at least."""
    return max(1, _cores() // workers)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device_name() -> str:
    import torch

    return str(
        torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    )


def has_gpu() -> bool:
    """Does the system know of an NVIDIA GPU? Told without loading torch, which takes a second and 200 MB."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def gpu_bytes() -> float | None:
    """Memory of the GPU that training goes to; None where it goes to the CPU or shares the CPU's memory."""
    import torch

    return float(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else None


def pick_device() -> str:
    """`cuda`, `mps` or `cpu`."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def versions() -> dict[str, str]:
    """Versions of the libraries that a run's numbers depend on."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def precisions() -> list[str]:
    """What this machine multiplies in hardware: float32, and bfloat16 where its GPU or its processor does."""
    import torch

    kinds = ["float32"]
    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            kinds.append("bfloat16")
    elif torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        kinds.append("bfloat16")
    return kinds


def keep_memory() -> None:
    """Ask glibc not to hand big blocks back to the kernel: page faults were a quarter of a training step on CPUs."""
    import ctypes

    m_trim_threshold, m_mmap_max = -1, -4
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
    except (OSError, AttributeError):  # another C library: nothing to do
        return
