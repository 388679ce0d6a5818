"""A run on the screen: the ten steps, a bar with the time left, the last metrics. Plain lines without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tunebook.runs.status import Status, apply, read_status
from tunebook.runs.store import Run
from tunebook.steps import BY_ID

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunebook.runs.events import Event

_MARKS = {
    "done": "[green]●[/]",
    "running": "[cyan]◐[/]",
    "failed": "[red]✗[/]",
    "skipped": "[dim]–[/]",
    "waiting": "[dim]○[/]",
}
_SHOWN = ("training_loss", "validation_loss", "perplexity", "learning_rate", "gradient_norm", "throughput", "memory")


@contextmanager
def watch(run: Run) -> Iterator[Callable[[Event], None]]:
    """Yield a function that takes the run's events and keeps the screen, or a log, up to date."""
    if not sys.stderr.isatty():
        yield Lines(run).on_event
        return
    from rich.console import Console
    from rich.live import Live

    status = read_status(run)
    doing: dict[str, Any] = {}
    with Live(draw_status(status), console=Console(stderr=True), refresh_per_second=4, transient=False) as live:

        def on_event(event: Event) -> None:
            if event["kind"] == "progress":
                doing.update(event)
            else:
                doing.clear()
                apply(status, event)
            live.update(draw_status(status, doing))

        yield on_event


class Lines:
    """Progress as plain lines on standard error: one a step, one an evaluation, and a few on the way."""

    def __init__(self, run: Run) -> None:
        self.status = read_status(run)
        self.said = 0

    def on_event(self, event: Event) -> None:
        """Say what is worth a line."""
        apply(self.status, event)
        line = self.line(event)
        if line:
            print(line, file=sys.stderr, flush=True)

    def line(self, event: Event) -> str:
        """The line for one event, or ''."""
        kind = event["kind"]
        if kind == "step":
            seconds = f" ({event['seconds']:.1f} s)" if "seconds" in event else ""
            evidence = ", ".join(f"{key} {_short(value)}" for key, value in (event.get("evidence") or {}).items())
            tail = evidence or event.get("reason", "")
            return f"[{event['state']}] {BY_ID[event['id']].title}{seconds}" + (f": {tail}" if tail else "")
        if kind == "metrics":
            return self._metrics(event)
        if kind == "evaluation":
            values = ", ".join(f"{_name(key)} {_value(key, value)}" for key, value in event["values"].items())
            return f"  evaluation at step {event['step']}: {values}" + (" (best so far)" if event["best"] else "")
        if kind in ("warning", "log"):
            return f"  {event['message']}"
        if kind == "checkpoint" and not event["ok"]:
            return f"  {event['message']}"
        return ""

    def _metrics(self, event: Event) -> str:
        total = self.status.optimizer_steps or 1
        share = event["step"] * 20 // total
        if share == self.said and event["step"] not in (1, total):
            return ""
        self.said = share
        left = event.get("eta_seconds") or 0
        loss = event["values"].get("training_loss")
        return f"  step {event['step']}/{total}: training loss {_value('loss', loss)}, {duration(left)} left"


def draw_status(status: Status, doing: dict[str, Any] | None = None) -> RenderableType:
    """The run as a panel."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    steps = Table.grid(padding=(0, 2))
    for step in status.order:
        kept = status.steps.get(step, {"state": "waiting", "seconds": None})
        seconds = "" if kept["seconds"] is None else duration(kept["seconds"])
        note = kept.get("reason") if kept["state"] in ("skipped", "failed") else ""
        style = "bold" if kept["state"] == "running" else "" if kept["state"] == "done" else "dim"
        steps.add_row(
            Text.from_markup(_MARKS[kept["state"]]), Text(BY_ID[step].title, style), seconds, Text(note or "", "dim")
        )
    parts: list[RenderableType] = [steps]
    if status.optimizer_steps:
        bar = Table.grid(padding=(0, 2))
        left = f"{duration(status.eta_seconds)} left" if status.eta_seconds is not None else ""
        bar.add_row(
            ProgressBar(status.optimizer_steps, status.optimizer_step, width=40),
            f"step {status.optimizer_step}/{status.optimizer_steps}",
            f"epoch {status.epoch:.2f}",
            left,
        )
        parts += [Text(), bar]
    if doing and doing.get("total"):
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(doing["total"], doing["done"], width=40), f"{doing['what']} {doing['done']}/{doing['total']}"
        )
        parts.append(bar)
    if status.last:
        table = Table.grid(padding=(0, 2))
        for name in _SHOWN:
            if status.last.get(name) is not None:
                table.add_row(Text(_name(name), "dim"), _value(name, status.last[name]))
        parts += [Text(), table]
    parts += [Text(f"{rule['rule']}: {rule['text']}", "dim") for rule in status.stopping]
    parts += [Text(warning, "yellow") for warning in status.warnings[-3:]]
    if status.reason:
        parts += [Text(), Text(status.reason, "red" if status.state in ("failed", "killed") else "")]
    return Panel(Group(*parts), title=f"{status.name} · {status.state}", title_align="left", expand=False)


def duration(seconds: float | None) -> str:
    """Seconds in words: 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _name(metric: str) -> str:
    return metric.replace("_", " ")


def _value(metric: str, value: float | None) -> str:
    if value is None:
        return "not finite"
    if metric == "memory":
        return f"{value / 1e9:.2f} GB"
    if metric == "throughput":
        return f"{value:.0f} tokens/s"
    return f"{value:.2e}" if metric == "learning_rate" else f"{value:.4g}"


def _short(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:12] + "..."
