"""One try of a run's workers on this machine: torchrun, and a word on who ended first, and how.

    python -m tunebook.workers.agent WORKERS WORD.json tunebook's words ...

It is a process of its own, so that each try has a fresh rendezvous. It ends with its parent: standard input closes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from tunebook.files import write_json


def main(workers: str, word: str, *command: str) -> int:
    """Start the workers and wait for them. `word` gets [{"rank", "pid", "code", "time", "message"}] of who failed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    options = [
        "--nnodes=1",
        f"--nproc-per-node={workers}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        "--local-addr=127.0.0.1",
        "--max-restarts=0",  # the group that torchrun would make again does not come to life with gloo
    ]
    try:
        run(parse_args([*options, "-m", "tunebook", *command]))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        failures = [
            {
                "rank": rank,
                "pid": failure.pid,
                "code": failure.exitcode,
                "time": failure.timestamp,
                "message": str(failure.message) if failure.error_file_data else "",
            }
            for rank, failure in error.failures.items()
        ]
        write_json(Path(word), failures)
        return 1
    return 0


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # torchrun passes it on: the workers stop after their step, saved


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
