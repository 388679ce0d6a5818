"""Numbers as people write them: 3, three, 1e-3, 0,01, 1,000, 10k, 20%, 2h30."""

from __future__ import annotations

import math
import re

_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_TENS = "thirty forty fifty sixty seventy eighty ninety"


def _counted(words: str, first: int, step: int = 1) -> dict[str, float]:
    return {word: first + step * place for place, word in enumerate(words.split())}


WORDS = _counted(_TO_TWENTY, 0) | _counted(_TENS, 30, 10) | {"couple": 2, "few": 3, "dozen": 12}
TIMES = {"twice": 2, "thrice": 3}
ORDINALS = _counted("first second third fourth fifth sixth", 1)
ORDINALS |= {f"{number}{'th' if number > 3 else ('st', 'nd', 'rd')[number - 1]}": number for number in range(1, 21)}
MANY = {"hundred": 1e2, "thousand": 1e3, "k": 1e3, "million": 1e6, "mio": 1e6, "billion": 1e9, "bn": 1e9}
_PLAIN = str.maketrans("−–⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "---0123456789", "_")


def doubtful(text: str, point: str) -> bool:
    """Can `point` be either the decimal point or a mark between thousands, as in 1.440 or 1,250?"""
    return re.match(rf"[1-9][0-9]{{0,2}}{re.escape(point)}[0-9]{{3}}(?![0-9.,])", text) is not None


def number(text: str) -> float | None:
    """The value of digits: in 0,01 and 1,5 a comma is the point, in 1,000 it parts thousands; 3 × 10⁻⁵ is 3e-5. None
    when not finite, or in none of these ways."""
    text = re.sub(r" ?[x×*·] ?10\^?| (?=e)", lambda times: "e" if times.group().strip() else "", text)
    text = text.translate(_PLAIN)
    if text.startswith("10^"):
        text = f"1e{text[3:]}"
    mantissa, e, exponent = text.lower().partition("e")
    whole, *groups = mantissa.split(",")
    if groups and (
        len(groups) > 1 or (len(groups[0].partition(".")[0]) == 3 and whole.strip("0") != "" and len(whole) <= 3)
    ):
        plain = whole + "".join(groups)
    else:
        plain = mantissa.replace(",", ".", 1)
    try:
        value = float(plain + e + exponent)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
