"""A page that has been read: its sections, components and questions, and every problem found on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tunebook.errors import Fault, PageError
from tunebook.pages.markdown import Prose
from tunebook.pages.parts import Component, Field, Part

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a page. `line` counts from 1; a page with an error cannot be played."""

    line: int
    severity: Severity
    message: str


@dataclass
class Section:
    """What stands under one `##` heading. What precedes the first heading is a section without title."""

    title: str = ""
    line: int = 1
    intro: Prose = Prose()
    components: list[Component] = field(default_factory=list)


@dataclass
class Page:
    """A page. `name` is the file or library name that it was read from; `id` is what an answers file calls it."""

    name: str
    id: str = ""
    title: str = ""
    subtitle: str = ""
    phase: int | None = None
    sections: list[Section] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def components(self) -> list[Component]:
        """All components in the order of the page."""
        return [component for section in self.sections for component in section.components]

    @property
    def parts(self) -> Iterator[Part]:
        """Components and fields in the order of the page."""
        for component in self.components:
            yield component
            yield from fields_of(component)

    @property
    def questions(self) -> list[Part]:
        """Everything that is answered, in the order of the page; their ids are the keys of an answers file."""
        return [part for part in self.parts if part.asks]

    @property
    def ok(self) -> bool:
        """Can the page be played?"""
        return all(problem.severity != "error" for problem in self.problems)

    def require(self) -> Page:
        """The page itself; PageError with every error where there is one."""
        errors = [problem for problem in self.problems if problem.severity == "error"]
        if errors:
            count = "an error" if len(errors) == 1 else f"{len(errors)} errors"
            faults = [Fault(f"line {problem.line}", problem.message) for problem in errors]
            raise PageError(f"The page {self.name} has {count}.", do="Mend the page and try again.", faults=faults)
        return self

    def to_json(self) -> dict[str, Any]:
        """As `page check --json` prints it."""
        return {
            "id": self.id,
            "title": self.title,
            "subtitle": self.subtitle,
            "phase": self.phase,
            "components": [component.to_json() for component in self.components],
            "problems": [
                {"line": item.line, "severity": item.severity, "message": item.message} for item in self.problems
            ],
        }


def fields_of(component: Component) -> Sequence[Field]:
    """The fields of a form; of anything else none."""
    fields: Sequence[Field] = getattr(component, "fields", ())
    return fields
