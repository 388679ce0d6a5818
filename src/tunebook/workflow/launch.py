"""A run on several workers: started here (see supervise.py), or joined where a launcher has started them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tunebook.errors import RunError
from tunebook.runs.events import Event
from tunebook.runs.store import Run
from tunebook.workers.group import ALONE, Workers
from tunebook.workers.options import WorkerOptions
from tunebook.workers.place import find_place
from tunebook.workflow.supervise import start_and_watch


def join(options: WorkerOptions) -> Workers:
    """The workers that a launcher started together with this process; ALONE without one. RunError: not as asked."""
    if options.starts_workers or (find_place(os.environ) is None and not options.workers):
        return ALONE
    from tunebook.workers.meet import meet

    return meet(options.workers, sharded=options.sharded, patience=options.patience)


def made_by_first(workers: Workers, make: Callable[[], Run]) -> Run:
    """The run that the first worker makes, on all of them. RunError where its folder cannot be seen."""
    run = None
    try:
        with workers.first_goes_first("run"):
            run = make() if workers.first else None
    except BaseException as error:
        workers.report(error)
        raise
    folder = workers.same(run.folder if run else Path())
    if not (folder / "run.json").exists():
        raise RunError(
            f"Worker {workers.rank} of 0 to {workers.world - 1} does not see the run folder {folder}.",
            do="Put --runs, and the cache (TUNEBOOK_CACHE), on a disk that all machines share.",
        )
    return Run(folder)


def work(run: Run, options: WorkerOptions, workers: Workers, watchers: list[Callable[[Event], None]]) -> None:
    """Take `run` through its steps, on the workers asked for. Raises what ended it."""
    if options.starts_workers:
        start_and_watch(run, options, watchers)
        return
    from tunebook.workers.meet import part
    from tunebook.workflow.runner import run_steps

    run_steps(run, watchers if workers.first else None, workers)
    part(workers)
