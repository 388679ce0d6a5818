"""`tunebook serve` and `tunebook deploy-test`: the exported model over HTTP, for use and under test."""

from __future__ import annotations

from pathlib import Path

import click

from tunebook.cli.options import json_option, print_json, runs_option, say
from tunebook.errors import ExportError
from tunebook.runs.store import is_run, open_run, runs_folder
from tunebook.versions.store import find_version


@click.command()
@click.argument("name", metavar="RUN-or-MODEL")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@runs_option
def serve(name: str, port: int, runs_dir: str | None) -> None:
    """Serve RUN-or-MODEL to OpenAI clients on this machine until Ctrl-C.

    Of a run, the exported files are served: make them first with `tunebook export RUN`.
    """
    from tunebook.export.server import check_extra, check_port
    from tunebook.export.server import serve as start

    check_extra()
    check_port(port)
    folder, model, file = _what(name, runs_dir)
    say(f"Starting a server on {folder} ...")
    with start(folder, model, port=port, file=file) as server:
        click.echo(f"{server.address} model {server.model}")
        say("Ctrl-C ends it.")
        try:
            server.child.wait()
        except KeyboardInterrupt:
            say("Ended.")
            return
    raise ExportError(f"The server ended by itself with exit code {server.child.returncode}.")


@click.command("deploy-test")
@click.argument("run")
@runs_option
@json_option
def deploy_test(run: str, runs_dir: str | None, as_json: bool) -> None:
    """Start a server on what RUN exported, ask it as a client would, compare with training, and stop it.

    Exit code 1 when a check fails. The findings are in export/deployment.json of the run.
    """
    found = open_run(run, runs_folder(runs_dir))
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    from tunebook.export.deploy_http import deploy_test as test
    from tunebook.runs.lock import hold_lock

    with hold_lock(found.folder):
        record = test(found.folder, say)
    if as_json:
        print_json(record)
    else:
        for check in record["checks"]:
            click.echo(f"{'ok  ' if check['ok'] else 'FAIL'} {check['check']}: {check['detail']}")
        for difference in record["differences"][:5]:
            click.echo(f"     {difference}")
        click.echo(record["sentence"])
    if record["verdict"] != "passed":
        raise SystemExit(1)


def _what(name: str, runs_dir: str | None) -> tuple[Path, str, str]:
    """(folder, the model's name for clients, its GGUF file or '') of a run's export or of a model."""
    from tunebook.export.deploy import chosen_export, whole
    from tunebook.model.sources import model_folder

    runs = runs_folder(runs_dir)
    if not is_run(name, runs):
        version = find_version(name, runs)
        return version.folder if version else model_folder(name), Path(name).name, ""
    found = open_run(name, runs)
    _, entry = chosen_export(found.folder, ("safetensors", "gguf"))
    folder = found.folder / entry["folder"]
    whole(folder)
    return folder, found.name, entry["parity"].get("file", "")
