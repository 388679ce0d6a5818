"""`/api/plan`, `/api/facts` and starting a run: what the answers ask for, what the data means for it, and off it goes.

The plan is compiled here, in milliseconds, each time an answer changes. What needs the tokenizer (facts) and the run
itself are the command line's work.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tunebook.errors import PlanError, RunError
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
_naming = Lock()
_making: set[Path] = set()  # run folders that starts are making now


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
    """Start the plan (`tunebook run --detach`) or queue it, and keep it in `plans/`; answers with the run's name."""
    path = place.data_file(wanted.data)
    with _named(wanted.name, path.stem, place.runs) as name:
        made = compile_wanted(wanted, place, _known.get(_key(wanted, place)), whole_paths=True)
        file = place.plan_file(name)
        part = file.with_name(f".{name}.{secrets.token_hex(8)}.part")  # so far it is the plan of no run
        try:
            save_plan(made, part)
            words = [f"--name={name}", f"--runs={place.runs}"]
            words = ["queue", "add", *words] if wanted.queue else ["run", *words, "--detach"]
            done = call([*words, "--", str(part)], place.folder)
            if done.returncode:
                raise failure(done)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    keep_answers(wanted, place, place.run(name).folder)
    return Json({"started": name}, 202)


@contextmanager
def _named(given: str, stem: str, runs: Path) -> Iterator[str]:
    """The name for a new run, as given or made of `stem`, which no run has and no other start takes meanwhile."""
    with _naming:
        name = check_name(given) if given else _free(stem, runs)
        check_free(name, runs)
        if runs / name in _making:
            what, do = f"A run named '{name}' is being started now.", "Give another name."
            raise RunError(what, kept="Nothing was touched.", do=do)
        _making.add(runs / name)
    try:
        yield name
    finally:
        _making.discard(runs / name)


def _free(stem: str, runs: Path) -> str:
    name = free_name(stem, runs)
    while runs / name in _making or (runs / name).exists():
        start, _, number = name.rpartition("-")
        name = f"{start}-{int(number) + 1}"
    return name


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
