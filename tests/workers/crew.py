"""Real workers for tests: processes of their own that meet over gloo and call one function."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

from tunebook.workers.meet import meet, part


def crew(world: int, work: Any, folder: Path, *given: Any, sharded: bool = False) -> list[Any]:
    """`work(workers, *given)` on each of `world` workers; what each returned, by rank."""
    folder.mkdir(parents=True, exist_ok=True)
    mp.spawn(_one, (world, free_port(), work, folder, given, sharded), nprocs=world)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _one(rank: int, world: int, port: int, work: Any, folder: Path, given: tuple[Any, ...], sharded: bool) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    workers = meet(world, sharded=sharded, patience=300)
    torch.save(work(workers, *given), folder / f"{rank}.pt")
    part(workers)
