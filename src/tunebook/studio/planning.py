"""What a page view asks for, made a plan: the answers to one page or several, data, model and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from tunebook.errors import DataError, Fault, PlanError
from tunebook.pages.answers import CUSTOM, check_answers, kept_answers
from tunebook.pages.page import Page
from tunebook.pages.parts import Answer
from tunebook.plan.compile import compile_plan
from tunebook.plan.facts import Facts
from tunebook.plan.schema import Plan
from tunebook.studio.given import Given
from tunebook.studio.place import Place
from tunebook.studio.reads import check_reads
from tunebook.workflow.start import files_of, with_paths

_NO_DATA = "data.jsonl"  # stands in a plan whose data is not chosen yet


class Wanted(Given):
    """Which page's answers, on what data, with which model.

    `others` are the keys of further pages whose answers go into the same plan. `accept` names the paths whose advice is
    taken, `settings` are `path=value`.
    """

    page: str
    others: list[str] = Field([], max_length=20)
    data: str = ""
    model: str = Field("smollm2-135m", max_length=1000)
    accept: list[str] = Field([], max_length=100)
    settings: list[str] = Field([], max_length=100)

    @property
    def pages(self) -> list[str]:
        """The keys of all its pages, this one's first, none twice."""
        return [*dict.fromkeys([self.page, *self.others])]


@dataclass(frozen=True)
class _Sheet:
    """The answers to one page that fit it, and the faults of those that are missing or unfinished."""

    page: Page
    values: Mapping[str, Answer]
    faults: list[Fault]
    title: str  # stands before its questions; empty for the page that is on the screen

    def question(self, name: str) -> str:
        """The question of that id as the page words it; empty where the page asks no such thing."""
        asked = (part.question for part in self.page.questions if part.id == name.removesuffix(CUSTOM))
        return next((f"{self.title}: {words}" if self.title else words for words in asked), "")


def compile_wanted(wanted: Wanted, place: Place, facts: Facts | None = None, *, whole_paths: bool = False) -> Plan:
    """The plan, or PlanError with every fault in the pages' words, unfinished answers among them.

    With `whole_paths` the plan names files and model by their whole paths, so that it can be kept in any folder.
    DataError when the data is not below the working folder.
    """
    sheets = [_sheet(key, place, key == wanted.page) for key in wanted.pages]
    unfinished = [Fault(sheet.question(fault.where) or fault.where, fault.message) for sheet, fault in _faults(sheets)]
    data, model = wanted.data or _NO_DATA, wanted.model or "?"
    if whole_paths:
        data, model = str(place.data_file(wanted.data)), _model_here(model, place)
    first, *others = [(sheet.page, sheet.values) for sheet in sheets]
    try:
        made = compile_plan(*first, data, model, wanted.settings, wanted.accept, facts, others)
        _check_files(made, data, place)
    except PlanError as error:
        told = {fault.where.removesuffix(CUSTOM) for _, fault in _faults(sheets)}
        more = [Fault(_words(sheets, fault.where), fault.message) for fault in error.faults if fault.where not in told]
        raise PlanError(error.what, do=error.do, faults=[*unfinished, *more]) from error
    if unfinished:
        raise PlanError("Some answers are not finished.", do="Answer what is named below.", faults=unfinished)
    return with_paths(made, files_of(made, place.folder)) if whole_paths else made


def keep_answers(wanted: Wanted, place: Place, folder: Path) -> None:
    """Keep the pages and answers that a plan was made of with its run: `answers.yaml` and `page.md`, others by key."""
    sources = place.page_files()
    for key in wanted.pages:
        end = "" if key == wanted.page else f"-{key}"
        answers, source = place.answers_file(key), sources[key]
        if answers.exists():
            (folder / f"answers{end}.yaml").write_bytes(answers.read_bytes())
        if isinstance(source, Path):
            (folder / f"page{end}.md").write_bytes(source.read_bytes())


def _sheet(key: str, place: Place, own: bool) -> _Sheet:
    page, path = place.page(key).require(), place.answers_file(key)
    given = kept_answers(path, page)[0].values if path.exists() else {}
    return _Sheet(page, *check_answers(page, given), title="" if own else page.title or key)


def _faults(sheets: list[_Sheet]) -> list[tuple[_Sheet, Fault]]:
    return [(sheet, fault) for sheet in sheets for fault in sheet.faults]


def _words(sheets: list[_Sheet], where: str) -> str:
    """Where a fault is: a question in its page's words, or a path of the plan."""
    return next(filter(None, (sheet.question(where) for sheet in sheets)), where)


def _model_here(model: str, place: Place) -> str:
    """A model of the working folder by its whole path; a name as it is."""
    here = place.folder / model
    return str(here) if here.exists() else model


def _check_files(plan: Plan, data: str, place: Place) -> None:
    """PlanError when the plan reads files that it may not, or its held-out file is no data file."""
    if plan.data.path != data:
        raise PlanError("The data is chosen, not set.", faults=[Fault("data.path", "choose the file as the data")])
    try:
        if plan.data.validation_path is not None:
            place.data_file(plan.data.validation_path)
    except DataError as error:
        why = plan.origins["data.validation_path"].why
        faults = [Fault("data.validation_path", f"{error.what.rstrip('.')}; from {why}")]
        raise PlanError("No plan can be made of this.", do="Mend what is named below.", faults=faults) from None
    check_reads(plan, place, place.folder)
