"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
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


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How many workers, and how they work together: the fields of `WorkerOptions`."""
    for option in (
        click.option(
            "--patience",
            type=click.FloatRange(min=1),
            default=600,
            show_default=True,
            metavar="SECONDS",
            help="A worker that does not answer for so long counts as lost.",
        ),
        click.option(
            "--restarts",
            type=click.IntRange(min=0),
            default=0,
            metavar="N",
            help="Start all workers again, up to N times, when one is lost [default: end the run, saved].",
        ),
        click.option("--sharded", is_flag=True, help="Split the model over the workers (FSDP2) instead of copying it."),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            metavar="N",
            help="Processes, or GPUs, that share each optimizer step [default: 1, or what torchrun or srun started].",
        ),
    ):
        command = option(command)
    return command


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    click.echo(to_json(value))


def say(text: str) -> None:
    """A message for people: standard error."""
    click.echo(text, err=True)
