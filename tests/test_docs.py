"""The words are true: commands in the README and docs exist, links lead somewhere, examples run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.cli.call import call
from tests.workflow.conftest import base, home  # noqa: F401  (fixtures)
from tunebook.cli.app import COMMANDS, app

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples" / "README.md",
]


def commands(page: Path) -> list[str]:
    """Lines of console blocks, and inline code that begins with `tunebook`."""
    text = page.read_text()
    blocks = [line for block in re.findall(r"```console\n(.*?)```", text, re.S) for line in block.splitlines() if line]
    inline = re.findall(r"`(tunebook [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return [line.removeprefix("$ ") for line in blocks] + inline


ALL = [(page.name, line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), ALL, ids=[f"{page}: {line[:50]}" for page, line in ALL])
def test_a_command_in_the_docs_exists_with_its_options(page, line):
    words = shlex.split(line.split(" | ")[0].split(" > ")[0], comments=True)
    if words[0] == "make":
        assert re.search(rf"^{re.escape(words[1])}:", (ROOT / "Makefile").read_text(), re.M), line
        return
    if words[0] != "tunebook":
        return
    command: click.Command = app
    for word in words[1:]:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        if found is None:
            assert command is not app or word.startswith("-"), f"{page}: no command {word} in {line!r}"
            break
        command = found
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.split("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word)}
    assert used <= known | {"--help", "--version"}, f"{page}: {sorted(used - known)} in {line!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_knows_every_command_or_its_help_does():
    listed = call("--help").out
    assert all(command in listed for command in COMMANDS)


@pytest.mark.slow
def test_every_example_runs_on_a_tiny_model(home, base):  # noqa: F811
    plans = sorted((ROOT / "examples").glob("*/plan.yaml"))
    assert plans
    settings = (
        "training.max_steps=1",
        f"model.name={base}",
        "evaluation.max_new_tokens=4",
        "evaluation.retention=false",
    )
    for plan in plans:
        more = [
            word for setting in (*settings, "export.formats=[]", "data.max_length=1024") for word in ("--set", setting)
        ]
        done = call("run", str(plan), "--name", plan.parent.name, *more)
        assert done.code == 0, done.err
