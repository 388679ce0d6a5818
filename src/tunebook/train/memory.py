"""How much memory training takes, in bytes."""

from __future__ import annotations

import sys

import psutil
import torch

try:
    import resource
except ImportError:  # Windows, where psutil knows the peak
    resource = None  # type: ignore[assignment]


def memory_taken() -> dict[str, float]:
    """`memory` is the process's now, or the most that it took of a GPU; `memory_peak` is the process's most."""
    info = psutil.Process().memory_info()
    found = {"memory": float(info.rss), "memory_peak": float(getattr(info, "peak_wset", info.rss))}
    if resource is not None:
        unit = 1 if sys.platform == "darwin" else 1024
        found["memory_peak"] = float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    if torch.cuda.is_available():
        found["memory_device"] = float(torch.cuda.max_memory_allocated())
    elif torch.backends.mps.is_available():
        found["memory_device"] = float(torch.mps.driver_allocated_memory())
    found["memory"] = found.get("memory_device", found["memory"])
    return found
