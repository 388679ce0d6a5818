"""`tunebook status`, `runs` and `metrics`: read run folders, ask no process."""

from __future__ import annotations

import click

from tunebook.cli.options import json_option, print_json, runs_option, say
from tunebook.runs.store import list_runs, open_run, remove_run, runs_folder


@click.command()
@click.argument("run")
@runs_option
@json_option
def status(run: str, runs_dir: str | None, as_json: bool) -> None:
    """Show how far RUN has come: its ten steps, last metrics, checkpoints, time left."""
    from tunebook.runs.status import read_status

    found = read_status(open_run(run, runs_folder(runs_dir)))
    if as_json:
        print_json(found.to_json())
        return
    from rich.console import Console

    from tunebook.cli.progress import draw_status

    Console().print(draw_status(found))


_LISTED = (
    "name", "folder", "state", "reason", "optimizer_step", "optimizer_steps", "started", "updated", "last",
    "result_loss",
)  # fmt: skip


@click.group(invoke_without_command=True)
@runs_option
@json_option
@click.pass_context
def runs(context: click.Context, runs_dir: str | None, as_json: bool) -> None:
    """List the runs, or remove one (`tunebook runs rm RUN`)."""
    context.obj = runs_dir
    if context.invoked_subcommand:
        return
    from tunebook.runs.status import read_status

    found = [read_status(run) for run in list_runs(runs_folder(runs_dir))]
    if as_json:
        print_json({"runs": [{key: status.to_json()[key] for key in _LISTED} for status in found]})
        return
    if not found:
        say(f"There are no runs in {runs_folder(runs_dir)} yet.")
    for status in found:
        loss = status.result_loss
        shown = f"validation loss {loss:.4f}" if loss is not None else ""
        click.echo(f"{status.name:<32} {status.state:<9} {status.optimizer_step:>6} steps  {shown}")


@runs.command("rm")
@click.argument("run")
@click.option("--runs", "own_dir", metavar="DIR", help="Where runs live.")
@click.pass_context
def remove(context: click.Context, run: str, own_dir: str | None) -> None:
    """Remove RUN and everything in its folder; refused when it is being written, or a version or run needs it."""
    from tunebook.runs.lock import hold_lock
    from tunebook.versions.uses import check_run_unused

    found = open_run(run, runs_folder(own_dir or context.obj))
    with hold_lock(found.folder):
        check_run_unused(found)
        remove_run(found)
    say(f"Removed the run '{found.name}'.")


@click.command()
@click.argument("run")
@click.option("--since", default=0, metavar="SEQ", help="Only events with a number above SEQ.")
@runs_option
@json_option
def metrics(run: str, since: int, runs_dir: str | None, as_json: bool) -> None:
    """Print RUN's metrics in columns, a row an optimizer step or evaluation."""
    from tunebook.runs.metrics import columns

    table = columns(open_run(run, runs_folder(runs_dir)), since)
    if as_json:
        print_json(table)
        return
    names = [name for name in table if name not in ("seq", "not_finite")]
    click.echo("\t".join(names))
    for row in zip(*(table[name] for name in names), strict=True):
        click.echo("\t".join("" if value is None else f"{value:g}" for value in row))
