"""The examples of the CommonMark specification, from the npm package commonmark-spec (`make spec-test`).

Two references: the HTML that the specification gives, and markdown-it-py's own CommonMark renderer. They are held
wherever a page's two rules leave the text alone: raw HTML is text, and links open few schemes.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.pages.naughty import dangers
from tunebook.pages.markdown import SafeMarkdown, render_html

SPEC = Path(__file__).parents[2] / "scripts" / "node_modules" / "commonmark-spec" / "spec.txt"
_FENCE = "`" * 32
_EXAMPLE = re.compile(rf"^{_FENCE} example\n(.*?)^\.\n(.*?)^{_FENCE}$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.heavy


def examples() -> list[tuple[str, str]]:
    """(Markdown, HTML) of every example; the specification writes a tab as an arrow."""
    found = _EXAMPLE.findall(SPEC.read_text(encoding="utf-8").replace("\r\n", "\n"))
    return [(source.replace("→", "\t"), wanted.replace("→", "\t")) for source, wanted in found]


@pytest.fixture(scope="module")
def spec() -> list[tuple[str, str]]:
    assert SPEC.is_file(), "make spec-test fetches the specification"
    found = examples()
    assert len(found) == 652, "version 0.31.2 has 652 examples"
    return found


def has_raw_html(source: str) -> bool:
    tokens = MarkdownIt("commonmark").parse(source)
    inline = [child for token in tokens for child in token.children or []]
    return any(token.type in ("html_block", "html_inline") for token in (*tokens, *inline))


def refuses_a_link(source: str) -> bool:
    """Does an address stand in `source` that the specification lets through and a page does not?"""
    strict, library = SafeMarkdown(), MarkdownIt("commonmark", {"html": False})
    library.validateLink = lambda _: True  # type: ignore[method-assign]
    return strict.render(source) != library.render(source)


def test_every_example_renders_as_the_library_says(spec: list[tuple[str, str]]) -> None:
    library = MarkdownIt("commonmark", {"html": False})
    library.validateLink = SafeMarkdown().validateLink  # type: ignore[method-assign]
    assert [source for source, _ in spec if render_html(source) != library.render(source)] == []


def test_every_example_without_raw_html_renders_as_the_specification_says(spec: list[tuple[str, str]]) -> None:
    plain = [(source, wanted) for source, wanted in spec if not has_raw_html(source) and not refuses_a_link(source)]
    assert len(plain) > 550
    wrong = [source for source, wanted in plain if _same_shape(render_html(source)) != _same_shape(wanted)]
    assert wrong == []


def test_no_example_becomes_a_script_a_style_or_a_handler(spec: list[tuple[str, str]]) -> None:
    assert [source for source, _ in spec if dangers(render_html(source))] == []


def _same_shape(text: str) -> str:
    """HTML with entities, and line ends between tags, as they mean the same: each writer has its own."""
    return html.unescape(re.sub(r">\n+(?=<|$)", ">", text))
