"""Pictures of every view in light, dark and phone width: `make screenshots`, or `python screenshots.py FOLDER`."""

from __future__ import annotations

import math
import random
import sys
import tempfile
from importlib import resources
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser.conftest import browser, running
from tests.evaluate.runs import base_answer, make_run, samples, tuned_answer
from tests.tiny import save_tiny
from tunebook.files import write_json
from tunebook.plan.files import make_plan, save_plan
from tunebook.plan.schema import Plan
from tunebook.queue.entries import enqueue
from tunebook.runs.events import EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.store import Run, create_run
from tunebook.steps import STEPS

VIEWS = {
    "home": "/",
    "page": "/pages/phase-3-fine-tuning",
    "run": "/runs/house-style-2",
    "report": "/runs/house-style-1/report",
    "review": "/runs/house-style-1/review",
    "compare": "/compare?with=house-style-1,house-style-3",
    "data": "/data?file=rows.jsonl&model=tiny",
    "author": "/author",
}
LOOKS = {"light": (1280, 860, "light"), "dark": (1280, 860, "dark"), "phone": (390, 844, "light")}


def half_way(runs: Path) -> Run:
    """A run in the middle of training, as its events would say."""
    run = create_run("house-style-2", runs, _plan())
    events, chance, total = EventWriter(run.events), random.Random(1), 1200
    events.emit("run", state="started", reason="", pid=1)
    for step in STEPS[:6]:
        events.emit("step", id=step.id, state="done", seconds=chance.random() * 6, evidence={})
    events.emit("step", id="train", state="running")
    events.emit("totals", optimizer_steps=total, steps_per_epoch=240, trainable_parameters=1, parameters=2)
    for step in range(1, 761):
        loss = 1.1 + 1.9 * math.exp(-step / 260)
        rate = 1e-3 * min(1, step / 40) * (1 + math.cos(math.pi * step / total)) / 2
        values = {
            "training_loss": loss + chance.gauss(0, 0.09),
            "learning_rate": rate,
            "throughput": 148.0,
            "memory": 3.1e9,
        }
        parts = {"data": 0.01, "forward": 0.3, "loss": 0.07, "backward": 0.44, "optimizer": 0.05, "validation": 0.09}
        parts = {name: seconds * step for name, seconds in parts.items()}
        eta = (total - step) * 0.9
        events.emit("metrics", step=step, epoch=step / 240, values=values, parts=parts, eta_seconds=eta)
        if step % 100 == 0:
            rule = {"rule": "stop once validation loss has not improved for 3 evaluations", "count": 0, "of": 3}
            stopping = [{**rule, "text": "0 of 3 evaluations without improvement"}]
            held = {"validation_loss": loss + 0.09, "perplexity": math.exp(loss + 0.09)}
            events.emit("evaluation", step=step, epoch=step / 240, values=held, best=True, stopping=stopping)
            events.emit("checkpoint", step=step, ok=True, best=True, bytes=2e7, seconds=1.2, removed=[])
    write_json(run.folder / "samples" / "step-0.json", samples([base_answer(n) for n in range(8)], 0))
    write_json(run.folder / "samples" / "step-700.json", samples([tuned_answer(n) for n in range(8)], 700))
    return run


def queue(folder: Path) -> None:
    """A sweep whose first two runs are done, another under way beside it, and plans to add."""
    for number, (rate, gain) in enumerate(zip(("1e-4", "3e-4", "1e-3", "3e-3"), (0.55, 0.9, 1.0, 1.0), strict=True), 1):
        if number < 3:
            run = make_run(folder / "runs" / f"rate-{number}", gain=gain, seed=number)
        else:
            run = create_run(f"rate-{number}", folder / "runs", _plan())
        enqueue(run, "rate", {"training.learning_rate": rate})
    for name in ("house-style", "summaries"):
        save_plan(_plan(), folder / "plans" / f"{name}.yaml")


def failed(runs: Path) -> None:
    """A run that ended itself, with its reason."""
    events = EventWriter(create_run("summaries-1", runs, _plan()).events)
    events.emit("run", state="started", reason="", pid=1)
    events.emit("totals", optimizer_steps=400, steps_per_epoch=100, trainable_parameters=1, parameters=2)
    for step in range(1, 61):
        events.emit("metrics", step=step, epoch=step / 100, values={"training_loss": 2.4}, parts={"data": 0.1})
    reason = "The loss was not a number at optimizer step 61. The checkpoint at step 50 is kept. Try a lower rate."
    events.emit("run", state="failed", reason=reason)


def _plan() -> Plan:
    return make_plan({"model": {"name": "smollm2-135m"}, "data": {"path": "rows.jsonl"}})


def main(target: Path) -> None:
    """Write every picture to `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_run(folder / "runs" / "house-style-1", review={"policy": "all"})
        make_run(folder / "runs" / "house-style-3", seed=2, gain=0.8, training={"learning_rate": 3e-4})
        save_tiny(folder / "tiny", max_position_embeddings=2048)
        (folder / "rows.jsonl").write_bytes((resources.files("tunebook") / "demo" / "examples.jsonl").read_bytes())
        queue(folder)
        failed(folder / "runs")
        run = half_way(folder / "runs")
        with hold_lock(run.folder), running(folder) as studio, browser() as found:
            for look, (width, height, theme) in LOOKS.items():
                context = found.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
                page = context.new_page()
                page.goto(studio.address)
                for view, path in VIEWS.items():
                    page.goto(studio.base + path)
                    page.locator("[aria-busy=true]").first.wait_for(state="detached", timeout=120_000)
                    page.wait_for_timeout(600)  # curves and fonts settle
                    page.screenshot(path=target / f"{view}-{look}.png", full_page=look == "phone" or view == "home")
                context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/screenshots"))
