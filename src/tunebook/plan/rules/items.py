"""From text to ideas: words are matched against `words.py`, numbers joined with their units.

    "Stop if val loss hasn't improved in 3 evals"  ->  STOP IF METRIC STALL IN COUNT

An item keeps where in the text it stands, so that whatever no rule takes up can be shown to the reader verbatim. A
word that nobody knows becomes the item `?`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from tunebook.plan.rules.item import Item
from tunebook.plan.rules.joins import joined
from tunebook.plan.rules.numbers import MANY, ORDINALS, TIMES, WORDS, number
from tunebook.plan.rules.words import FILLER, IDEAS, VAGUE, words_of

_TOKEN = re.compile(
    r"""
    (?P<bullet>^[ \t]*(?:[-*•‣◦+–—]|\(?[0-9]{1,2}[.)]|\(?[a-z]\))[ \t]+)
  | (?P<entry>(?<=[\s,;:])(?:[0-9]{1,2}\)|\(?[a-z]\))(?=\s))
  | (?P<clock>[0-9]{1,4}\s?h\s?[0-9]{1,2}(?:\s?m(?:in)?)?\b)
  | (?P<split>(?<![\w.])[0-9]{2}\s?/\s?[0-9]{1,2}(?![\w./]))
  | (?P<range>(?<![\w.])[0-9]+(?:\.[0-9]+)?[ \t]?[-–—][ \t]?[0-9]+(?:\.[0-9]+)?(?![\w.]))
  | (?P<ordinal>[0-9]{1,2}(?:st|nd|rd|th)\b)
  | (?P<number>10\^[-+]?[0-9]{1,3} | [0-9]+(?:_[0-9]{3})+
      | (?:(?<![\w.)])[-−])?(?:[0-9]+(?:[.,'’][0-9]+)*|\.[0-9]+)
        (?:e[-+−–]?[0-9]+|[ ]e[-−–][0-9]+|[ ]?[x×*·][ ]?10(?:\^?[-−–][0-9]+|\^[0-9]+|[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?)
  | (?P<word>max(?:imum)?\((?=[^()]*,)  # max(2 hours, 3 epochs)
      | (?:bleu|gpt|rouge)-[0-9]\w*|[^\W_](?:[^\W_]|['’](?=[^\W_]))*|(?:max|min|approx|incl|vs|ca|e\.g|i\.e)(?=\.))
  | (?P<end>[.!?](?=[\s"')\]]|$)|;|\n)
  | (?P<symbol><=|>=|=<|=>|==|:=|[-<>=≤≥⩽⩾%+,/&()]|(?<=[0-9])[*×·](?=\s?\w)|(?<=[0-9]\s)[*×·])
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
_DOTTED = words_of("max min approx incl vs ca e.g i.e no resp avg")
_ADVERB = re.compile(r"\w+ly")
_STEMS = re.compile(r"[^aeiou]y")


def sentences(text: str) -> Iterator[list[Item]]:
    """The items of each sentence, list entry or line, with what carries nothing as `filler`."""
    tokens: list[Item] = []
    for token in _tokens(text):
        if token.kind != "end":
            tokens.append(token)
        elif tokens:
            yield _items(tokens)
            tokens = []
    yield _items(tokens)


def _tokens(text: str) -> Iterator[Item]:
    previous = ""
    depth = 0  # of parentheses
    for match in _TOKEN.finditer(text):
        kind, words = str(match.lastgroup), match.group().lower().replace("’", "'")
        inside = depth
        depth = max(0, depth + words.count("(") - words.count(")"))
        if kind == "bullet":
            kind = "end"
        elif kind == "end" and (
            (words == "." and previous in _DOTTED) or (words == "\n" and _wraps(text, match.start()))
        ):
            continue
        if words == "-" and text[max(0, match.start() - 1) : match.end() + 1] == " - ":
            words = "minus"
        previous = words
        if kind == "entry":  # "1) patience 3 2) 5 epochs", but not the end of "(patience 3)"
            kind, words = (
                ("symbol", ",") if inside == 0 else ("number" if words[0].isdigit() else "word", words.strip("()"))
            )
        yield Item(kind, None, match.start(), match.end(), words)


def _wraps(text: str, at: int) -> bool:
    """Is the line break at `at` only there because the line was full, or in the middle of a thought?"""
    before = text[text.rfind("\n", 0, at) + 1 : at].rstrip()
    after = text[at + 1 : at + 100].lstrip(" \t")
    words = before.lower().split(" ")[-1], after.partition(" ")[0].replace("’", "'")
    return after[:1].islower() and (len(before) >= 60 or words[0] in _LEADS_ON or words[1] in _GOES_ON)


_LEADS_ON = words_of("a an the for in of by and or if when than not no is has to does doesn't hasn't isn't at with")
_GOES_ON = words_of("has hasn't have is isn't does doesn't for in over by than and or improve improves of")


# -- phrases ----------------------------------------------------------------------------------------------------------


def inflected(word: str) -> list[str]:
    """`improve~` -> improve, improves, improved, improving; `drop~~` -> drop, drops, dropped, dropping."""
    stem = word.rstrip("~")
    if stem == word:
        return [word]
    if word.endswith("~~"):
        return [stem, f"{stem}s", f"{stem}{stem[-1]}ed", f"{stem}{stem[-1]}ing"]
    if stem.endswith("e"):
        return [stem, f"{stem}s", f"{stem}d", f"{stem[:-1]}ing"]
    if _STEMS.fullmatch(stem[-2:]):
        return [stem, f"{stem[:-1]}ies", f"{stem[:-1]}ied", f"{stem}ing"]
    return [stem, f"{stem}es" if stem.endswith(("s", "x", "ch", "sh")) else f"{stem}s", f"{stem}ed", f"{stem}ing"]


Slots = tuple[tuple[frozenset[str], bool], ...]  # (words, may be missing)


def slots(phrase: str) -> Slots:
    """A phrase of `words.py` taken apart."""
    return tuple(
        (frozenset(form for word in slot.removesuffix("?").split("|") for form in inflected(word)), slot.endswith("?"))
        for slot in phrase.split()
    )


@cache
def _phrases() -> dict[str, list[tuple[Slots, str]]]:
    """Every phrase under each word that it may begin with."""
    table: dict[str, list[tuple[Slots, str]]] = {}
    for idea, phrases in IDEAS.items():
        for phrase in phrases:
            parts = slots(phrase)
            for word in parts[0][0]:
                table.setdefault(word, []).append((parts, idea))
    return table


def _longest(parts: Slots, tokens: list[Item], at: int) -> int:
    """Where the longest reading of `parts` from token `at` ends; 0 when there is none."""
    if not parts:
        return at
    (words, optional), rest = parts[0], parts[1:]
    taken = _longest(rest, tokens, at + 1) if at < len(tokens) and tokens[at].words in words else 0
    return max(taken, _longest(rest, tokens, at)) if optional else taken


def _items(tokens: list[Item]) -> list[Item]:
    """Ideas, numbers and `?` for one sentence's tokens, joined where they belong together."""
    tokens = [token for token in tokens if token.words not in ("-", ":=", "(", ")")]
    found: list[Item] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        options = ((_longest(parts, tokens, at), idea) for parts, idea in _phrases().get(token.words, ()))
        end, idea = max(options, key=lambda option: option[0], default=(0, ""))
        if end:
            kind, _, value = idea.partition(":")
            words = " ".join(part.words for part in tokens[at:end])
            found.append(Item(kind, value, token.start, tokens[end - 1].end, words))
        else:
            found.append(_single(token))
        at = max(end, at + 1)
    return joined(found)


def _single(token: Item) -> Item:
    """What a token is that begins no phrase."""
    words = token.words
    kind: str = "?"
    value: Any = None
    if token.kind == "number":
        kind, value = "NUM", number(words)
    elif token.kind == "clock":
        hours, minutes = re.findall(r"[0-9]+", words)
        kind, value = "DURATION", 60.0 * int(hours) + int(minutes)
    elif token.kind == "split":
        parts = [int(part) for part in re.findall(r"[0-9]+", words)]
        kind, value = ("SPLIT", parts[1] / 100) if sum(parts) == 100 and parts[1] <= 50 else ("?", None)
    elif token.kind == "range":
        kind = "RANGE"
    elif words in WORDS:
        kind, value = "NUM", WORDS[words]
    elif words in TIMES:
        kind, value = "COUNT", (float(TIMES[words]), "times")
    elif words in ORDINALS:
        kind, value = "ORDINAL", ORDINALS[words]
    elif words in MANY or words in ("%", "percent", "pct", "cent"):
        kind, value = ("MANY", MANY[words]) if words in MANY else ("PERCENT_SIGN", None)
    elif words == ",":
        kind = ","
    elif words in FILLER or token.kind == "symbol":
        kind = "filler"
    elif _ADVERB.fullmatch(words) or words in VAGUE:
        kind = "LY"
    if kind in ("NUM", "DURATION") and value is None:
        kind = "?"
    return replace(token, kind=kind, value=value)
