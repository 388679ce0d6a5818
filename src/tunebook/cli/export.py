"""`tunebook export`: a run's result as files that others load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tunebook.cli.options import json_option, print_json, runs_option, say
from tunebook.runs.store import open_run, runs_folder


@click.command()
@click.argument("run")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["safetensors", "adapter", "gguf"]),
    default="safetensors",
    show_default=True,
    help="safetensors: merged weights for Transformers, vLLM and others. adapter: what was trained, for PEFT. "
    "gguf: F16 and Q8_0 for llama.cpp and Ollama.",
)
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="DIR", help="Where to [default: export/FORMAT of the run]."
)
@click.option("--push", metavar="OWNER/NAME", help="Then send it to the Hugging Face hub as this model, private.")
@click.option("--public", is_flag=True, help="With --push: for everybody to see.")
@runs_option
@json_option
def export(
    run: str, kind: str, to: Path | None, push: str | None, public: bool, runs_dir: str | None, as_json: bool
) -> None:
    """Write the result of RUN, load it again in a fresh process, and compare the two.

    Nothing is put in place that differs from the model that was measured. Writes inside its target only; replaces
    nothing there but an older export of the same run. Nothing leaves this machine without --push.
    """
    if public and not push:
        raise click.UsageError("--public goes with --push OWNER/NAME.")
    found = open_run(run, runs_folder(runs_dir))
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    from tunebook.export.hub import check_push
    from tunebook.export.hub import push as send
    from tunebook.export.staging import check_target
    from tunebook.export.steps import export_one, owner_of
    from tunebook.runs.lock import hold_lock
    from tunebook.workflow.result import check_base, load_tuned

    plan = found.plan()
    folder = (to or found.folder / "export" / kind).absolute()
    check_target(folder, owner_of(found.folder, plan))
    if push:
        check_push(push, kind, plan.model.name)
    check_base(found)
    with hold_lock(found.folder):
        say(f"Loading the result of '{found.name}' ...")
        model, tokenizer = load_tuned(found)
        parity = export_one(kind, folder, found.folder, plan, model, tokenizer, say)
    for warning in parity["warnings"]:
        say(f"Warning: {warning}")
    address = send(folder, push, public=public, say=say) if push else None
    if as_json:
        print_json({"format": kind, "folder": str(folder), "parity": parity, "address": address})
        return
    click.echo(f"{folder}\nLoaded again in a fresh process:")
    for line in _told(parity):
        click.echo(f"  {line}")
    if address:
        click.echo(address)


def _told(parity: dict[str, Any]) -> Iterator[str]:
    """A line for each file and each program that read it."""
    for name, one in {parity.get("file", ""): parity, **parity.get("files", {})}.items():
        for read in (one, one.get("llama_cpp")):
            if read:
                ties = f" ({read['answers_tied']} parting at a tie)" if read.get("answers_tied") else ""
                yield (
                    f"{name + ', ' if name else ''}{read['read_by']}: {read['answers_equal']} of {read['answers']} "
                    f"answers equal{ties}, same top token at {read['top1']:.1%} of {read['positions']} positions, "
                    f"mean KL {read['mean_kl']:.2g}"
                )
