"""`tunebook chat`: talk to a run's result, or to any model, in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from tunebook.cli.options import runs_option, say
from tunebook.errors import TunebookError

if TYPE_CHECKING:
    from tunebook.export.talk import Talker


@click.command()
@click.argument("name", metavar="RUN-or-MODEL")
@click.option("--with-base", is_flag=True, help="Show the base model's answer before the tuned one's.")
@click.option("--step", type=click.IntRange(min=1), help="A run's checkpoint of this step, not its result.")
@click.option("--once", metavar="TEXT", help="Ask this, print the answer and end.")
@click.option("--system", metavar="TEXT", help="A system message to begin with.")
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.0, help="0 (default): always the likeliest token."
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=512, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Speak JSON lines, for programs (docs/studio.md).")
@runs_option
def chat(
    name: str,
    with_base: bool,
    step: int | None,
    once: str | None,
    system: str | None,
    temperature: float,
    max_new_tokens: int,
    as_json: bool,
    runs_dir: str | None,
) -> None:
    """Talk to RUN-or-MODEL. Questions come from the keyboard, or line by line from a pipe.

    /new begins a new conversation, /quit or Ctrl-D ends. A line is a question; Ctrl-C breaks an answer off.
    """
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    talkers = _load(name, with_base, step, runs_dir)
    for talker in talkers:
        talker.temperature, talker.max_new_tokens = temperature, max_new_tokens
        talker.chat = [{"role": "system", "content": system}] if system else []
    if as_json:
        from tunebook.export.talk_json import speak

        speak(talkers)
        return
    if once is not None:
        _answer(talkers, once)
        return
    for line in _lines(sys.stdin.isatty()):
        if line == "/quit":
            return
        if line == "/new":
            for talker in talkers:
                talker.forget()
        elif line:
            try:
                _answer(talkers, line)
            except TunebookError as error:
                if not sys.stdin.isatty():
                    raise
                say(str(error))


def _load(name: str, with_base: bool, step: int | None, runs_dir: str | None) -> list[Talker]:
    from tunebook.export.talk import Talker
    from tunebook.model.sources import find_model, load_model, load_tokenizer
    from tunebook.runs.store import is_run, open_run, runs_folder
    from tunebook.versions.store import find_version
    from tunebook.workflow.hardware import pick_device
    from tunebook.workflow.result import load_tuned

    runs = runs_folder(runs_dir)
    if not is_run(name, runs):
        version = find_version(name, runs)
        try:
            place = str(version.folder) if version else find_model(name).name
        except TunebookError as error:
            raise type(error)(
                f"There is no run '{name}' in {runs}, and no version and no model of that name.",
                do="`tunebook runs` and `tunebook versions list` show them; a model is a folder, a .gguf file, "
                "a hub id or smollm2-135m.",
            ) from error
        if with_base or step:
            raise click.UsageError(f"--with-base and --step need a run; '{name}' is a model.")
        say(f"Loading {name} ...")
        return [Talker(name, load_model(place).to(pick_device()), load_tokenizer(place))]
    run = open_run(name, runs)
    say(f"Loading {f'checkpoint {step}' if step else 'the result'} of '{run.name}' ...")
    model, tokenizer = load_tuned(run, step)
    tuned = Talker("tuned", model, tokenizer)
    if not with_base:
        return [tuned]
    if hasattr(model, "disable_adapter"):
        return [Talker("base", model, tokenizer, without_adapter=True), tuned]
    return [Talker("base", load_model(run.plan().model.name, run.folder).to(pick_device()), tokenizer), tuned]


def _answer(talkers: list[Talker], text: str) -> None:
    """Print each one's answer as it comes. A question that one did not answer whole is forgotten by all of them."""
    before, broken = [talker.chat for talker in talkers], False
    for talker in talkers:
        if len(talkers) > 1:
            click.echo(f"{talker.name}: ", nl=False)
        try:
            for piece in talker.ask(text):
                click.echo(piece, nl=False)
                sys.stdout.flush()
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            say(" (broken off)")
            broken = True
        click.echo()
    if broken:
        for talker, chat in zip(talkers, before, strict=True):
            talker.chat = chat


def _lines(terminal: bool) -> Iterator[str]:
    """Questions, stripped, until the end."""
    if not terminal:
        yield from (line.strip() for line in sys.stdin)
        return
    from prompt_toolkit import PromptSession

    session: PromptSession[Any] = PromptSession()
    while True:
        try:
            yield session.prompt("> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
