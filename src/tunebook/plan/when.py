"""When a run evaluates: a few words, read into points.

every epoch | every 2 epochs | every 100 steps | every 5 minutes | every 2 hours
at 10, 20, 50 | at 10, 20, 50, then every 100 [steps]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

_NUMBER = r"\d{1,9}"
_EVERY = re.compile(rf"(?:every|each) (?:({_NUMBER}|\d{{1,3}}(?:,\d{{3}}){{1,2}}) )?(epoch|step|minute|hour)s?")
# Repetitions of one fixed shape: with a nested one, a long row of digits would take years.
_AT = re.compile(
    rf"at (?:steps? )?({_NUMBER}(?:[ ,]+(?:and )?{_NUMBER})*)(?: steps?)?(?:[ ,]+then every ({_NUMBER})(?: steps?)?)?"
)


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Which optimizer steps are followed by an evaluation; the last step of a run always is."""

    epochs: int = 0
    steps: int = 0
    minutes: int = 0
    at: tuple[int, ...] = ()

    def due(self, step: int, steps_per_epoch: int, minutes_since_last: float) -> bool:
        """Is an evaluation due after optimizer step `step` (counted from 1)?"""
        if step in self.at:
            return True
        if self.minutes:
            return minutes_since_last >= self.minutes
        if self.epochs:
            return step % (self.epochs * steps_per_epoch) == 0
        last = self.at[-1] if self.at else 0
        return bool(self.steps) and step > last and (step - last) % self.steps == 0


def parse(text: str) -> Evaluations:
    """Read a schedule; ValueError says which forms there are."""
    words = " ".join(text.lower().split())
    if match := _EVERY.fullmatch(words):
        count = int((match[1] or "1").replace(",", ""))
        if count:
            epochs, steps, minutes, hours = (count * (match[2] == unit) for unit in ("epoch", "step", "minute", "hour"))
            return Evaluations(epochs, steps, minutes + 60 * hours)
    elif match := _AT.fullmatch(words):
        at = tuple(int(number) for number in re.findall(r"\d+", match[1]))
        if at[0] > 0 and list(at) == sorted(set(at)):
            return Evaluations(at=at, steps=int(match[2] or 0))
    raise ValueError(
        f"'{text}' is not a schedule; write 'every epoch', 'every 100 steps', 'every 5 minutes' "
        "or 'at 10, 20, 50, then every 100' (rising step numbers, none of them 0)"
    )


def _check(text: str) -> str:
    parse(text)
    return text


Schedule = Annotated[str, AfterValidator(_check)]
