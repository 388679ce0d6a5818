"""CommonMark through markdown-it-py: prose to HTML that cannot do anything.

Raw HTML is text here, and a link opens only http, https, mailto, a relative address or an anchor. So nothing that a
page says becomes a script, a style or an event handler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

_MARKS = re.compile(r"[\\`*_\[\]<>&!\n]")
_SCHEME = re.compile(r"([^/?#:]*):")
_SCHEMES = ("http", "https", "mailto")
References = Mapping[str, Any]


class SafeMarkdown(MarkdownIt):
    """CommonMark without raw HTML and with few kinds of links."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False})

    def validateLink(self, url: str) -> bool:  # noqa: N802  (the library's name)
        """Is this an address that a page may link to?"""
        scheme = _SCHEME.match(url)
        return scheme is None or scheme[1].lower() in _SCHEMES


@dataclass(frozen=True, slots=True)
class Prose:
    """A stretch of Markdown of one page; `references` are the link definitions of the whole page."""

    text: str = ""
    references: References = field(default_factory=dict, repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.text)

    def html(self) -> str:
        """The prose as HTML that is safe to put into a document as it is."""
        return render_html(self.text, self.references)


def render_html(text: str, references: References | None = None) -> str:
    """CommonMark to HTML. No input gives a script, a style, an event handler or another scheme than the allowed."""
    return str(_PROSE.render(text, {"references": references or {}}))


def tokens(prose: Prose) -> list[Token]:
    """The prose as markdown-it-py's tokens, for another renderer than HTML's; the same rules hold."""
    return _PROSE.parse(prose.text, {"references": prose.references})


def plain_text(source: str) -> str:
    """What inline Markdown says, without its marks, on one line."""
    if not _MARKS.search(source):
        return " ".join(source.split())
    children: list[Token] = []
    _PROSE.inline.parse(source, _PROSE, {"references": {}}, children)
    return " ".join("".join(_said(children)).split())


def _said(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            yield " "
        else:
            yield token.content


_PROSE = SafeMarkdown()
