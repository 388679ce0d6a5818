"""`tunebook rules` and `tunebook plan`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunebook.cli.options import json_option, print_json, say, set_option

if TYPE_CHECKING:
    from tunebook.pages.answers import Answers


@click.command()
@click.argument("text", metavar="TEXT")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["stopping", "overfitting", "quality"]),
    default="stopping",
    show_default=True,
    help="Which of the three prose questions TEXT answers.",
)
@json_option
def rules(text: str, purpose: Any, as_json: bool) -> None:
    """Read TEXT (- for standard input) into stopping rules and settings, and show what was not understood.

    The exit code is 3 when nothing was.
    """
    from tunebook.plan.rules import read_rules
    from tunebook.plan.rules.describe import describe

    given = sys.stdin.buffer.read().decode("utf-8-sig", "replace") if text == "-" else text
    reading = read_rules(given, purpose)
    if as_json:
        print_json(reading.to_json())
    else:
        for rule in reading.rules:
            click.echo(f"{describe(rule)}   <- {rule.source!r}")
        for item in reading.settings:
            click.echo(f"{item.setting} = {item.value}   <- {item.source!r}")
        for piece in reading.not_understood:
            say(f"not understood: {piece!r}")
    if not reading.understood:
        sys.exit(3)


@click.command()
@click.argument("answers", type=click.Path(path_type=Path), nargs=-1)
@click.option("--data", metavar="DATA", help="The examples: a JSONL, JSON, CSV or Parquet file.")
@click.option("--model", metavar="MODEL", help="The base: a folder, a .gguf file, a hub id, or smollm2-135m.")
@click.option(
    "--page", "page_name", metavar="PAGE", help="The page of a single ANSWERS file that does not name it itself."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the plan here.")
@set_option
@click.option("--accept", multiple=True, metavar="PATH", help="Take the advice for this value (repeatable).")
@click.option("--accept-advice", is_flag=True, help="Take all advice.")
@json_option
@click.option("--schema", is_flag=True, help="Print the plan's JSON schema: every value, its type and its meaning.")
def plan(
    answers: tuple[Path, ...],
    data: str | None,
    model: str | None,
    page_name: str | None,
    output: Path | None,
    settings: tuple[str, ...],
    accept: tuple[str, ...],
    accept_advice: bool,
    as_json: bool,
    schema: bool,
) -> None:
    """Make a plan from ANSWERS (files of `page play`, one for each page; without any, the defaults), DATA and MODEL.

    Shows every value with where it comes from and why, the learning-rate curve, what the data means for the run,
    advice, and what was not understood. Advice changes nothing unless it is accepted.
    """
    if schema:
        from tunebook.plan.schema import Plan

        print_json(Plan.model_json_schema())
        return
    missing = [name for name, value in (("--data", data), ("--model", model)) if not value]
    if missing or data is None or model is None:
        raise click.UsageError(f"{' and '.join(missing)} must be given.")
    if page_name and len(answers) > 1:
        raise click.UsageError("--page goes with one ANSWERS file; each of several names its own page.")
    from tunebook.cli.quiet import quiet_libraries
    from tunebook.plan.files import save_plan
    from tunebook.plan.view import plan_json
    from tunebook.workflow.planning import plan_run

    quiet_libraries()
    folder = output.absolute().parent if output else Path.cwd()
    readers = _readers(answers, page_name)
    planned = plan_run(readers, data, model, folder, settings, "all" if accept_advice else accept)
    if output:
        _keep_hand_edits(output)
        save_plan(planned.plan, output)
    if as_json:
        print_json(plan_json(planned.plan, planned.advice, planned.facts))
    else:
        _draw(planned)
    say(f"The plan is in {output}. Start it with `tunebook run {output}`." if output else "Keep it with -o plan.yaml.")


def _readers(paths: Sequence[Path], page_name: str | None) -> dict[str, Callable[[], Answers]]:
    """What reads each answers file, or the defaults of the page that is named without one."""
    from tunebook.pages.answers import Answers, default_answers, load_answers
    from tunebook.pages.catalog import load_page

    page = load_page(page_name).require() if page_name else None
    if page and not paths:
        return {page.name: lambda: Answers(page, default_answers(page))}
    return {str(path): partial(load_answers, path, page) for path in paths}


def _keep_hand_edits(output: Path) -> None:
    """What lies at the same place is kept beside the new plan, unless it is a plan as Tunebook wrote it."""
    from tunebook.errors import PlanError
    from tunebook.files import copy_aside
    from tunebook.plan.files import load_plan
    from tunebook.plan.view import explained

    if not output.is_file():
        return
    try:
        what = "The plan that was in {} had been edited by hand"
        if not any(origin == "hand" for _, _, origin, _ in explained(load_plan(output))):
            return
    except PlanError:
        what = "What was in {} is no plan that can be read"
    say(f"{what.format(output)}; it is kept in {copy_aside(output)}.")


def _draw(planned: Any) -> None:
    from rich.console import Console

    from tunebook.plan.view import draw

    draw(planned.plan, planned.advice, planned.facts, Console())
