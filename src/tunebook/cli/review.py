"""`tunebook review`: read answers of base and tuned in blind order, judge them, and turn fixed ones into rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunebook.cli.options import json_option, print_json, runs_option, say
from tunebook.runs.store import open_run, runs_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunebook.evaluate.review import Item

_ACTIONS = {"k": "keep", "f": "fix", "r": "reject"}


class Judging(click.Group):
    """`tunebook review RUN` is `tunebook review judge RUN`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["judge", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Judging)
def review() -> None:
    """Read and judge answers of base and tuned: `tunebook review RUN`."""


def _policy_options(command: Any) -> Any:
    policies = click.Choice(["random", "all", "difficult", "none"])
    command = click.option("--count", type=click.IntRange(min=1), help="Answers of each checkpoint.")(command)
    return click.option("--policy", type=policies, help="Which answers to read [default: the plan's].")(command)


@review.command()
@click.argument("run")
@click.option("--reviewer", metavar="NAME", help="Who judges [default: your user name].")
@_policy_options
@runs_option
def judge(run: str, reviewer: str | None, policy: Any, count: int | None, runs_dir: str | None) -> None:
    """Judge answers of RUN in the terminal, one after the other; what was judged is kept at once."""
    from tunebook.evaluate.review import default_reviewer, queue, read_reviews, waiting

    folder = open_run(run, runs_folder(runs_dir)).folder
    reviewer = reviewer or default_reviewer()
    items = queue(folder, policy, count)
    left = waiting(items, read_reviews(folder), reviewer)
    if not left:
        why = "everything in the queue is judged" if items else "its queue is empty (--policy all reads every answer)"
        say(f"Nothing to review in '{folder.name}': {why}.")
        return
    for number, item in enumerate(left, 1):
        if not _judge(folder, item, reviewer, f"{number} of {len(left)}"):
            break
    say(f"Judged so far: {len(items) - len(waiting(items, read_reviews(folder), reviewer))} of {len(items)}.")


@review.command()
@click.argument("run")
@_policy_options
@runs_option
@json_option
def status(run: str, policy: Any, count: int | None, runs_dir: str | None, as_json: bool) -> None:
    """Say how much of RUN's queue is judged, how, and how far reviewers agree."""
    from tunebook.evaluate.review import queue, summary

    folder = open_run(run, runs_folder(runs_dir)).folder
    found = {"queue": len(queue(folder, policy, count)), "reviews": summary(folder)}
    if as_json:
        print_json(found)
        return
    told = found["reviews"]
    click.echo(f"{found['queue']} answers in the queue.")
    if not isinstance(told, dict):
        click.echo("Nobody has judged any.")
        return
    click.echo(
        "{verdicts} verdicts on {judged} answers by {reviewers}: "
        "{better} better, {same} same, {worse} worse than the base.".format(**told)
    )
    if told["known"]:
        click.echo(f"Not counted there: {told['known']}, when it was known which answer was the base's.")
    click.echo("{kept} kept, {fixed} fixed, {rejected} rejected.".format(**told))
    if told["rejected_checkpoints"]:
        click.echo(f"Rejected checkpoints: {', '.join(map(str, told['rejected_checkpoints']))}.")
    if agreed := told["agreement"]:
        click.echo(
            f"Agreement on {agreed['answers']} answers: {agreed['equal']:.0%} equal, alpha {agreed['alpha']:.2f}."
        )


@review.command()
@click.argument("run")
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where the rows go (JSONL).")
@runs_option
def export(run: str, to: Path, runs_dir: str | None) -> None:
    """Write the answers of RUN that were fixed as training rows."""
    from tunebook.evaluate.fixed import write_fixed

    folder = open_run(run, runs_folder(runs_dir)).folder
    count, lost = write_fixed(folder, to)
    say(f"Wrote {count} row{'s' * (count != 1)} to {to}.")
    if lost:
        say(f"{len(lost)} fixed answers belong to rows that are no longer in the data set: {', '.join(lost)}.")


def _judge(folder: Path, item: Item, reviewer: str, where: str) -> bool:
    """Show one item and take the verdict; False when the reviewer wants to end."""
    from tunebook.evaluate.review import judge_answer, judge_checkpoint

    _show(item, reviewer, where)
    choice = _ask("Which answers better? a, b, s (same), n (next), q (quit)", "absnq")
    if choice in "nq":
        return choice == "n"
    chosen: Any = "same" if choice == "s" else choice
    verdict = item.verdict(reviewer, chosen)
    click.echo(f"{item.tuned_place(reviewer).upper()} is the tuned model's, at step {item.step}.")
    act = _ask("Its answer: k (keep), f (fix), r (reject), x (reject the whole checkpoint)", "kfrx", "k")
    fixed = _fixed(item.tuned) if act == "f" else None
    action: Any = "reject" if act == "x" else "keep" if act == "f" and not fixed else _ACTIONS[act]
    note = click.prompt("Note", default="", show_default=False)
    judge_answer(folder, item, reviewer, verdict, action, fixed, note)
    if act == "x":
        judge_checkpoint(folder, item.step, reviewer, note=note)
    return True


def _show(item: Item, reviewer: str, where: str) -> None:
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True)
    for letter in "AB":
        table.add_column(letter, ratio=1, overflow="fold")
    table.add_row(*(Text(text.strip() or "(nothing)") for text in item.blind(reviewer)))
    parts: list[RenderableType] = [Text(item.prompt, "bold"), table, Text(f"Reference: {item.reference}", "dim")]
    Console().print(Panel(Group(*parts), title=where, title_align="left"))


def _ask(question: str, letters: str, default: str | None = None) -> str:
    choices = click.Choice(list(letters), case_sensitive=False)
    return str(click.prompt(question, type=choices, show_choices=False, default=default))


def _fixed(text: str) -> str | None:
    """The answer as the reviewer edits it; None when it was left as it is."""
    try:
        edited = click.edit(text, extension=".txt")
    except click.ClickException:
        edited = click.prompt("The answer as it should be", default="", show_default=False)
    return edited.strip() if edited and edited.strip() and edited.strip() != text.strip() else None
