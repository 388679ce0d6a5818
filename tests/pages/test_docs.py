"""What the guide for page authors states is so."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from tunebook.pages.answers import check_answers
from tunebook.pages.catalog import load_page
from tunebook.pages.components import ICONS
from tunebook.pages.parser import MAX_BYTES, MAX_LINES, parse_page
from tunebook.pages.parts import MAX_ITEMS, TYPES, Component, Part
from tunebook.pages.safe_yaml import read

GUIDE = (Path(__file__).parents[2] / "docs/pages.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", GUIDE, re.MULTILINE)]


def test_the_tables_list_every_type_with_its_own_keys() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", GUIDE, re.MULTILINE))
    assert set(rows) == set(TYPES)
    for name, part in TYPES.items():
        common = Component.keys if issubclass(part, Component) else Part.keys
        assert set(re.findall(r"`(\w+)`", rows[name])) == set(part.keys) - set(common)


def test_the_keys_that_any_of_them_may_have_are_named() -> None:
    for key in Part.keys:
        assert f"- `{key}" in GUIDE


def test_icons_and_limits_are_those_of_the_parser() -> None:
    words = " ".join(GUIDE.split())
    assert f"Icons: {', '.join(ICONS)}; another one is ignored." in words
    assert f"{MAX_BYTES // 1_000_000} MB, {MAX_LINES:,} lines, UTF-8" in words
    assert f"at most {MAX_ITEMS:,}" in words


def test_the_example_page_has_no_problem() -> None:
    (example,) = [block for block in BLOCKS if "{type: form}" in block]
    page = parse_page(example.strip(), "example")
    assert page.problems == []
    assert [part.id for part in page.questions] == ["learning-rate"]


def test_the_example_answers_fit_their_page() -> None:
    (example,) = [block for block in BLOCKS if "format: 1" in block]
    document = read(example).value
    page = load_page("phase-3-fine-tuning")
    assert document["page"] == page.id
    assert check_answers(page, document["answers"]) == (document["answers"], [])
