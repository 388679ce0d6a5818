"""Several data sets as one, with weights, described in a YAML file that stands where a data file would:

    datasets:
      - path: support.jsonl        # relative to this file
        weight: 2                  # every row twice in training; 0.3 takes three rows in ten
      - path: hub:owner/name@train
        rows: 5000                 # the first so many alone
        columns: {prompt: question, completion: answer}

Rows count on from one data set to the next. Which rows a weight takes is decided by their content, so that adding rows
changes nothing for the others; a row that stands in several data sets is a duplicate like any other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunebook.data.conversation import Conversation, Problem
from tunebook.data.read import Source
from tunebook.errors import DataError, Fault
from tunebook.plan.text import load_yaml


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    path: str = Field(min_length=1)
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    rows: int | None = Field(None, ge=1)
    columns: dict[str, str] | None = None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    datasets: tuple[_Part, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Mixture:
    """The data sets of a mix file, each open. It is used like a `Source`."""

    path: Path
    parts: tuple[_Part, ...]
    sources: tuple[Source, ...]
    kind: str = "mix"

    @property
    def form(self) -> str:
        """The forms of the data sets, joined."""
        return " + ".join(dict.fromkeys(source.form for source in self.sources))

    @property
    def own_groups(self) -> bool:
        """Does any of them have a group column of the user's?"""
        return any(source.own_groups for source in self.sources)

    @property
    def unused(self) -> tuple[str, ...]:
        """The columns that hold text, of which nothing is made, each with its file."""
        return tuple(f"{name} of {source.path.name}" for source in self.sources for name in source.unused)

    @property
    def files(self) -> list[Path]:
        """Every file that decides about the rows."""
        return [self.path, *(file for source in self.sources for file in source.files)]

    def conversations(self) -> Iterator[Conversation | Problem]:
        """The rows of all data sets, one after the other, each with the number of times that it is trained."""
        start = 0
        for part, source in zip(self.parts, self.sources, strict=True):
            last = 0
            for item in itertools.islice(source.conversations(), part.rows):
                last = item.line
                if isinstance(item, Problem):
                    message = f"{source.path.name} line {item.line}: {item.message}"
                    yield replace(item, line=start + last, message=message)
                elif copies := _copies(item.id, part.weight):
                    group = None if item.group is None else f"{source.path.name} {item.group}"
                    yield replace(item, line=start + last, copies=copies, group=group)
            start += last


def _copies(row_id: str, weight: float) -> int:
    """How often a row is trained: the whole part of the weight, and once more for so many rows as its fraction says."""
    whole = int(weight)
    return whole + (int(row_id[16:], 16) / 2**64 < weight - whole)


def is_mix(path: Path) -> bool:
    """Is `path` named like a mix file?"""
    return path.suffix.lower() in (".yaml", ".yml")


def open_mix(path: Path, open_part: Any) -> Mixture:
    """Read the mix file; open its data sets with `open_part(path, columns, rows)`. DataError has all faults at once."""
    try:
        described = _File.model_validate(load_yaml(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML ({str(error).splitlines()[0]}).", do="Mend that line.") from None
    except ValidationError as error:
        faults = [Fault(".".join(map(str, item["loc"])) or "it", item["msg"].lower()) for item in error.errors()]
        raise DataError(
            f"{path} does not describe data sets.", do="See docs/data.md for its form.", faults=faults
        ) from None
    parts = described.datasets
    sources = tuple(open_part(path.parent / part.path, part.columns, part.rows) for part in parts)
    return Mixture(path, parts, sources)
