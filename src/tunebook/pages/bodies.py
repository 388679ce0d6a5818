"""What stands under a component's directive: prose around a fence, a list, or the groups and fields of a form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tunebook.pages.components import Form, Group, Items
from tunebook.pages.items import Item, make_item
from tunebook.pages.markdown import Prose, plain_text
from tunebook.pages.names import Names
from tunebook.pages.outline import Block
from tunebook.pages.page import Severity
from tunebook.pages.parts import MAX_ITEMS, Component, Field, Part

_LABEL = re.compile(r"\*\*(?!\s)((?:(?!\*\*).)+)(?<!\s)\*\*")
Tell = Callable[[Severity, int, str], None]
ToProse = Callable[[Sequence[Block]], Prose]


def fill(component: Component, blocks: Sequence[Block], parts: Mapping[int, Part], prose: ToProse, tell: Tell) -> None:
    """Put what `blocks` say into `component`. `parts` holds what the directives among them made, by line."""
    if isinstance(component, Form):
        _fill_form(component, blocks, parts, prose, tell)
        return
    fields_outside(blocks, parts, tell)
    if isinstance(component, Items):
        _fill_items(component, blocks, prose, tell)
    else:
        component.prose = prose(blocks)


def fields_outside(blocks: Sequence[Block], parts: Mapping[int, Part], tell: Tell) -> None:
    """Tell of fields that no form holds."""
    for block in blocks:
        part = parts.get(block.start)
        if isinstance(part, Field):
            tell("error", block.start, f"a {part.type} stands outside a form; put a line {{type: form}} before it")


def _fill_items(component: Items, blocks: Sequence[Block], prose: ToProse, tell: Tell) -> None:
    places = [place for kind in component.taken_from for place, block in enumerate(blocks) if block.kind in kind]
    if not places:
        component.prose = prose(blocks)
        return
    place = places[0]
    source = blocks[place]
    component.prose, component.after = prose(blocks[:place]), prose(blocks[place + 1 :])
    if len(source.items) > MAX_ITEMS:
        tell("error", source.start, f"{len(source.items):,} items are more than the {MAX_ITEMS:,} that can be shown")
    names = Names()
    component.items = tuple(_item(text, names) for text in source.items[:MAX_ITEMS])
    for line in source.spare[:20]:
        tell("warning", line, "this line is part of a list but not an item; an item is one paragraph, not nested")
    for other in places[1:]:
        if blocks[other].kind == source.kind:
            said = f"the items are those from line {source.start + 1}; what is listed here is shown as prose"
            tell("warning", blocks[other].start, said)


def _item(text: str, names: Names) -> Item:
    item = make_item(text)
    return replace(item, id=names.make(item.label, "item"))


def _fill_form(form: Form, blocks: Sequence[Block], parts: Mapping[int, Part], prose: ToProse, tell: Tell) -> None:
    group: Group | None = None
    pending: list[Block] = []

    def close() -> None:
        if group is None:
            form.prose = prose(pending)
        elif group.fields:
            group.after = prose(pending)
        else:
            group.prose = prose(pending)
        pending.clear()

    for block in blocks:
        field = parts.get(block.start)
        if block.kind == "heading" and block.level == 3:
            close()
            group = Group(title=block.text, line=block.start + 1)
            form.groups.append(group)
        elif isinstance(field, Field):
            before, field.label, below = _label(pending)
            field.help = prose(below)
            if not field.label:
                tell("error", block.start, f"this {field.type} has no label; write a line **Label** above it")
            if group is None:
                form.prose = prose(before)
                group = Group()
                form.groups.append(group)
            elif group.fields:
                field.before = prose(before)
            else:
                group.prose = prose(before)
            group.fields.append(field)
            pending.clear()
        elif block.kind != "directive":
            pending.append(block)
    close()


def _label(blocks: list[Block]) -> tuple[list[Block], str, list[Block]]:
    """Split what stands above a field at the last line that is only `**Label**`: before, label, after."""
    for place in range(len(blocks) - 1, -1, -1):
        block = blocks[place]
        lines = block.text.split("\n") if block.kind == "paragraph" else []
        for number in range(len(lines) - 1, -1, -1):
            found = _LABEL.fullmatch(lines[number].strip())
            if found:
                middle = block.start + number
                above = [Block("paragraph", block.start, middle)] if number else []
                below = [Block("paragraph", middle + 1, block.end)] if number + 1 < len(lines) else []
                return [*blocks[:place], *above], plain_text(found[1]), [*below, *blocks[place + 1 :]]
    return blocks, "", []
