"""Options that several commands share."""

from __future__ import annotations

from typing import Any

import click

from tunebook.files import to_json

runs_option = click.option(
    "--runs", "runs_dir", metavar="DIR", help="Where runs live [default: TUNEBOOK_RUNS, else ./runs]."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
set_option = click.option(
    "--set", "settings", multiple=True, metavar="PATH=VALUE", help="Set a value of the plan (repeatable); YAML flow."
)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    click.echo(to_json(value))


def say(text: str) -> None:
    """A message for people: standard error."""
    click.echo(text, err=True)
