"""`tunebook studio`: the web app over the runs, pages and data of this folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from tunebook.cli.options import runs_option, say


@click.command()
@click.argument("pages", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), help="Port on 127.0.0.1 [default: 8377, or any free one].")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@runs_option
def studio(pages: tuple[Path, ...], port: int | None, no_browser: bool, runs_dir: str | None) -> None:
    """Answer pages, start runs and watch them in a browser. PAGES are Markdown pages to offer beside the usual ones.

    Prints one line with the address, which holds the key to the studio. Runs go on when the studio is closed.
    """
    from tunebook.runs.store import runs_folder
    from tunebook.studio.place import Place
    from tunebook.studio.serve import serve

    def ready(address: str, once: str) -> None:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        say("Open this address in a browser; Ctrl-C closes the studio, and runs go on.")
        if not no_browser and (
            sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            import webbrowser

            webbrowser.open(once)

    try:
        serve(Place(Path.cwd(), runs_folder(runs_dir), tuple(path.absolute() for path in pages)), port, ready)
    except KeyboardInterrupt:
        say("The studio is closed.")
        sys.exit(130)
