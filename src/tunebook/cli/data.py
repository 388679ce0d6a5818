"""`tunebook data`: look at a data set before training does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunebook.cli.options import json_option, print_json, say

if TYPE_CHECKING:
    from tunebook.data.findings import Findings, TokenFindings
    from tunebook.data.show import Shown

columns_option = click.option(
    "--columns", multiple=True, metavar="OURS=YOURS", help="Your column name for one of ours (repeatable)."
)


@click.group()
def data() -> None:
    """Check a data set, or show a row as the model sees it."""


@data.command()
@click.argument("path", metavar="DATA", type=click.Path(path_type=Path))
@click.option("--model", metavar="M", help="Check with this model's tokenizer and chat template too.")
@click.option("--max-length", type=click.IntRange(min=8), default=1024, show_default=True, help="Limit in tokens.")
@click.option(
    "--too-long",
    type=click.Choice(["drop", "cut", "refuse"]),
    default="drop",
    show_default=True,
    help="What becomes of longer rows.",
)
@columns_option
@json_option
def check(
    path: Path, model: str | None, max_length: int, too_long: Any, columns: tuple[str, ...], as_json: bool
) -> None:
    """Look at every row of DATA, a JSONL, JSON, CSV or Parquet file; exit code 1 when a row has an error."""
    from tunebook.data.gate import examine
    from tunebook.data.survey import Settings

    tokenizer = _tokenizer(model) if model else None
    with _counting() as progress:
        checked = examine(path, _mapping(columns), tokenizer, Settings(max_length, too_long), progress=progress)
    if as_json:
        print_json(checked.findings.to_json())
    else:
        _tell(checked.findings)
    if checked.findings.bad:
        say(f"The bad rows, each with its reason, are in {checked.quarantine}")
        sys.exit(1)


@data.command()
@click.argument("path", metavar="DATA", type=click.Path(path_type=Path))
@click.option("--model", metavar="M", required=True, help="The model whose tokenizer and chat template to use.")
@click.option("--row", metavar="N", type=click.IntRange(min=1), required=True, help="The row, counted from 1.")
@columns_option
@json_option
def show(path: Path, model: str, row: int, columns: tuple[str, ...], as_json: bool) -> None:
    """Show one row as the model sees it, with what is trained in colour (or between [ and ] where there is none)."""
    from tunebook.data.show import show_row

    shown = show_row(path, row, _tokenizer(model), _mapping(columns))
    if as_json:
        print_json(shown.to_json())
    else:
        _draw(shown)


@contextmanager
def _counting() -> Iterator[Callable[[int], None] | None]:
    """Rows counted on standard error while someone watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("Reading rows") as status:
        yield lambda rows: status.update(f"{rows:,} rows read")


def _tokenizer(model: str) -> Any:
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    from tunebook.model.sources import load_tokenizer

    return load_tokenizer(model, Path.cwd())


def _mapping(columns: tuple[str, ...]) -> dict[str, str] | None:
    pairs = [item.partition("=") for item in columns]
    for ours, found, yours in pairs:
        if not (ours and found and yours):
            raise click.BadParameter("the form is our name=your name, such as prompt=question", param_hint="--columns")
    return {ours.strip(): yours.strip() for ours, _, yours in pairs} or None


def _tell(found: Findings) -> None:
    click.echo(f"{found.kind} file in {found.format} form: {found.rows:,} rows, {found.good:,} good, {found.bad:,} bad")
    for problem in sorted(found.problems, key=lambda item: (item.severity, item.line))[:50]:
        click.echo(f"  line {problem.line}: {problem.severity}: {problem.message} [{problem.code}]")
    if (more := sum(found.counts.values()) - min(50, len(found.problems))) > 0:
        counts = ", ".join(f"{count:,} {code}" for code, count in found.counts.most_common())
        click.echo(f"  and {more:,} more; in all {counts}")
    click.echo(f"{found.duplicates:,} duplicates, {found.near_duplicates:,} near-duplicates (warnings)")
    for kind, count in sorted(found.private.items()):
        click.echo(f"possibly private: {count:,} x {kind}")
    if found.tokens:
        _tell_tokens(found, found.tokens)


def _tell_tokens(found: Findings, tokens: TokenFindings) -> None:
    click.echo(f"{found.examples:,} examples, {tokens.total:,} tokens, {tokens.trained:,} of them trained")
    most = max(tokens.histogram.values(), default=1)
    for top, rows in sorted(tokens.histogram.items()):
        click.echo(f"  up to {top:>7,} tokens {'#' * -(-40 * rows // most):<40} {rows:,}")
    click.echo(f"{tokens.rows_over:,} rows are longer than {tokens.limit:,} tokens (the longest: {tokens.longest:,})")
    if tokens.rows_over:
        for name, lost in (("left out", tokens.if_dropped), ("cut", tokens.if_cut)):
            click.echo(f"  {name}: {lost.rows:,} rows and {lost.answer_tokens:,} answer tokens lost")
    if tokens.rows_with_tools_as_text:
        click.echo(
            f"{tokens.rows_with_tools_as_text:,} rows have tools, which this chat template has no place for: as text"
        )
    if tokens.rows_that_differ_at_inference:
        click.echo(f"warning: {tokens.rows_that_differ_at_inference:,} prompts are encoded otherwise when sent alone")
    if tokens.end_of_turn_trained:
        click.echo(f"end of turn {tokens.end_of_turn} is trained; before each answer stands what inference sends")
    else:
        click.echo("warning: the chat template ends answers with no token, so the model will not learn to stop")


def _draw(shown: Shown) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    drawn = Text()
    for before, token in zip((None, *shown.tokens), shown.tokens, strict=False):
        begins = token.trained and not (before and before.trained)
        ends = before is not None and before.trained and not token.trained
        if not console.color_system and (begins or ends):
            drawn.append("[" if begins else "]")
        drawn.append(token.text, "bold green" if token.trained else "dim")
    if not console.color_system and shown.tokens[-1].trained:
        drawn.append("]")
    console.print(drawn, soft_wrap=True)
    trained = sum(token.trained for token in shown.tokens)
    console.print(f"{len(shown.tokens):,} tokens, {trained:,} trained")
