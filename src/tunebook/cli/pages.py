"""`tunebook page check`, `page play` and `order check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

import click


@click.group()
def page() -> None:
    """Check a page, or answer it in the terminal."""


@page.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print the page as one JSON object.")
def check(file: str, as_json: bool) -> None:
    """Read FILE (a path, - for standard input, or the name of a built-in page) and tell every problem with its line.

    The exit code is 1 when there is an error.
    """
    from tunebook.files import to_json
    from tunebook.pages.catalog import load_page
    from tunebook.pages.parser import MAX_BYTES, parse_page

    found = parse_page(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input") if file == "-" else load_page(file)
    if as_json:
        click.echo(to_json(found.to_json()))
    else:
        kinds = ", ".join(component.type for component in found.components) or "nothing"
        click.echo(f"{found.title or found.name}: {kinds}; {len(found.questions)} questions.")
    for problem in [] if as_json else found.problems:
        click.echo(f"{found.name}:{problem.line}: {problem.severity}: {problem.message}", err=True)
    if not found.ok:
        sys.exit(1)


@page.command()
@click.argument("file")
@click.option("--answers", type=click.Path(path_type=Path), default="answers.yaml", show_default=True)
@click.option("--defaults", is_flag=True, help="Ask nothing: take the default of each question not yet answered.")
def play(file: str, answers: Path, defaults: bool) -> None:
    """Read and answer FILE (a path, or the name of a built-in page) in the terminal.

    Answers are saved after each question. Ctrl-C keeps them, and they are offered again the next time.
    """
    from tunebook.pages import player
    from tunebook.pages.catalog import load_page

    found = load_page(file)
    if not defaults:
        player.play(found, answers)
        return
    player.answer_by_defaults(found, answers)
    click.echo(f"The answers are in {answers}.", err=True)


@click.group()
def order() -> None:
    """Judge an order of the ten steps."""


@order.command("check")
@click.argument("file", type=click.File(encoding="utf-8-sig", errors="replace"))
@click.option("--json", "as_json", is_flag=True, help="Print the judgement as one JSON object.")
def check_steps(file: TextIO, as_json: bool) -> None:
    """Judge the order of the ten steps in FILE (- for standard input), one step a line, first on top.

    A step is named by its title or its id. The exit code is 1 when the order is not valid.
    """
    from tunebook.files import to_json
    from tunebook.pages.order import check_order

    found = check_order(file.read().split("\n"))
    if as_json:
        click.echo(to_json(found.to_json()))
    else:
        click.echo(f"{found.workable} of 10 steps stand in a workable place.")
        for sentence in found.sentences():
            click.echo(sentence, err=True)
    if not found.valid:
        sys.exit(1)
