"""What the studio costs: weight, time to the first chart, frames, a share of a core, memory, a thousand runs, 50 tabs.

    python benchmarks/studio.py            a table with each figure beside what was asked; needs a Chromium

A real studio in a process of its own and a real, headless Chromium; metrics are written by this process, as training
would write them. Times are walls, so the machine should have nothing else to do.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.browser.conftest import Studio, browser, running
from tests.evaluate.runs import make_run

from tunebook.evaluate.report import write_report
from tunebook.files import write_json
from tunebook.plan.files import make_plan
from tunebook.runs.events import EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.store import Run, create_run

POINTS, RUNS, TABS, SECONDS = 10_000, 1000, 50, 10
VIEWS = {
    "home": "/",
    "page": "/pages/phase-3-fine-tuning",
    "run": "/runs/long-1",
    "report": "/runs/done-1/report",
    "data": "/data",
}
DRAWN = """
new MutationObserver((_, watch) => {
  if (!document.querySelector(".uplot canvas")) return;
  watch.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.drawnAt = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""
SHOWS = """
wanted => [...document.querySelectorAll(".stat b, #runs .how-far span")]
  .some((box) => parseInt(box.textContent.replaceAll(",", "")) >= wanted)
"""
BEHIND = """
let behind = true;
const frames = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (take) => (behind ? 0 : frames(take));
Object.defineProperty(document, "hidden", { get: () => behind });
window.goTo = (front) => {
  behind = !front;
  document.dispatchEvent(new Event("visibilitychange"));
};
"""  # a headless browser counts every tab as the one in front
FRAMES = """
seconds => new Promise((done) => {
  const times = [], begun = performance.now();
  const next = (now) => {
    times.push(now);
    if (now - begun < seconds * 1000) requestAnimationFrame(next); else done(times);
  };
  requestAnimationFrame(next);
})
"""


class Writer(threading.Thread):
    """Ten metrics events a second."""

    def __init__(self, events: EventWriter, step: int) -> None:
        super().__init__(daemon=True)
        self.events, self.step, self.over = events, step, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.step += 1
            emit(self.events, self.step)


def emit(events: EventWriter, step: int) -> None:
    """One optimizer step as training writes it."""
    values = {"training_loss": 3 / step**0.2, "learning_rate": 1e-4, "throughput": 140.0, "memory": 3e9}
    parts = {"data": 0.01 * step, "forward": 0.3 * step, "backward": 0.5 * step}
    events.emit("metrics", step=step, epoch=step / 1000, values=values, parts=parts, eta_seconds=100.0)


def long_run(runs: Path) -> tuple[Run, EventWriter]:
    """A run with ten thousand points and an evaluation each hundred."""
    run = create_run("long-1", runs, make_plan({"model": {"name": "smollm2-135m"}, "data": {"path": "rows.jsonl"}}))
    lines = EventWriter(run.folder / "first.jsonl")
    lines.emit("run", state="started", reason="", pid=1)
    lines.emit("totals", optimizer_steps=2 * POINTS, steps_per_epoch=1000, trainable_parameters=1, parameters=2)
    for step in range(1, POINTS + 1):
        emit(lines, step)
        if step % 100 == 0:
            lines.emit("evaluation", step=step, epoch=0.1, values={"validation_loss": 2.0}, best=True, stopping=[])
    lines.path.rename(run.events)
    return run, EventWriter(run.events)


@contextmanager
def place() -> Iterator[Path]:
    """A folder with a long run and a thousand finished ones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = make_run(folder / "runs" / "done-1", steps=60)
        write_report(done.folder)
        lines = done.events.read_bytes()
        for number in range(RUNS - 2):
            other = folder / "runs" / f"many-{number}"
            other.mkdir()
            (other / "events.jsonl").write_bytes(lines)
            write_json(other / "run.json", {"format": 1})
        yield folder


def cpu(processes: list[psutil.Process]) -> float:
    """Seconds of CPU that these processes have used."""
    total = 0.0
    for process in processes:
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        total += used.user + used.system
    return total


def share(processes: list[psutil.Process], seconds: float) -> float:
    """Their share of one core over the next `seconds`."""
    before, begun = cpu(processes), time.perf_counter()
    time.sleep(seconds)
    return (cpu(processes) - before) / (time.perf_counter() - begun)


def chromium() -> list[psutil.Process]:
    """Every process of the browser that this process started."""
    return [child for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]


def weights(found: Any, state: Any, studio: Studio) -> dict[str, int]:
    """Bytes that each view takes without data, its first time in a browser that knows nothing yet."""
    sizes = {}
    for view, path in VIEWS.items():
        context = found.new_context(storage_state=state)
        page, answers = context.new_page(), []
        page.on("response", lambda answer, answers=answers: answers.append(answer))
        page.goto(studio.base + path)
        page.wait_for_load_state("networkidle")
        files = {answer.url: answer for answer in answers if "/api/" not in answer.url}
        sizes[view] = sum(len(answer.body()) for answer in files.values())
        context.close()
    return sizes


def first_chart(context: Any, studio: Studio) -> float:
    """Seconds from asking for the run's view to its painted chart; the median of five."""
    times = []
    for _ in range(5):
        page = context.new_page()
        page.add_init_script(DRAWN)
        page.goto(f"{studio.base}/runs/long-1")
        page.wait_for_function("() => window.drawnAt")
        times.append(page.evaluate("() => window.drawnAt") / 1000)
        page.close()
    return sorted(times)[2]


def list_times(context: Any, studio: Studio) -> list[float]:
    """Seconds that `GET /api/runs` takes, least first."""
    times = []
    for _ in range(10):
        begun = time.perf_counter()
        assert len(context.request.get(f"{studio.base}/api/runs").json()["runs"]) == RUNS
        times.append(time.perf_counter() - begun)
    return sorted(times)


def live(context: Any, studio: Studio) -> tuple[float, float, float]:
    """Frames a second, the browser's share of a core and the server's, while ten points a second arrive."""
    page = context.new_page()
    page.goto(f"{studio.base}/runs/long-1")
    page.locator(".legend b").first.wait_for()
    times = page.evaluate(FRAMES, SECONDS)
    frames = (len(times) - 1) / (times[-1] - times[0]) * 1000
    assert studio.process
    server = psutil.Process(studio.process.pid)
    before, begun = cpu([server]), time.perf_counter()
    browsers = share(chromium(), SECONDS)
    servers = (cpu([server]) - before) / (time.perf_counter() - begun)
    page.close()
    return frames, browsers, servers


def many_tabs(context: Any, studio: Studio, writer: Writer) -> tuple[float, float, int]:
    """Fifty tabs, half on the run, half at home, each looked at in turn: the longest wait for a new step, in seconds.

    With it the server's share of a core while nobody looks, and the tabs. Those behind get neither frames nor motion.
    """
    pages = []
    for number in range(TABS):
        page = context.new_page()
        page.add_init_script(BEHIND)
        page.emulate_media(reduced_motion="reduce")
        page.goto(studio.base + ("/runs/long-1" if number % 2 else "/"))
        pages.append(page)
    assert studio.process
    servers = share([psutil.Process(studio.process.pid)], 5)
    waits = []
    for page in pages:
        wanted, begun = writer.step + 1, time.perf_counter()
        page.evaluate("() => goTo(true)")
        page.wait_for_function(SHOWS, arg=wanted, timeout=60_000)
        waits.append(time.perf_counter() - begun)
        page.evaluate("() => goTo(false)")
    return max(waits), servers, len(waits)


def memory(studio: Studio) -> int:
    """The most memory that the server has had, in bytes."""
    assert studio.process
    status = Path(f"/proc/{studio.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def row(what: str, measured: str, asked: str = "") -> None:
    """A row of the table, told at once."""
    print(f"| {what} | {measured} | {asked} |", flush=True)


def main() -> None:
    """Measure and print the table."""
    row("what", "measured", "asked")
    print("|---|---|---|")
    with place() as folder:
        run, events = long_run(folder / "runs")
        with hold_lock(run.folder), running(folder) as studio, browser() as found:
            context = found.new_context(viewport={"width": 1280, "height": 900})
            first = context.new_page()
            first.goto(studio.address)
            first.close()
            for view, size in weights(found, context.storage_state(), studio).items():
                row(f"weight of the {view} view without data", f"{size / 1000:.0f} kB", "under 200 kB")
            row(f"first chart, {POINTS:,} points", f"{first_chart(context, studio):.2f} s", "under 1.5 s")
            times = list_times(context, studio)
            said = f"{times[5] * 1000:.0f} ms (best {times[0] * 1000:.0f})"
            row(f"{RUNS:,} runs listed, median of 10", said, "under 200 ms")
            row("server's memory so far, at most", f"{memory(studio) / 1e6:.0f} MB", "under 120 MB")
            writer = Writer(events, POINTS)
            writer.start()
            frames, browsers, servers = live(context, studio)
            row("frames while 10 points a second arrive", f"{frames:.0f} a second", "60")
            row("the browser's share of a core meanwhile", f"{browsers:.0%}", "under 25 %")
            row("the server's share of a core meanwhile", f"{servers:.1%}")
            seconds, servers, shown = many_tabs(context, studio, writer)
            row(f"of {TABS} open tabs, show a new step", f"{shown}, the slowest after {seconds:.1f} s", str(TABS))
            row(f"the server's share of a core with {TABS} tabs", f"{servers:.0%}")
            row("server's memory in all, at most", f"{memory(studio) / 1e6:.0f} MB", "under 120 MB")
            writer.over.set()


if __name__ == "__main__":
    main()
