"""`tunebook versions`: results of runs under names and numbers, with where they came from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tunebook.cli.options import json_option, print_json, runs_option, say
from tunebook.runs.store import open_run, runs_folder

if TYPE_CHECKING:
    from tunebook.versions.store import Version

_MARKS = {"yes": "[green]✓[/]", "no": "[red]✗[/]", "unclear": "[yellow]?[/]"}


@click.group()
def versions() -> None:
    """Named results of runs. NAME means the current version, NAME@2 the second; each is a model that plans can name."""


@versions.command("list")
@click.argument("name", required=False)
@runs_option
@json_option
def list_all(name: str | None, runs_dir: str | None, as_json: bool) -> None:
    """List the versions, or those of NAME: which is current, from which run, from which base, how it was judged."""
    from tunebook.versions.store import lineage, list_versions

    runs = runs_folder(runs_dir)
    found = list_versions(runs, name)
    if as_json:
        print_json({"versions": [version.to_json() | {"lineage": lineage(version, runs)} for version in found]})
    elif not found:
        say("There are no versions yet. `tunebook versions promote RUN` makes one.")
    else:
        _draw([(version, lineage(version, runs)) for version in found])


@versions.command()
@click.argument("run")
@click.option("--as", "name", metavar="NAME", help="The version's name [default: the run's without its number].")
@click.option("--reason", default="", metavar="TEXT", help="Why; needed when the run's report says no to something.")
@runs_option
@json_option
def promote(run: str, name: str | None, reason: str, runs_dir: str | None, as_json: bool) -> None:
    """Make the result of RUN, a finished run, the current version of NAME.

    Its exported safetensors are taken as they are and stored once. The run cannot be removed while the version stands.
    """
    from tunebook.versions.promote import objections
    from tunebook.versions.promote import promote as make

    found = open_run(run, runs_folder(runs_dir))
    if not reason and sys.stdin.isatty() and (against := objections(found)):
        for text in against:
            say(text)
        reason = click.prompt("Why promote it all the same?", default="", show_default=False, err=True)
    version = make(found, name, reason)
    if as_json:
        print_json(version.to_json())
        return
    click.echo(f"{version.title} is the current version of '{version.name}'.")
    say(f"Its model lies in {version.folder}. Start from it with --model {version.name}.")


@versions.command()
@click.argument("name")
@click.option(
    "--to", "number", type=click.IntRange(min=1), help="This version [default: the one that was current before]."
)
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the log of the name.")
@runs_option
@json_option
def rollback(name: str, number: int | None, reason: str, runs_dir: str | None, as_json: bool) -> None:
    """Make the version of NAME that was current before the current one again. Nothing is removed."""
    from tunebook.versions.store import rollback as back

    version = back(name, number, reason, runs_folder(runs_dir))
    if as_json:
        print_json(version.to_json())
        return
    click.echo(f"{version.title} is the current version of '{version.name}'.")


@versions.command("rm")
@click.argument("version")
@runs_option
def remove(version: str, runs_dir: str | None) -> None:
    """Remove VERSION, such as NAME@2. The run that it came from stays, and can then be removed, too."""
    from tunebook.versions.uses import remove_version

    say(f"Removed {remove_version(version, runs_folder(runs_dir)).title}.")


def _draw(found: list[tuple[Version, list[str]]]) -> None:
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("Version", "", "Run", "Came from", "Signs", "Promoted", "Reason"):
        table.add_column(column, overflow="fold")
    for version, line in found:
        facts = version.facts
        signs = " ".join(_MARKS.get(item["verdict"], "?") for item in facts["indicators"])
        made = datetime.fromtimestamp(facts["created"]).date().isoformat()
        current = "[bold]current[/]" if version.current else ""
        run = f"{facts['run']}, step {facts['step']}"
        table.add_row(
            version.title, current, run, " < ".join(line[1:]), signs, made, Text(facts["reason"] or "", "dim")
        )
    Console().print(table)
