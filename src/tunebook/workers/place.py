"""Which worker this process is, as the launcher that started it says in the environment.

torchrun, Kubernetes' PyTorchJob    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT
srun                                SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID, SLURM_STEP_NODELIST
Ray Train                           as torchrun; the process group is there already
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tunebook.errors import RunError


@dataclass(frozen=True, slots=True)
class Place:
    """Worker `rank` of `world`, number `local_rank` on its machine, and where all of them meet."""

    rank: int
    world: int
    local_rank: int
    address: str
    port: int
    launcher: str


def find_place(environ: Mapping[str, str]) -> Place | None:
    """This process's place among workers; None when no launcher started it. RunError when what it says is not whole."""
    if "RANK" in environ and "WORLD_SIZE" in environ:
        return _read(environ, "torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", environ.get("MASTER_ADDR", ""))
    if "SLURM_STEP_NUM_TASKS" in environ and "SLURM_PROCID" in environ:
        host = environ.get("MASTER_ADDR") or first_host(environ.get("SLURM_STEP_NODELIST", ""))
        return _read(environ, "srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", host)
    return None


def _read(environ: Mapping[str, str], launcher: str, rank: str, world: str, local: str, address: str) -> Place:
    try:
        # srun names no port: one that follows from the job's number is the same on all machines
        port = environ.get("MASTER_PORT") or 20_000 + int(environ["SLURM_JOB_ID"]) % 20_000
        place = Place(
            int(environ[rank]), int(environ[world]), int(environ.get(local, "0")), address, int(port), launcher
        )
    except (KeyError, ValueError) as error:
        raise RunError(
            f"The environment says that {launcher} started this process, but not whole: {error}.",
            do=f"Start it with {launcher}, or without {rank} in the environment.",
        ) from error
    if not address or not 0 <= place.rank < place.world:
        raise RunError(
            f"The environment names worker {place.rank} of {place.world}, meeting at '{address}'.",
            do="Set MASTER_ADDR and MASTER_PORT to the first worker's machine, and ranks from 0.",
        )
    return place


def first_host(nodes: str) -> str:
    """The first name of a Slurm list of nodes: `node[03-05,9],other` gives `node03`."""
    found = re.match(r"([^,\[]+)(?:\[([^\],-]+))?", nodes)
    return (found[1] + (found[2] or "")) if found else ""
