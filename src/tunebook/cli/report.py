"""`tunebook report`: the success report in the terminal, and as JSON, Markdown and HTML in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tunebook.cli.options import json_option, print_json, runs_option, say
from tunebook.runs.store import open_run, runs_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

_QUESTIONS = {
    "training_loss": "Training loss falls",
    "validation": "Validation holds",
    "answers": "Answers are better",
    "retention": "Ability is kept",
}
_MARKS = {"yes": "[bold green]✓ yes[/]", "no": "[bold red]✗ no[/]", "unclear": "[bold yellow]? unclear[/]"}


@click.command()
@click.argument("run")
@runs_option
@json_option
def report(run: str, runs_dir: str | None, as_json: bool) -> None:
    """Judge RUN: did it learn, does it answer better than its base, did it keep its general ability?

    Writes report.json, report.md and report.html into the run folder as well.
    """
    from tunebook.evaluate.report import make_report, write_report

    folder = open_run(run, runs_folder(runs_dir)).folder
    try:
        found = write_report(folder)
    except OSError as error:
        found = make_report(folder)
        say(f"The report could not be written to {folder} ({error.strerror or error}).")
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    Console().print(draw_report(found))


def draw_report(report: dict[str, Any]) -> RenderableType:
    """The report for a terminal: verdicts with their numbers, one answer pair, what to try next."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    signs = Table.grid(padding=(0, 2))
    for item in report["indicators"]:
        signs.add_row(_QUESTIONS[item["id"]], Text.from_markup(_MARKS[item["verdict"]]), Text(item["why"], "dim"))
        signs.add_row()
    end = report["end"]
    result = f"result: step {end['result_step']:,}" if end["result_step"] else "no result yet"
    planned = f" of {end['planned_steps']:,}" if end["planned_steps"] else ""
    trained = f"{end['step']:,}{planned} optimizer steps"
    facts = " · ".join(filter(None, [report["name"], report["model"], report["state"], trained, result, end["reason"]]))
    parts: list[RenderableType] = [Text(report["headline"], "bold"), Text(facts, "dim"), Text(), signs]
    best = max(report["answers"], key=lambda row: row["change"], default=None)
    if best and best["change"] > 0:
        parts += [Text(f"The answer that gained most, of {len(report['answers']):,}:", "dim"), _pair(best), Text()]
    if report["next"]:
        parts.append(Text("What to try next", "bold"))
        for item in report["next"]:
            setting = f"  --set {item['set']}" if item["set"] else ""
            parts.append(Text.assemble("• ", item["do"], " ", (item["why"], "dim"), (setting, "cyan")))
        parts.append(Text())
    parts += [Text(text, "yellow") for text in report["warnings"]]
    parts.append(Text(f"To read it whole: {report['folder']}/report.html", "dim"))
    return Padding(Group(*parts), (1, 2))


def _pair(row: dict[str, Any]) -> RenderableType:
    """The answer that gained most, base beside tuned."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(row["prompt"].strip()[:200], "italic"), title_justify="left", expand=True)
    for name in ("base", "tuned"):
        table.add_column(f"{name} · {row[name]['scores']['likeness']:.0f} of 100", ratio=1, overflow="fold")
    table.add_row(*(Text(row[name]["text"].strip()[:800]) for name in ("base", "tuned")))
    return table
