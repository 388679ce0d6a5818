"""Markdown with directives -> Page, with every problem of the page told at once and nothing raised.

Lines count from 1 in problems and parts, from 0 in here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePath

from tunebook.pages.bodies import fields_outside, fill
from tunebook.pages.components import Form, Navigation
from tunebook.pages.directives import find_directives, make_part, slip
from tunebook.pages.front_matter import compare_types, read_front_matter
from tunebook.pages.markdown import Prose, References
from tunebook.pages.names import Names, shown, slug
from tunebook.pages.outline import Block, outline
from tunebook.pages.page import Page, Problem, Section, Severity, fields_of
from tunebook.pages.parts import Component, Part

MAX_BYTES = 2_000_000
MAX_LINES = 100_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_FENCE_END = re.compile(r"\s*(?:`{3,}|~{3,})\s*")


def parse_page(source: bytes | str, name: str) -> Page:
    """Read a page. It never raises: what is wrong stands in `Page.problems`, by line."""
    page = Page(name=name)
    text = _decode(source, page)
    if text is not None:
        _Reader(page, text).read()
    page.id = page.id or slug(page.title, "") or slug(PurePath(name).stem, "page")
    page.problems.sort(key=lambda problem: problem.line)
    return page


def _decode(source: bytes | str, page: Page) -> str | None:
    """The page's text with plain line ends; None when it is too long to be read at all."""
    if len(source) > MAX_BYTES:
        said = f"the page is longer than the {MAX_BYTES / 1e6:.0f} MB that a page may have; make several of it"
        page.problems.append(Problem(1, "error", said))
        return None
    if isinstance(source, bytes):
        text = source.decode(errors="replace")
        try:
            source.decode()
        except UnicodeDecodeError as error:
            line = source.count(b"\n", 0, error.start) + 1
            byte = f"byte 0x{source[error.start]:02x} at offset {error.start}"
            page.problems.append(Problem(line, "error", f"{byte} is not UTF-8; save the page as UTF-8 text"))
    else:
        text = source
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.count("\n") + 1
    if lines > MAX_LINES:
        said = f"the page has {lines:,} lines, more than the {MAX_LINES:,} that a page may have; make several of it"
        page.problems.append(Problem(1, "error", said))
        return None
    found = list(_CONTROL.finditer(text))
    if found:
        line = text.count("\n", 0, found[0].start()) + 1
        more = f" and {len(found) - 1} more on the page" if len(found) > 1 else ""
        said = f"control character U+{ord(found[0][0]):04X}{more}; a page is plain text in UTF-8, take them out"
        page.problems.append(Problem(line, "error", said))
    return _CONTROL.sub("\ufffd", text)


class _Reader:
    """Reads one page's text into `page`: front matter, then section by section, component by component."""

    def __init__(self, page: Page, text: str) -> None:
        self.page, self.lines = page, text.split("\n")
        self.references: References = {}

    def tell(self, severity: Severity, line: int, message: str) -> None:
        self.page.problems.append(Problem(line + 1, severity, message))

    def read(self) -> None:
        front = read_front_matter(self.lines, self.page, self.tell)
        self.lines[: front.length] = [""] * front.length
        directives = find_directives(self.lines)
        found = outline(self.lines, directives)
        self.references = found.references
        parts: dict[int, Part] = {}
        for block in found.blocks:
            if block.kind == "directive":
                part = make_part(directives[block.start], block.start + 1, partial(self.tell, "error", block.start))
                if part:
                    parts[block.start] = part
        for heading, blocks in _cut(found.blocks, lambda block: block.kind == "heading" and block.level == 2):
            self._section(heading, blocks, parts)
        self._name_parts()
        self._check_parts()
        compare_types(front, dict.fromkeys(component.type for component in self.page.components), self.tell)
        self._look_for_slips(found.blocks, found.strays)
        if found.too_deep is not None:
            said = "lists and quotes are nested too deep to be read from here on (20 levels; a list counts as two)"
            self.tell("error", found.too_deep, said)

    def _prose(self, blocks: Sequence[Block]) -> Prose:
        """The text of blocks that stand one after the other."""
        if not blocks:
            return Prose()
        start, end = blocks[0].start, blocks[-1].end
        return Prose("\n".join(self.lines[start:end]).strip("\n"), self.references)

    def _section(self, heading: Block | None, blocks: Sequence[Block], parts: dict[int, Part]) -> None:
        section = Section(heading.text, heading.start + 1) if heading else Section()
        for first, body in _cut(blocks, lambda block: isinstance(parts.get(block.start), Component)):
            component = parts[first.start] if first else None
            if not isinstance(component, Component):
                section.intro = self._prose(body)
                fields_outside(body, parts, self.tell)
                continue
            component.section = "" if isinstance(component, Navigation) else section.title
            component.title = component.title or component.section or component.type.capitalize()
            fill(component, body, parts, self._prose, self.tell)
            section.components.append(component)
        if heading or section.intro or section.components:
            self.page.sections.append(section)

    def _name_parts(self) -> None:
        """Give every part its id: the ones that the page states first, so that no other can take them."""
        names = Names()
        for part in self.page.parts:
            if part.id and not names.take(part.id):
                self.tell("error", part.line - 1, f"the id {shown(part.id)} is given twice; each must be its own")
        for component in self.page.components:
            component.id = component.id or names.make(component.title, component.type, component.section)
            for field in fields_of(component):
                field.id = field.id or names.make(field.label, field.type, component.section)

    def _check_parts(self) -> None:
        for part in self.page.parts:
            for message in part.faults():
                self.tell("error", part.line - 1, message)
            if isinstance(part, Form) and part.required:
                for field in part.fields:
                    field.required = True
            elif part.required and not part.asks:
                self.tell("warning", part.line - 1, f"`required` does nothing here: {part.type} asks nothing")
            if part.sets and not part.asks:
                self.tell("warning", part.line - 1, f"`sets` does nothing here: {part.type} itself asks nothing")

    def _look_for_slips(self, blocks: Iterable[Block], strays: Iterable[int]) -> None:
        """Warn of what is prose by the rules but was hardly meant so."""
        for line in strays:
            self.tell("warning", line, "this directive is indented, so it is prose; move it to the start of the line")
        for block in blocks:
            if block.kind == "paragraph":
                for line in range(block.start, block.end):
                    if message := slip(self.lines[line]):
                        self.tell("warning", line, message)
            elif block.kind == "fence" and not (
                block.end - 1 > block.start and _FENCE_END.fullmatch(self.lines[block.end - 1])
            ):
                self.tell("warning", block.start, "this code block is never closed, so the rest of the page is code")


def _cut(blocks: Sequence[Block], starts: Callable[[Block], bool]) -> Iterator[tuple[Block | None, Sequence[Block]]]:
    """Cut `blocks` before each one that `starts` a piece: (that one, what follows it); the first piece has none."""
    places = [place for place, block in enumerate(blocks) if starts(block)]
    ends = [*places, len(blocks)]
    yield None, blocks[: ends[0]]
    for place, end in zip(places, ends[1:], strict=True):
        yield blocks[place], blocks[place + 1 : end]
