"""`tunebook compare`: runs, checkpoints, versions, bare models and addresses side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunebook.cli.options import json_option, print_json, runs_option, say
from tunebook.runs.store import runs_folder

if TYPE_CHECKING:
    from tunebook.compare.settings import Settings

_SCORES = ("exact_match", "rouge_l", "chrf", "bleu")
_ABOUT = {
    "answers": "Better answers",
    "ability": "Knows what it knew",
    "form": "Right form",
    "length": "Right length",
    "speed": "As fast",
}
_MARKS = {"yes": "[bold green]✓ yes[/]", "no": "[bold red]✗ no[/]", "unclear": "[bold yellow]? unclear[/]"}


@click.command()
@click.argument("names", nargs=-1, metavar="A B [...]")
@click.option("--prompts", type=click.Path(path_type=Path), metavar="FILE", help="Ask these: lines, or a data set.")
@click.option("--answers", type=click.Path(path_type=Path), metavar="FILE", help="Answers to the Phase 4 page.")
@click.option("--count", type=click.IntRange(min=1), help="Ask so many questions [default: 20 held-out ones].")
@click.option("--max-new-tokens", type=click.IntRange(1, 8192), help="Longest answer, in tokens [default: 128].")
@click.option("--score", "scores", multiple=True, type=click.Choice(_SCORES), help="Only these scores (repeatable).")
@click.option("--ability/--no-ability", default=None, help="Measure general ability as well [default: no].")
@click.option("--judge", metavar="URL", help="Have the model at this OpenAI-compatible address judge the answers.")
@click.option("--show", default=3, show_default=True, type=click.IntRange(min=0), help="Print so many questions.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Keep it here [default: among the runs]."
)
@runs_option
@json_option
def compare(
    names: tuple[str, ...],
    prompts: Path | None,
    answers: Path | None,
    count: int | None,
    max_new_tokens: int | None,
    scores: tuple[str, ...],
    ability: bool | None,
    judge: str | None,
    show: int,
    output: Path | None,
    runs_dir: str | None,
    as_json: bool,
) -> None:
    """Put the same questions to A, B and more, and hold all against A. A run alone is held against its base.

    Each is a run (demo-1), one of its checkpoints (demo-1@16), its base (demo-1@base), a version (house, house@2), a
    model (a folder, a .gguf file, a hub id, smollm2-135m), or the address of an OpenAI-compatible server.
    """
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    from tunebook.compare.comparison import compare as run_comparison
    from tunebook.compare.comparison import kept_at, save

    runs = runs_folder(runs_dir)
    sides, settings = _asked(names, answers)
    given: dict[str, Any] = {"prompts": prompts, "count": count, "max_new_tokens": max_new_tokens, "judge": judge}
    given |= {"scores": scores or None, "ability": ability}
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    comparison = run_comparison(sides, settings, runs, _say_progress)
    path = output or kept_at([side["name"] for side in comparison["sides"]], runs)
    if as_json:
        print_json(comparison | {"file": str(path.absolute())})
    else:
        _draw(comparison, show)
    save(comparison, path)  # last, so that a disk that does not take it costs no answer
    say(f"The whole comparison is in {path}.")


def _asked(names: tuple[str, ...], answers: Path | None) -> tuple[list[str], Settings]:
    from tunebook.compare.settings import Settings, from_answers

    if answers is None:
        if not names:
            raise click.UsageError("Name what is to be compared, or give the Phase 4 page's answers with --answers.")
        return list(names), Settings()
    from tunebook.pages.answers import load_answers

    chosen, settings = from_answers(load_answers(answers), answers.absolute().parent)
    if not names and not chosen:
        raise click.UsageError(f"{answers} names no models; name them here, or answer that question.")
    return list(names) or chosen, settings


def _say_progress(side: str, done: int, total: int) -> None:
    if done == total:
        say(f"{side}: {total} questions answered.")


def _draw(comparison: dict[str, Any], show: int) -> None:
    from rich.console import Console, Group
    from rich.padding import Padding
    from rich.text import Text

    asked = comparison["questions"]
    sides = comparison["sides"]
    head = f"{asked['count']} questions from {asked['from']}, answers of at most {comparison['max_new_tokens']} tokens"
    parts: list[Any] = [Text(head, "dim"), Text(), _numbers(sides), Text()]
    for side in sides[1:]:
        parts += [Text(f"{side['name']} against {sides[0]['name']}", "bold"), _signs(side), Text()]
    for row in comparison["rows"][:show]:
        parts += [_answers(row, sides), Text()]
    parts += [Text(text, "yellow") for text in comparison["warnings"]]
    Console().print(Padding(Group(*parts), (1, 2)))


def _numbers(sides: list[dict[str, Any]]) -> Any:
    """A column for each side: scores with their intervals, lengths, speed."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for side in sides:
        detail = (f"\n{side['detail']}", "dim") if side["detail"] else ""
        table.add_column(Text.assemble(side["name"], detail), justify="right")
    for name in dict.fromkeys(name for side in sides for name in side["scores"]):
        table.add_row(name.replace("_", " "), *(_score(side["scores"].get(name)) for side in sides))
    table.add_row("mean length in tokens", *(_figure(side["lengths"].get("mean")) for side in sides))
    ended = (1 - side["lengths"]["unended"] if side["lengths"] else None for side in sides)
    table.add_row("ended by itself", *("" if share is None else f"{share:.0%}" for share in ended))
    table.add_row("tokens a second", *(_figure(side["speed"]["tokens_per_second"]) for side in sides))
    return table


def _signs(side: dict[str, Any]) -> Any:
    """What changed against the first side, in the reader's order; then people's verdicts, then the judge's."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for found in side["findings"]:
        table.add_row(_ABOUT[found["about"]], Text.from_markup(_MARKS[found["verdict"]]), Text(found["why"], "dim"))
    for name, told in (("Read by people", side["reviews"]), ("Judge", side["judge"])):
        if told:
            silent = f", {told['no_reply']} without a usable reply" if told.get("no_reply") else ""
            table.add_row(name, "", "{better} better, {same} the same, {worse} worse".format(**told) + silent)
    return table


def _answers(row: dict[str, Any], sides: list[dict[str, Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(row["prompt"].strip()[:300], "italic"), title_justify="left", expand=True)
    for side, answer in zip(sides, row["answers"], strict=True):
        points = "" if answer["likeness"] is None else f" · {answer['likeness']:.0f} of 100"
        table.add_column(Text(side["name"] + points), ratio=1, overflow="fold")
    table.add_row(*(Text(answer["text"].strip()[:1200] or "(nothing)") for answer in row["answers"]))
    return table


def _score(score: dict[str, Any] | None) -> str:
    if score is None:
        return ""
    interval = "" if score["low"] is None else f" [dim]({score['low']:.1f} to {score['high']:.1f})[/]"
    return f"{score['mean']:.1f}{interval}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
