"""Options and items: a label with a note, `Label (note)`. The whole text is what an answer stores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunebook.pages.names import nearest, shown

_USUAL = re.compile(r"(?:^|[,;/]\s*)(?:recommended|standard)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Item:
    """One option of a question, or one line of a ranking; `text` is label and note as the page writes them."""

    text: str
    id: str = ""
    label: str = ""
    note: str = ""

    @property
    def custom(self) -> bool:
        """Does choosing it ask a follow-up, stored as `<id>.custom`?"""
        return re.match(r"custom\b", self.text, re.IGNORECASE) is not None

    @property
    def usual(self) -> bool:
        """Is it noted as the one to take when nothing speaks against it?"""
        return _USUAL.search(self.note) is not None


def make_item(text: str) -> Item:
    """Split `Label (note)`; the note is the last pair of parentheses, when it ends the text and a space precedes it."""
    depth = 0
    for place in range(len(text) - 1, 0, -1) if text.endswith(")") else ():
        depth += (text[place] == ")") - (text[place] == "(")
        if depth == 0:
            label = text[:place].rstrip()
            if len(label) < place and label:
                return Item(text, "", label, text[place + 1 : -1].strip())
            break
    return Item(text, "", text)


def _key(text: str) -> str:
    return " ".join(text.casefold().split())


class Choice:
    """Finds the item that an answer means: its text, else its label or id, case and spacing aside."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._by_text = {item.text: item for item in items}
        self._by_key: dict[str, Item] = {}
        for names in ([item.id for item in items], [item.label for item in items], [item.text for item in items]):
            counts: dict[str, int] = {}
            for name in map(_key, names):
                counts[name] = counts.get(name, 0) + 1
            pairs = zip(map(_key, names), items, strict=True)
            self._by_key |= {name: item for name, item in pairs if name and counts[name] == 1}

    def find(self, answer: str) -> Item:
        """The item meant. ValueError names the options."""
        found = self._by_text.get(answer) or self._by_key.get(_key(answer))
        if found is None:
            texts = [item.text for item in self.items]
            listed = ", ".join(map(shown, texts[:20])) + (f" and {len(texts) - 20} more" if len(texts) > 20 else "")
            near = nearest(answer, texts) if len(texts) > 20 else ""
            raise ValueError(f"{shown(answer)} is not among the options; they are {listed}{near}")
        return found


def usual(options: Sequence[Item]) -> str:
    """The text of the option noted Recommended or Standard, else of the first that is not Custom."""
    ranked = sorted(options, key=lambda option: (option.custom, not option.usual))
    return ranked[0].text if ranked else ""


def faults_of(items: Sequence[Item], what: str) -> Iterator[str]:
    """What is wrong with the options (or whatever `what` calls them) of one question."""
    seen: set[str] = set()
    for item in items:
        if item.text in seen:
            yield f"the {what} {shown(item.text)} stands there twice, so an answer could not tell them apart"
        seen.add(item.text)
