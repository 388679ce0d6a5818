"""`tunebook estimate`: time, memory and disk before anything is spent."""

from __future__ import annotations

from pathlib import Path

import click

from tunebook.cli.options import json_option, print_json, say, set_option


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@set_option
@json_option
def estimate(plan: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Say what PLAN will take on this machine: time with a band, memory, disk.

    A few optimizer steps are measured on the plan's own model and data; nothing is kept.
    """
    from tunebook.cli.progress import duration
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    from tunebook.workflow.estimate import make_estimate
    from tunebook.workflow.start import read_plan

    say("Measuring a few steps ...")
    found = make_estimate(read_plan(plan, list(settings)))
    if as_json:
        print_json(found.to_json())
        return
    seconds = {name: duration(value) for name, value in found.seconds.items()}
    click.echo(f"Time      about {seconds['expected']} ({seconds['low']} to {seconds['high']})")
    click.echo(f"          {found.usual} is usual for a {found.size} data set, says the page")
    if learned := found.factors["runs_learned_from"]:
        click.echo(f"          corrected by what {learned} finished run{'s' * (learned > 1)} took on this machine")
    click.echo(f"Steps     {found.optimizer_steps} optimizer steps, {found.factors['training_tokens']:,} tokens")
    click.echo(f"Memory    {found.memory_bytes / 1e9:.1f} GB")
    click.echo(f"Disk      {found.disk_bytes / 1e9:.2f} GB")
    click.echo(
        "Parts     "
        + ", ".join(f"{name.replace('_', ' ')} {duration(value)}" for name, value in found.factors["parts"].items())
    )
