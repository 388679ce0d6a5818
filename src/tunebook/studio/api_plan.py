"""`/api/plan`, `/api/facts` and starting a run: what the answers ask for, what the data means for it, and off it goes.

The plan is compiled here, in milliseconds, each time an answer changes. What needs the tokenizer (facts) and the run
itself are the command line's work.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from tunebook.errors import Fault, PlanError
from tunebook.pages.answers import check_answers, kept_answers
from tunebook.plan.advice import advise
from tunebook.plan.compile import compile_plan
from tunebook.plan.facts import Facts
from tunebook.plan.files import save_plan, values_by_path
from tunebook.plan.learning_rate import multiplier
from tunebook.plan.rules.describe import describe
from tunebook.plan.schema import Plan
from tunebook.plan.view import plan_json
from tunebook.runs.store import check_free, check_name, free_name
from tunebook.studio.api_runs import Here, Nothing
from tunebook.studio.command import call, call_json, failure
from tunebook.studio.place import Place
from tunebook.studio.reply import Json, tell

routes = APIRouter(prefix="/api")
_POINTS = 240  # of the learning-rate curve
_SHAPE = 1000  # steps of a curve whose length is not known
_known: dict[str, Facts] = {}


class Wanted(Nothing):
    """Which page's answers, on what data, with which model. `accept` names the paths whose advice is taken."""

    page: str
    data: str = ""
    model: str = Field("smollm2-135m", max_length=1000)
    accept: list[str] = Field([], max_length=100)
    settings: list[str] = Field([], max_length=100)


class Started(Wanted):
    """The same, and what the run is to be called; nothing for a name that is free. `queue`: it waits for its turn."""

    name: str = ""
    queue: bool = False


@routes.post("/plan")
def plan(wanted: Wanted, place: Here) -> Response:
    """The plan as `tunebook plan --json` prints it, with the curve of the learning rate and its rules in words.

    Answers that make no plan yet are no fault of the request: `{"error": ...}` says what is still wrong.
    """
    try:
        facts = _known.get(_key(wanted, place))
        made = _compile(wanted, place, facts)
    except PlanError as error:
        return Json(tell(error))
    value = plan_json(made, advise(made, facts), facts)
    steps = (value["facts"] or {}).get("optimizer_steps") or _SHAPE
    curve = [[step, multiplier(step, steps, made.training.warmup)] for step in _places(steps)]
    rules = [describe(rule) for rule in made.stopping.rules]
    return Json({"plan": value, "curve": curve, "steps": steps if facts else None, "rules": rules})


@routes.post("/facts")
def facts(wanted: Wanted, place: Here) -> Response:
    """Look at the data with the model's tokenizer, as `tunebook plan` does; seconds the first time, then known."""
    key = _key(wanted, place)
    if key not in _known:
        made = _compile(wanted, place, None)
        kept = {path: value for path, value in values_by_path(made).items() if path.startswith("data.")}
        sets = [f"--set={path}={json.dumps(value)}" for path, value in kept.items() if path != "data.path" and value]
        arguments = ["plan", "--json", f"--data={place.data_file(wanted.data)}", f"--model={wanted.model}", *sets]
        found = call_json(arguments, place.folder)["facts"]
        _known[key] = Facts(**{name: found[name] for name in Facts.__dataclass_fields__})
    return plan(wanted, place)


@routes.post("/estimate")
def estimate(wanted: Wanted, place: Here) -> Response:
    """What the run will take: a few steps are measured by `tunebook estimate`, in a process of its own."""
    path = place.data_file(wanted.data)
    made = _here(_compile(wanted, place, _known.get(_key(wanted, place)), str(path)), place)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.yaml"
        save_plan(made, file)
        return Json(call_json(["estimate", "--json", "--", str(file)], place.folder))


@routes.post("/runs", status_code=202)
def start(wanted: Started, place: Here) -> Response:
    """Keep the plan in `plans/`, and start it (`tunebook run --detach`) or queue it; answers with the run's name."""
    path = place.data_file(wanted.data)
    name = check_name(wanted.name) if wanted.name else free_name(path.stem, place.runs)
    check_free(name, place.runs)
    made = _here(_compile(wanted, place, _known.get(_key(wanted, place)), str(path)), place)
    file = place.plan_file(name)
    save_plan(made, file)
    words = [f"--name={name}", f"--runs={place.runs}"]
    words = ["queue", "add", *words] if wanted.queue else ["run", *words, "--detach"]
    done = call([*words, "--", str(file)], place.folder)
    if done.returncode:
        raise failure(done)
    _keep_answers(wanted.page, place, place.run(name).folder)
    return Json({"started": name}, 202)


def _compile(wanted: Wanted, place: Place, facts: Facts | None, data: str = "") -> Plan:
    """The plan, or PlanError with every fault, unfinished answers among them."""
    page = place.page(wanted.page).require()
    path = place.answers_file(wanted.page)
    given = kept_answers(path, page)[0].values if path.exists() else {}
    values, faults = check_answers(page, given)
    unfinished = [Fault(_question(page, fault.where), fault.message) for fault in faults]
    named = {fault.where.removesuffix(".custom") for fault in faults}
    try:
        made = compile_plan(
            page,
            values,
            data or wanted.data or "data.jsonl",
            wanted.model or "?",
            wanted.settings,
            wanted.accept,
            facts,
        )
    except PlanError as error:
        others = [
            Fault(_question(page, fault.where), fault.message) for fault in error.faults if fault.where not in named
        ]
        raise PlanError(error.what, do=error.do, faults=[*unfinished, *others]) from error
    if unfinished:
        raise PlanError("Some answers are not finished.", do="Answer what is named below.", faults=unfinished)
    return made


def _here(plan: Plan, place: Place) -> Plan:
    """`plan` with a model of the working folder named by its whole path: paths in a plan count from the plan's own."""
    here = place.folder / plan.model.name
    return (
        plan.model_copy(update={"model": plan.model.model_copy(update={"name": str(here)})}) if here.exists() else plan
    )


def _question(page: Any, name: str) -> str:
    asked = next((part.question for part in page.questions if part.id == name.removesuffix(".custom")), name)
    return str(asked)


def _key(wanted: Wanted, place: Place) -> str:
    """What facts depend on: the file as it is now, the model, and how rows are read."""
    if not wanted.data:
        return ""
    found = place.data_file(wanted.data).stat()
    made = _compile(wanted, place, None)
    return json.dumps(
        [str(place.folder), wanted.data, found.st_mtime_ns, found.st_size, wanted.model, made.data.model_dump()]
    )


def _places(steps: int) -> list[int]:
    """Steps at which the curve is drawn, the first ones of a short rise among them."""
    even = {round(place * steps / _POINTS) for place in range(_POINTS + 1)}
    return sorted(even | set(range(min(steps, 4))))


def _keep_answers(key: str, place: Place, folder: Path) -> None:
    """The page and the answers that the plan was made of, kept with the run."""
    source = place.page_files()[key]
    path = place.answers_file(key)
    if path.exists():
        (folder / "answers.yaml").write_bytes(path.read_bytes())
    if isinstance(source, Path):
        (folder / "page.md").write_bytes(source.read_bytes())
