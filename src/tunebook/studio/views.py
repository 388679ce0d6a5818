"""The pages that people see: Jinja2 templates, with prose from Markdown and everything else filled in by the API."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from tunebook.plan.bindings import topic
from tunebook.plan.metrics import COSTS
from tunebook.studio.api_pages import page_row
from tunebook.studio.api_runs import about
from tunebook.studio.given import Here
from tunebook.studio.rows import list_row

routes = APIRouter(include_in_schema=False)
HERE = Path(__file__).parent
SWEPT = (  # values of a plan that people try several of; any other can be typed
    "training.learning_rate",
    "training.batch_size",
    "training.epochs.max",
    "training.seed",
    "training.warmup.share",
    "lora.rank",
    "data.max_length",
    "model.name",
)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.globals |= {"costs": costs, "heading": heading, "about": lambda part: topic(part.id, part.sets, "") or ""}
    return made


def costs(label: str) -> str:
    """What computing a metric costs, in a few words; empty for what is not a metric."""
    words = label.lower()
    return next((cost for name, cost in COSTS.items() if name.replace("_", " ") in words), "")


def heading(title: str, phase: int | None) -> str:
    """A page's title without its phase, which is shown beside it."""
    return title.removeprefix(f"Phase {phase}:").strip() or title


def draw(template: str, status: int = 200, **values: Any) -> Response:
    """Fill a template in; every value is escaped."""
    return HTMLResponse(_templates().get_template(f"{template}.html.jinja").render(**values), status)


@routes.get("/")
def home(place: Here) -> Response:
    """Pages, runs, the queue and the machine."""
    pages = [page_row(place, key) for key in place.page_files()]
    return draw("home", here="home", pages=pages, folder=place.folder, settings=SWEPT)


@routes.get("/pages/{key}")
def page(key: str, place: Here) -> Response:
    """One page, to be answered."""
    found = place.page(key)
    if not found.ok:
        return draw("author", here="home", key=key)
    rows = [page_row(place, name) for name in place.page_files()]
    others = [row for row in rows if row["answered"] and row["key"] != key]  # whose answers may go into the plan, too
    titles = {row["title"]: row["key"] for row in rows}
    known: dict[str, Any] = {"titles": titles, "others": others, "data": place.data_files(), "folder": place.mark}
    return draw("page", here="pages", page=found, key=key, **known)


@routes.get("/author")
def author() -> Response:
    """A page of one's own, with its faults by line."""
    return draw("author", here="home", key="")


@routes.get("/runs/{name}")
def run(name: str, place: Here) -> Response:
    """One run, live."""
    live = place.live(name)
    return draw("run", here="runs", name=name, row=list_row(live.status()), about=about(live.run))


@routes.get("/runs/{name}/report")
def report(name: str, place: Here) -> Response:
    """The success report of a run."""
    return draw("report", here="runs", name=place.run(name).name)


@routes.get("/runs/{name}/review")
def review(name: str, place: Here) -> Response:
    """Answers of a run, judged blind."""
    return draw("review", here="runs", name=place.run(name).name)


@routes.get("/compare")
def compare() -> Response:
    """Runs side by side, and a conversation with them."""
    return draw("compare", here="compare")


@routes.get("/data")
def data(place: Here, request: Request) -> Response:
    """Data files, looked at before training does."""
    asked = request.query_params
    chosen, model = asked.get("file", ""), asked.get("model", "smollm2-135m")
    known: dict[str, Any] = {"files": place.data_files(), "chosen": chosen, "model": model, "folder": place.mark}
    return draw("data", here="data", **known)
