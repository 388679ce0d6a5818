"""Call the command line in this process, as a shell would: exit code, standard output, standard error."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple
from unittest import mock


class Done(NamedTuple):
    code: int
    out: str
    err: str


def call(*arguments: str) -> Done:
    """`tunebook ARGUMENTS`, without starting a process."""
    from tunebook.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["tunebook", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
