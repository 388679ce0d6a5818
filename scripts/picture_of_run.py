"""Draw a run's status panel as an SVG, for the README: python scripts/picture_of_run.py RUN OUT.svg [--runs DIR]."""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path

from rich.console import Console

from tunebook.cli.progress import draw_status
from tunebook.runs.status import read_status
from tunebook.runs.store import open_run, runs_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs")
    given = parser.parse_args()
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(draw_status(read_status(open_run(given.run, runs_folder(given.runs)))))
    drawing = console.export_svg(title=f"tunebook status {given.run}")
    drawing = re.sub(r"@font-face\s*{.*?}", "", drawing, flags=re.S)  # no fonts from the network
    given.out.write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
