"""Workers meet: the process group is made, and it is what was asked for or the run is refused."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from tunebook.errors import RunError
from tunebook.workers.group import ALONE, Workers
from tunebook.workers.place import Place, find_place

PATIENCE = 600.0  # seconds


def meet(asked: int | None = None, *, sharded: bool = False, patience: float = PATIENCE) -> Workers:
    """Join the other workers that the launcher started. Without a launcher, the one worker there is.

    `asked`: how many workers there must be. RunError when there are others, or when some do not come within `patience`.
    """
    place = find_place(os.environ)
    world = place.world if place else 1
    if asked not in (None, world):
        started = f"{place.launcher} started {world}" if place else "one was started"
        raise RunError(
            f"{asked} workers were asked for and {started}.",
            kept="Nothing was begun.",
            do="Give the launcher and --workers the same number.",
        )
    if place is None or world == 1:
        return ALONE
    if torch.cuda.is_available():
        torch.cuda.set_device(gpu_of(place, torch.cuda.device_count()))
    store = _make_group(place, timedelta(seconds=patience))
    workers = Workers(place.rank, world, sharded, patience, PrefixStore("tunebook", store))
    workers.mark("the start")
    there = round(workers.sum(1.0))
    if there != world:
        raise RunError(f"{world} workers were asked for and {there} answer.", kept="Nothing was begun.")
    return workers


def gpu_of(place: Place, visible: int) -> int:
    """Which of the `visible` GPUs is this worker's: srun may show each of its workers its own alone."""
    if place.local_rank < visible:
        return place.local_rank
    if place.launcher == "srun" and visible == 1:
        return 0
    raise RunError(
        f"Worker {place.local_rank} of this machine has no GPU of its own: {visible} can be seen.",
        do=f"Start at most {visible} workers on this machine, or set CUDA_VISIBLE_DEVICES to '' to train on its CPU.",
    )


def part(workers: Workers) -> None:
    """Leave the process group, as the last thing a worker does."""
    if not workers.alone and dist.is_initialized():
        dist.destroy_process_group()


def _make_group(place: Place, timeout: timedelta) -> Store:
    os.environ.setdefault("MASTER_ADDR", place.address)
    os.environ.setdefault("MASTER_PORT", str(place.port))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, _, _ = next(rendezvous("env://", place.rank, place.world, timeout=timeout))
        store.set_timeout(timeout)
        if not dist.is_initialized():  # Ray Train has made one
            dist.init_process_group(
                backend,
                store=PrefixStore("group", store),
                rank=place.rank,
                world_size=place.world,
                timeout=timeout,
            )
    except (RuntimeError, ValueError) as error:
        where = f"{place.address}:{place.port}"
        raise RunError(
            f"Worker {place.rank} of 0 to {place.world - 1} did not meet the others at {where} within "
            f"{timeout.total_seconds():g} seconds ({str(error).splitlines()[0][:200]}).",
            kept="Nothing was begun.",
            do="See that every worker is started and that its machine reaches that address.",
        ) from error
    return cast(Store, store)


def describe(workers: Workers) -> dict[str, object]:
    """World size, kind of parallelism, backend and machines, as the `workers` event says them."""
    hosts = workers.gather(os.uname().nodename)
    return {
        "world": workers.world,
        "parallelism": "fully_shard" if workers.sharded else "all-reduce",
        "backend": dist.get_backend(),
        "hosts": sorted(set(hosts)),
    }
