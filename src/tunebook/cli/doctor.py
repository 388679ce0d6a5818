"""`tunebook doctor`: what this machine has, and what that means for a run."""

from __future__ import annotations

from typing import Any

import click

from tunebook.cli.options import json_option, print_json


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Show device, memory, cores, precisions, versions and free disk, and what they mean for a run."""
    from tunebook.workflow.hardware import probe

    machine = probe()
    machine["means"] = what_it_means(machine)
    if as_json:
        print_json(machine)
        return
    for name, value in machine.items():
        if name == "versions":
            value = ", ".join(f"{library} {version}" for library, version in value.items())
        elif name.endswith("_bytes"):
            name, value = name.removesuffix("_bytes"), f"{value / 1e9:.1f} GB"
        if name != "means":
            shown = ", ".join(value) if isinstance(value, list) else value
            click.echo(f"{name.replace('_', ' '):>15}  {shown}")
    click.echo()
    for line in machine["means"]:
        click.echo(f"- {line}")


def what_it_means(machine: dict[str, Any]) -> list[str]:
    """Plain sentences on what a run can expect here."""
    from tunebook.model.sources import SMOLLM2, find_model

    free = machine["memory_free_bytes"]
    full, lora = free / 4 / 4 * 0.7, free / 4 * 0.7  # float32: weights, gradients and two moments, or weights alone
    lines = [
        f"Models up to about {full / 1e9:.1f} billion parameters fit for full fine-tuning in float32, "
        f"up to about {lora / 1e9:.1f} billion with LoRA, counted from the memory that is free now."
    ]
    if machine["device"] == "cpu":
        lines.append("There is no GPU: expect small models (135 million parameters) to train, large ones to be slow.")
        if "bfloat16" in machine["precisions"]:
            lines.append(
                "This processor multiplies bfloat16: --set training.precision=bfloat16 trains faster, with losses that "
                "differ by some 0.1 %."
            )
    if machine["disk_free_bytes"] < 5e9:
        lines.append("Less than 5 GB of disk are free here: checkpoints may not fit.")
    try:
        find_model(SMOLLM2)
        lines.append(f"The model {SMOLLM2} is installed: `tunebook demo` will run.")
    except Exception as error:
        lines.append(str(error))
    return lines
