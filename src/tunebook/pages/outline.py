"""A page's text cut into its outer blocks: headings, paragraphs, lists, fences and directives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from tunebook.pages.markdown import References, SafeMarkdown, plain_text

Kind = Literal["heading", "directive", "fence", "bullets", "numbers", "paragraph", "other"]
_DIRECTIVES, _LINES = "tunebook directives", "tunebook lines"


@dataclass(slots=True)
class Block:
    """An outer block of a page: what it is, the lines it takes (from 0, `end` not included), and what it says.

    `text` is a heading's words or a paragraph's source; `items` are a list's entries or the lines in a fence.
    """

    kind: Kind
    start: int
    end: int
    level: int = 0
    text: str = ""
    items: list[str] = field(default_factory=list)
    spare: list[int] = field(default_factory=list)  # lines of a list that give no item


@dataclass(slots=True)
class Outline:
    """A page's outer blocks in order and its link definitions.

    `strays` are lines that look like directives but are prose; `too_deep` is where nesting ends what can be read.
    """

    blocks: list[Block]
    references: References
    strays: list[int]
    too_deep: int | None = None


def outline(lines: Sequence[str], directives: Iterable[int]) -> Outline:
    """Cut a page into its outer blocks. Each of the `directives` (line numbers) is one, unless it stands in code."""
    marked = set(directives)
    env: dict[str, Any] = {"references": {}, _DIRECTIVES: frozenset(marked), _LINES: lines}
    tokens: list[Token] = []
    _PAGE.block.parse("\n".join(lines), _PAGE, env, tokens)
    too_deep = None
    for token in tokens:
        deepest = token.level == _PAGE.options.maxNesting - 1
        if deepest and too_deep is None and token.map and token.type in ("blockquote_open", "list_item_open"):
            too_deep = token.map[0]
        if token.map and token.type in ("directive", "fence", "code_block"):
            marked.difference_update(range(*token.map))
    return Outline(list(_blocks(tokens, lines)), env["references"], sorted(marked), too_deep)


def _blocks(tokens: list[Token], lines: Sequence[str]) -> Iterator[Block]:
    place = 0
    while place < len(tokens):
        first, after = tokens[place], place + 1
        while first.nesting == 1 and (tokens[after].level or tokens[after].nesting >= 0):
            after += 1
        after += first.nesting
        yield _block(tokens[place:after], lines)
        place = after


def _block(tokens: list[Token], lines: Sequence[str]) -> Block:
    first = tokens[0]
    start, end = first.map or (0, 0)
    if first.type == "heading_open":
        return Block("heading", start, end, level=int(first.tag[1]), text=plain_text(tokens[1].content))
    if first.type == "paragraph_open":
        return Block("paragraph", start, end, text=tokens[1].content)
    if first.type == "directive":
        return Block("directive", start, end, text=lines[start].strip())
    if first.type == "fence":
        entries = [" ".join(line.split()) for line in first.content.split("\n")]
        return Block("fence", start, end, items=[entry for entry in entries if entry])
    if first.type == "plain_list":
        return Block("bullets", start, end, items=[plain_text(line[2:]) for line in lines[start:end]])
    if first.type in ("bullet_list_open", "ordered_list_open"):
        return _list(tokens, start, end)
    return Block("other", start, end)


def _list(tokens: list[Token], start: int, end: int) -> Block:
    block = Block("bullets" if tokens[0].type == "bullet_list_open" else "numbers", start, end)
    line = start
    fresh = False  # an item has begun and its text is still to come
    for token in tokens:
        if token.level == 1 and token.type.startswith("list_item_"):
            if fresh and token.nesting < 0:
                block.spare.append(line)
            fresh = token.nesting > 0
            line = token.map[0] if token.map else start
        elif token.type == "inline" and token.map:
            if fresh and token.level == 3 and token.content:
                block.items.append(plain_text(token.content))
            else:
                block.spare.append(token.map[0])
            fresh = False
    return block


def _directive(state: StateBlock, line: int, _end: int, silent: bool) -> bool:
    """A block rule: a directive's line stands alone, and ends the paragraph, list or quote before it."""
    if line not in state.env[_DIRECTIVES]:
        return False
    if state.level:
        return silent and state.sCount[line] < state.blkIndent  # inside a list: only a line that falls out of it
    if state.sCount[line] >= 4:
        return False  # indented code
    if not silent:
        token = state.push("directive", "", 0)
        token.map = [line, line + 1]
        state.line = line + 1
    return True


# A list's line that cannot be anything but an item with one line of text, and lines that end such a list for sure.
_PLAIN_ITEM = re.compile(r"[-*+] (?![-+*#>=~`_{}<\[\s]|\d+[.)])\S.*")


def _plain_list(state: StateBlock, start: int, _end: int, silent: bool) -> bool:
    """A block rule: a list of one-line items, ten times faster than the general rule, which takes all other lists."""
    lines = state.env[_LINES]
    mark = lines[start][:1]
    if silent or state.level or not _PLAIN_ITEM.fullmatch(lines[start]):
        return False
    end = start + 1
    while end < len(lines) and lines[end][:1] == mark and _PLAIN_ITEM.fullmatch(lines[end]):
        end += 1
    after = end
    while after < len(lines) and not lines[after].strip():
        after += 1
    open_end = end < len(lines) and after == end and end not in state.env[_DIRECTIVES]
    if open_end or (after < len(lines) and lines[after][:1] in (mark, " ", "\t")):
        return False
    token = state.push("plain_list", "", 0)
    token.map = [start, end]
    state.line = end
    return True


_PAGE = SafeMarkdown()
_PAGE.block.ruler.before("code", "plain_list", _plain_list)
_PAGE.block.ruler.before("code", "directive", _directive, {"alt": ["paragraph", "reference", "blockquote", "list"]})
