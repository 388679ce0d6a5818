"""Every command's help: there, quick, and free of torch."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from tests.cli.call import call
from tunebook.cli.app import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_explains_itself(command):
    done = call(command, "--help")
    assert done.code == 0
    assert done.out.startswith("Usage:")
    assert len(done.out.splitlines()) > 4
    assert done.err == ""


def test_the_list_of_commands_says_what_each_does():
    done = call("--help")
    assert done.code == 0
    for command in COMMANDS:
        (line,) = [line for line in done.out.splitlines() if line.startswith(f"  {command} ")]
        assert len(line.split()) > 3


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help_takes_less_than_a_third_of_a_second_of_cpu(command):
    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "tunebook", command, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3
