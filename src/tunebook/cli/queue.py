"""`tunebook queue`: runs that are taken one after another, and sweeps over a few values of a plan."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

import click

from tunebook.cli.options import json_option, print_json, runs_option, say, set_option
from tunebook.runs.store import runs_folder


@click.group()
def queue() -> None:
    """Line runs up and take them one after another.

    A queued run is checked and its folder made when it is added; it waits there until `tunebook queue run` takes it.
    """


@queue.command()
@click.argument("plans", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", help="Name of the run, of one PLAN [default: from the data's name].")
@runs_option
@set_option
def add(plans: tuple[Path, ...], name: str | None, runs_dir: str | None, settings: tuple[str, ...]) -> None:
    """Put a run of each of PLANS at the end of the queue; prints the names of the runs, all of them or none."""
    from tunebook.queue.entries import add_runs
    from tunebook.workflow.start import read_plan

    if name and len(plans) > 1:
        raise click.UsageError("--name names one run, and there are several plans.")
    read = [read_plan(path, list(settings)) for path in plans]
    for made in add_runs(read, name, runs_folder(runs_dir)):
        click.echo(made.name)
    _say_how_to_begin(runs_dir)


@queue.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--name", help="The runs are called NAME-1, NAME-2, ... [default: from the data's name].")
@runs_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    required=True,
    metavar="PATH=[A,B]",
    help="Values to try for a value of the plan (repeatable; every combination is a run); YAML flow. "
    "A value that is itself a list stands in a list: [[a, b]].",
)
def sweep(plan: Path, name: str | None, runs_dir: str | None, settings: tuple[str, ...]) -> None:
    """Queue PLAN with each combination of a few values; prints the names of the runs, all of them or none.

    For example: tunebook queue sweep plan.yaml --set 'training.learning_rate=[1e-4,3e-4]' --set 'lora.rank=[8,16]'
    """
    from tunebook.queue.sweep import add_sweep

    for run in add_sweep(plan, settings, name, runs_folder(runs_dir)):
        click.echo(run.name)
    _say_how_to_begin(runs_dir)


@queue.command("list")
@runs_option
@json_option
@click.option("--all", "finished", is_flag=True, help="Finished runs, too.")
def list_(runs_dir: str | None, as_json: bool, finished: bool) -> None:
    """List the runs of the queue in the order in which they are taken."""
    from tunebook.queue.entries import entries, row, worker

    runs = runs_folder(runs_dir)
    found = [(entry, entry.status()) for entry in entries(runs)]
    rows = [row(entry, status) for entry, status in found if finished or status.state != "finished"]
    owner = worker(runs)
    if as_json:
        print_json({"runs": rows, "worker": owner.pid if owner else None})
        return
    for item in rows:
        loss = item["validation_loss"]
        values = ", ".join(f"{path}={value}" for path, value in item["set"].items())
        shown = f"validation loss {loss:.4f}" if loss is not None else ""
        click.echo(f"{item['name']:<32} {item['state']:<9} {shown:<23} {values}".rstrip())
    if not rows:
        say(f"No run waits in {runs}.")
    elif owner:
        say(f"Process {owner.pid} takes them one after another.")
    else:
        _say_how_to_begin(runs_dir)


@queue.command()
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@runs_option
def remove(names: tuple[str, ...], runs_dir: str | None) -> None:
    """Take RUNs out of the queue. One that has not begun is removed whole; one that has begun stays a run.

    When one of them cannot be taken out, none is.
    """
    from tunebook.queue.entries import dequeue

    for name, gone in dequeue(names, runs_folder(runs_dir)).items():
        say(f"Removed '{name}'." if gone else f"'{name}' is out of the queue; its run stays.")


@queue.command()
@runs_option
@click.option("--detach", is_flag=True, help="Work in a session of its own and return at once.")
def run(runs_dir: str | None, detach: bool) -> None:
    """Take the runs of the queue one after another until none waits. A run that fails ends only itself.

    Ending this command ends no run: the one under way goes on by itself, and the others wait. The exit code is 1 when
    a run did not finish.
    """
    from tunebook.queue.entries import worker
    from tunebook.queue.worker import start_worker, work

    runs = runs_folder(runs_dir)
    if detach:
        click.echo(start_worker(runs) if (owner := worker(runs)) is None else owner.pid)
        say("See how far it is with `tunebook queue list`; end it with `tunebook queue stop`.")
        return
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGINT, _ended)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ended = work(runs, say)
    if not ended:
        say("No run waits in the queue.")
    if others := [status.name for status in ended if status.state != "finished"]:
        say(f"{len(ended) - len(others)} of {len(ended)} runs finished; not {', '.join(others)}.")
        sys.exit(1)


@queue.command()
@runs_option
def stop(runs_dir: str | None) -> None:
    """Take no further run. The one under way goes on; `tunebook stop RUN` ends it."""
    from tunebook.queue.worker import end_worker

    ended = end_worker(runs_folder(runs_dir))
    say("No further run is taken; the one under way goes on." if ended else "Nothing is taking runs from the queue.")


def _ended(number: int, _: FrameType | None) -> None:
    say("No further run is taken; the one under way goes on by itself.")
    sys.exit(128 + number)


def _say_how_to_begin(runs_dir: str | None) -> None:
    from tunebook.queue.entries import worker

    if worker(runs_folder(runs_dir)) is None:
        say("`tunebook queue run` takes them one after another.")
