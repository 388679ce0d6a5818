"""`tunebook verify`: does a run folder hold what it says?"""

from __future__ import annotations

import click

from tunebook.cli.options import json_option, print_json, runs_option
from tunebook.runs.store import open_run, runs_folder


@click.command()
@click.argument("run")
@runs_option
@json_option
@click.pass_context
def verify(context: click.Context, run: str, runs_dir: str | None, as_json: bool) -> None:
    """Check RUN: every file against its manifest, events without gaps, the report against the events.

    Changes nothing. Exit code 1 when something is damaged or missing, with each fault by its place.
    """
    from tunebook.workflow.verify import verify_run

    found = verify_run(open_run(run, runs_folder(runs_dir)))
    if as_json:
        print_json(found.to_json())
    else:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.checked.items() if count)
        click.echo(f"{found.run}: checked {counts}.")
        for fault in found.faults:
            click.echo(f"  {fault}")
        click.echo(f"{len(found.faults)} faults." if found.faults else "All as it should be.")
    context.exit(1 if found.faults else 0)
