"""The command line: which commands there are, and how a fault reaches the user (one plain sentence, no traceback).

Exit codes: 0 done, 1 the work could not be done, 2 bad usage, 3 nothing understood (`rules`), 130 and 143 stopped by a
signal after saving. Commands are loaded when they are called: `--help` never imports torch.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys

import click

import tunebook
from tunebook.errors import TunebookError, WorkerLost

# command name -> (module below tunebook.cli, name of the click command in it)
COMMANDS: dict[str, tuple[str, str]] = {
    "page": ("pages", "page"),
    "order": ("pages", "order"),
    "rules": ("plan", "rules"),
    "plan": ("plan", "plan"),
    "data": ("data", "data"),
    "demo": ("run", "demo"),
    "doctor": ("doctor", "doctor"),
    "estimate": ("estimate", "estimate"),
    "run": ("run", "run"),
    "resume": ("run", "resume"),
    "stop": ("run", "stop"),
    "status": ("runs", "status"),
    "runs": ("runs", "runs"),
    "queue": ("queue", "queue"),
    "metrics": ("runs", "metrics"),
    "verify": ("verify", "verify"),
    "report": ("report", "report"),
    "replay": ("replay", "replay"),
    "review": ("review", "review"),
    "compare": ("compare", "compare"),
    "export": ("export", "export"),
    "chat": ("chat", "chat"),
    "serve": ("serve", "serve"),
    "deploy-test": ("serve", "deploy_test"),
    "versions": ("versions", "versions"),
    "studio": ("studio", "studio"),
}


class Lazy(click.Group):
    """A group that imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"tunebook.cli.{module}"), name)
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(tunebook.__version__, prog_name="tunebook")
@click.option("--debug", is_flag=True, help="Show the traceback of a fault.")
def app(debug: bool) -> None:
    """Turn a readable page into a fine-tuned model with proof."""
    logging.basicConfig(format="%(message)s")  # to standard error, as everything that is said to people
    logging.getLogger("tunebook").setLevel(logging.INFO)


def main() -> None:
    """Run the command line; every fault ends as one plain message and an exit code."""
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except TunebookError as error:
        if debug:
            raise
        click.echo(str(error), err=True)
        if isinstance(error, WorkerLost):  # a connection to a machine that is gone may never be closed in good order
            os._exit(error.exit_code)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"Tunebook met a fault of its own: {type(error).__name__}: {error}. "
            "Run the command again with --debug before its name to see where, and report it.",
            err=True,
        )
        sys.exit(1)
