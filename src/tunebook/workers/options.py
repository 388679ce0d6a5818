"""What a command line asks of workers, and the same for another process's command line."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tunebook.workers.place import find_place


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How many workers were asked for (None: whatever there is), and how they work together."""

    workers: int | None = None
    sharded: bool = False
    restarts: int = 0
    patience: float = 600.0

    @property
    def starts_workers(self) -> bool:
        """Is this process the one that starts them?"""
        return (self.workers or 1) > 1 and find_place(os.environ) is None

    @property
    def copies_here(self) -> int:
        """Workers on this machine that hold the whole model while they train."""
        if self.sharded:
            return 1
        if self.starts_workers:
            return self.workers or 1
        by_torchrun = os.environ.get("LOCAL_WORLD_SIZE", "")
        return int(by_torchrun) if by_torchrun.isdigit() else 1

    def arguments(self) -> list[str]:
        """The same on another process's command line."""
        count = ["--workers", str(self.workers)] if self.workers else []
        restarts = ["--restarts", str(self.restarts)] if self.restarts else []
        return [*count, *(["--sharded"] if self.sharded else []), *restarts, "--patience", f"{self.patience:g}"]
