"""Answers + data + model -> a plan, each value with its origin. Nothing later reads answers.

    answers.yaml   learning-rate: 3e-5 (Recommended)
    plan           training.learning_rate 3e-05, from answer, why "Learning Rate: 3e-5 (Recommended)"

Every fault is told at once: an answer that its reader cannot use, an order that cannot work, a `--set` for a path that
is not there, a value out of range.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from tunebook.errors import Fault, PlanError
from tunebook.pages.items import make_item
from tunebook.pages.page import Page
from tunebook.pages.parts import Answer
from tunebook.plan.advice import Advice, advise
from tunebook.plan.bindings import PROSE, READERS, Asked, Draft, topic, value_of
from tunebook.plan.facts import Facts
from tunebook.plan.files import make_plan, path_fault, put_value, set_values
from tunebook.plan.prose import ProseReader
from tunebook.plan.rules.makers import Purpose
from tunebook.plan.schema import Plan

CUSTOM = ".custom"
# A page, or None where it is not known, and the answers to it.
Sheet = tuple[Page | None, Mapping[str, Answer]]


def compile_plan(
    page: Page | None,
    answers: Mapping[str, Answer],
    data: str,
    model: str,
    settings: Sequence[str] = (),
    accept: Collection[str] | Literal["all"] = (),
    facts: Facts | None = None,
    others: Sequence[Sheet] = (),
) -> Plan:
    """The plan that these answers ask for.

    `answers` are by field id, as `load_answers` gives them for `page`; without a page, the known ids are read all the
    same. `others` are the answers to further pages. `data` and `model` stand in the plan as given. `settings` are
    `path=value`, and win over answers. `accept` names the paths whose advice is taken. PlanError holds every fault.
    """
    draft = draft_of([(page, answers), *others])
    faults = [*draft.faults]
    value = _plain_values(draft, data, model)
    try:
        value = set_values(value, [*settings])
    except PlanError as error:
        faults += error.faults
    try:
        plan = make_plan(value)
    except PlanError as error:
        faults += [_explained(fault, value["origins"]) for fault in error.faults]
    if faults:
        what = "No plan can be made of this."
        raise PlanError(what, kept="Nothing was written.", do="Mend what is named below.", faults=faults)
    return take_advice(plan, accept, facts)


def _explained(fault: Fault, origins: Mapping[str, Any]) -> Fault:
    """The fault of a value with where the value comes from; a section's with that of its values."""
    why = [
        origin["why"] for path, origin in origins.items() if path == fault.where or path.startswith(f"{fault.where}.")
    ]
    return Fault(fault.where, f"{fault.message}; from {'; '.join(dict.fromkeys(why))}") if why else fault


def take_advice(plan: Plan, accept: Collection[str] | Literal["all"], facts: Facts | None = None) -> Plan:
    """`plan` with the advice for the paths in `accept` ("all": for all that were not set by hand) carried out.

    PlanError when there is no advice for a path that is named.
    """
    offered = {advice.path: advice for advice in advise(plan, facts)}
    if accept == "all":
        accept = [path for path in offered if path not in plan.origins or plan.origins[path].origin != "set"]
    unknown = [path for path in accept if path not in offered]
    if unknown:
        there = ", ".join(offered) or "none"
        faults = [Fault(path, f"there is no advice for this; advice is given for: {there}") for path in unknown]
        raise PlanError("That advice cannot be taken.", do="`tunebook plan` shows what is advised.", faults=faults)
    if not accept:
        return plan
    value = plan.model_dump(mode="json", by_alias=True)
    for path in accept:
        _carry_out(value, offered[path], plan)
    return make_plan(value)


def _carry_out(value: dict[str, Any], advice: Advice, plan: Plan) -> None:
    put_value(value, advice.path, advice.value)
    value["origins"][advice.path] = {"from": "advice", "why": advice.why, "value": advice.value}
    if advice.path == "training.epochs.max" and plan.training.epochs.min > advice.value:
        lowered = Advice("training.epochs.min", advice.value, f"lowered to the limit: {advice.why}")
        _carry_out(value, lowered, plan)


def draft_of(sheets: Sequence[Sheet]) -> Draft:
    """What the answers to all pages say together: values with reasons, notes, what was not understood, and faults."""
    draft = Draft()
    prose: list[tuple[Purpose, Asked]] = []
    for page, answers in sheets:
        draft.join(_chosen(page, answers, prose))
    reader = ProseReader(draft)
    for purpose, asked in prose:
        reader.read(purpose, asked)
    reader.finish()
    return draft


def _chosen(page: Page | None, answers: Mapping[str, Answer], prose: list[tuple[Purpose, Asked]]) -> Draft:
    """What the answers to one page say but for its prose, which is put aside into `prose`."""
    draft = Draft()
    for name, asked, sets in _asked(page, answers):
        about = topic(name, sets, asked.answer)
        if about is None:
            draft.notes[name] = asked.text
        elif about in PROSE:
            prose.append((about, asked))  # type: ignore[arg-type]
        elif about not in READERS and (fault := path_fault(about)):
            draft.faults.append(Fault(name, f"the page says that it sets {about}, which {fault}"))
        else:
            try:
                READERS.get(about, value_of(about))(draft, asked)
            except ValueError as error:
                draft.faults.append(Fault(name, str(error)))
    return draft


def _asked(page: Page | None, answers: Mapping[str, Answer]) -> Iterator[tuple[str, Asked, str]]:
    """(id, what was asked and answered, what its field sets) of each question that has an answer."""
    questions = (
        [(part.id, part.question, part.sets, not part.choices) for part in page.questions]
        if page
        else [(name, name.replace("-", " "), "", False) for name in answers if not name.endswith(CUSTOM)]
    )
    for name, question, sets, typed in questions:
        answer, more = answers.get(name, ""), answers.get(name + CUSTOM, "")
        if answer:
            yield name, Asked(question, _with_custom(answer, more), typed or bool(more)), sets


def _with_custom(answer: Answer, more: Answer) -> Answer:
    """The answer with what was said to an entry that begins with Custom in its place; the other entries stay."""
    if isinstance(answer, str) or not more:
        return more or answer
    said = [more] if isinstance(more, str) else more
    return [one for item in answer for one in (said if make_item(item).custom else [item])]


def _plain_values(draft: Draft, data: str, model: str) -> dict[str, Any]:
    """The draft as the plain values of a plan, origins and all."""
    value: dict[str, Any] = {
        "model": {"name": model},
        "data": {"path": data},
        "notes": draft.notes,
        "not_understood": draft.not_understood,
    }
    origins: dict[str, Any] = {
        "model.name": {"from": "set", "why": "given with --model", "value": model},
        "data.path": {"from": "set", "why": "given with --data", "value": data},
    }
    for path, item in draft.values.items():
        put_value(value, path, item)
        origins[path] = {"from": "answer", "why": draft.why[path], "value": item}
    return {**value, "origins": origins}
