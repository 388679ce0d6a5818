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
from starlette.responses import Response

from tunebook.errors import PlanError
from tunebook.plan.advice import advise
from tunebook.plan.facts import Facts
from tunebook.plan.files import save_plan, values_by_path
from tunebook.plan.learning_rate import multiplier
from tunebook.plan.rules.describe import describe
from tunebook.plan.schema import Plan
from tunebook.plan.view import plan_json
from tunebook.runs.store import check_free, check_name, free_name
from tunebook.studio.command import call, call_json, failure
from tunebook.studio.given import Here
from tunebook.studio.place import Place
from tunebook.studio.planning import Wanted, compile_wanted, keep_answers
from tunebook.studio.reply import Json, tell

routes = APIRouter(prefix="/api")
_POINTS = 240  # of the learning-rate curve
_SHAPE = 1000  # steps of a curve whose length is not known
_known: dict[str, Facts] = {}


class Started(Wanted):
    """A plan, and what its run is to be called; nothing for a name that is free. `queue`: it waits for its turn."""

    name: str = ""
    queue: bool = False


@routes.post("/plan")
def plan(wanted: Wanted, place: Here) -> Response:
    """The plan as `tunebook plan --json` prints it, with the curve of the learning rate and its rules in words.

    Answers that make no plan yet are no fault of the request: `{"error": ...}` says what is still wrong.
    """
    try:
        facts = _known.get(_key(wanted, place))
        made = compile_wanted(wanted, place, facts)
    except PlanError as error:
        return Json(tell(error))
    value = plan_json(made, advise(made, facts), facts)
    steps = (value["facts"] or {}).get("optimizer_steps") or _SHAPE
    curve = [[step, multiplier(step, steps, made.training.warmup)] for step in _drawn_at(steps)]
    rules = [describe(rule) for rule in made.stopping.rules]
    return Json({"plan": value, "curve": curve, "steps": steps if facts else None, "rules": rules})


@routes.post("/facts")
def facts(wanted: Wanted, place: Here) -> Response:
    """Look at the data with the model's tokenizer, as `tunebook plan` does; seconds the first time, then known."""
    key = _key(wanted, place)
    if key not in _known:
        sets = [f"--set={path}={json.dumps(value)}" for path, value in _read_by_facts(compile_wanted(wanted, place))]
        arguments = ["plan", "--json", f"--data={place.data_file(wanted.data)}", f"--model={wanted.model}", *sets]
        found = call_json(arguments, place.folder)["facts"]
        _known[key] = Facts(**{name: found[name] for name in Facts.__dataclass_fields__})
    return plan(wanted, place)


@routes.post("/estimate")
def estimate(wanted: Wanted, place: Here) -> Response:
    """What the run will take: a few steps are measured by `tunebook estimate`, in a process of its own."""
    made = compile_wanted(wanted, place, _known.get(_key(wanted, place)), whole_paths=True)
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
    made = compile_wanted(wanted, place, _known.get(_key(wanted, place)), whole_paths=True)
    file = place.plan_file(name)
    save_plan(made, file)
    words = [f"--name={name}", f"--runs={place.runs}"]
    words = ["queue", "add", *words] if wanted.queue else ["run", *words, "--detach"]
    done = call([*words, "--", str(file)], place.folder)
    if done.returncode:
        raise failure(done)
    keep_answers(wanted, place, place.run(name).folder)
    return Json({"started": name}, 202)


def _key(wanted: Wanted, place: Place) -> str:
    """What facts depend on: the files as they are now, the model, and how rows are read and held out."""
    if not wanted.data:
        return ""
    place.data_file(wanted.data)  # a file that is not there is said before anything else
    made = compile_wanted(wanted, place)
    files = [place.data_file(path) for path in (made.data.path, made.data.validation_path) if path]
    stamps = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return json.dumps([stamps, wanted.model, _read_by_facts(made)])


def _read_by_facts(plan: Plan) -> list[tuple[str, Any]]:
    """The values that decide what is found in the data, but for the data itself."""
    return [
        (path, value)
        for path, value in values_by_path(plan).items()
        if path == "training.seed" or (path.startswith("data.") and path != "data.path" and value is not None)
    ]


def _drawn_at(steps: int) -> list[int]:
    """Steps at which the curve is drawn, the first ones of a short rise among them."""
    even = {round(point * steps / _POINTS) for point in range(_POINTS + 1)}
    return sorted(even | set(range(min(steps, 4))))
