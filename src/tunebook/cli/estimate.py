"""`tunebook estimate`: time, memory and disk before anything is spent."""

from __future__ import annotations

from pathlib import Path

import click

from tunebook.cli.options import json_option, print_json, say, set_option


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@set_option
@click.option("--workers", type=click.IntRange(min=1), default=1, metavar="N", help="Reckon for N workers.")
@click.option("--device", metavar="NAME", help="Compute for a known GPU (h100, ...) instead of measuring here.")
@json_option
def estimate(plan: Path, settings: tuple[str, ...], workers: int, device: str | None, as_json: bool) -> None:
    """Say what PLAN will take on this machine: time with a band, memory, disk.

    A few optimizer steps are measured on the plan's own model and data; nothing is kept. With --device, time,
    memory of a device and the share lost to communication are computed from data sheets, and nothing is measured.
    """
    if device:
        _computed(plan, settings, workers, device, as_json)
        return
    from tunebook.cli.progress import duration
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    from tunebook.workflow.estimate import estimate_on_workers
    from tunebook.workflow.start import read_plan

    say("Measuring a few steps ...")
    found = estimate_on_workers(read_plan(plan, list(settings)), workers)
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


def _computed(plan: Path, settings: tuple[str, ...], workers: int, device: str, as_json: bool) -> None:
    """What the plan takes on devices that are not here."""
    from tunebook.cli.progress import duration
    from tunebook.workflow.planning import find_facts
    from tunebook.workflow.scaling import scale
    from tunebook.workflow.start import read_plan

    read = read_plan(plan, list(settings))
    facts = find_facts(read, plan.absolute().parent, however_large=True)
    found = scale(read, facts, workers, device)
    if as_json:
        print_json(found.to_json())
        return
    click.echo(f"Time      about {duration(found.seconds)} of training, {duration(found.seconds_per_step)} a step")
    click.echo(f"Steps     {found.optimizer_steps} optimizer steps on {workers} x {device} ({found.parallelism})")
    share = found.memory_bytes / found.device_bytes
    click.echo(
        f"Memory    {found.memory_bytes / 1e9:.1f} GB of each device's {found.device_bytes / 1e9:.0f} ({share:.0%})"
    )
    click.echo(f"Lost      {found.communication_share:.1%} of the time to communication")
    if not found.fits:
        click.echo("It does not fit: take more workers, a larger device, or a lower training.micro_batch_tokens.")
    say("Computed from data sheets, not measured.")
