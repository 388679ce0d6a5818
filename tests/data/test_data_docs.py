"""docs/data.md names every problem code that the code can give."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The first text among the arguments that is a bare lower-case word is the code.
MAKERS = re.compile(r'\b(?:Problem|BadRow|BadJSON|Unmaskable|_same)\((?:[\w.\[\]() ]+,\s*)?\s*"([a-z][a-z_0-9]+)"')


def codes() -> set[str]:
    found = set()
    for path in (ROOT / "src/tunebook/data").glob("*.py"):
        found |= set(MAKERS.findall(path.read_text(encoding="utf-8")))
    return found | {"secret", "personal_data"}


def test_every_problem_code_stands_in_the_docs():
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    assert len(codes()) >= 37
    assert not [code for code in sorted(codes()) if f"`{code}`" not in text]
