"""Ids made from titles and labels, and the nearest known name for one that is not known."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

_NOT_WORD = re.compile(r"[\W_]+")
_LENGTH = 80
ID = re.compile(r"[^\W_][\w-]{0,79}")


def slug(text: str, fallback: str) -> str:
    """Lower-case words of `text` joined by `-`, at most 80 characters; `fallback` where there is no word in it."""
    words = unicodedata.normalize("NFKC", text[: 4 * _LENGTH]).lower()
    return _NOT_WORD.sub("-", words).strip("-")[:_LENGTH].rstrip("-") or fallback


def plain(text: str) -> str:
    """`text` for comparing: no case, no punctuation, one space between words."""
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


class Names:
    """Ids given out on one page, each once. A slug that is taken gets its section in front, then a number behind."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """Reserve exactly `name`; False when it is taken."""
        free = name not in self._taken
        self._taken.add(name)
        return free

    def make(self, text: str, fallback: str, section: str = "") -> str:
        """A free id for `text`."""
        name = slug(text, fallback)
        if self.take(name):
            return name
        before = slug(section, "")
        if before and before != name:
            name = f"{before}-{name}"
            if self.take(name):
                return name
        number = self._next.get(name, 2)
        while not self.take(f"{name}-{number}"):
            number += 1
        self._next[name] = number + 1
        return f"{name}-{number}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or the known names where none is near."""
    names = list(known)
    close = difflib.get_close_matches(word[:_LENGTH], names, 1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(names[:20])}" + (", ..." if len(names) > 20 else "") if names else ""


def said(value: object) -> str:
    """A value as it stands in a message."""
    return "nothing" if value is None else shown(str(value))


def shown(text: str) -> str:
    """`text` as it stands in a message: quoted, on one line, cut after 60 characters, nothing unprintable in it."""
    line = "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(text[:1000].split()))
    return f"'{line[:57]}...'" if len(line) > 60 else f"'{line}'"
