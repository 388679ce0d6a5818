"""Drawings for the report, as SVG that takes its colours from the page: loss curves, intervals, lengths of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 14, 34


def loss_curves(report: dict[str, Any]) -> str:
    """Training and validation loss over optimizer steps; '' when nothing was measured."""
    training, validation = report["curves"]["training"], report["curves"]["validation"]
    values = [*_smooth(training["value"]), *validation["value"]]
    steps = [*training["step"], *validation["step"]]
    if len(steps) < 2 or max(steps) == 0:
        return ""
    raw = sorted(training["value"]) or [0.0]
    low, high = min(values + raw[: len(raw) // 50 + 1]), max(*values, raw[(len(raw) - 1) * 98 // 100])
    ticks = nice_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    area = _Area(0, max(steps), low, high)
    parts = [area.grid(ticks, nice_ticks(0, max(steps), whole=True))]
    if training["step"]:
        parts.append(f'<path class="raw" d="{area.path(training["step"], training["value"])}"/>')
        parts.append(f'<path class="training" d="{area.path(training["step"], _smooth(training["value"]))}"/>')
    if validation["step"]:
        parts.append(f'<path class="validation" d="{area.path(validation["step"], validation["value"])}"/>')
        parts += [
            _dot(area, step, value, report) for step, value in zip(validation["step"], validation["value"], strict=True)
        ]
    label = "Loss in nats per token over optimizer steps"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" class="curves">{"".join(parts)}</svg>'


def interval_line(interval: dict[str, float], margin: tuple[float, float] | None = None) -> str:
    """A change on a line: zero dashed, the margin where there is one, the interval as a bar, the mean as a dot."""
    ends = [0.0, interval["low"], interval["high"], *(margin or ())]
    reach = max(map(abs, ends)) * 1.12 or 1.0
    width, middle = 220, 110

    def x(value: float) -> float:
        return round(middle + value / reach * (middle - 6), 1)

    low, high, mean = x(interval["low"]), x(interval["high"]), x(interval["mean"])
    parts = [f'<svg viewBox="0 0 {width} 22" class="line" role="img" aria-label="Interval of the change">']
    if margin:
        left, right = x(margin[0]), x(margin[1])
        parts.append(f'<rect class="margin" x="{left}" y="3" width="{round(right - left, 1)}" height="16" rx="3"/>')
    parts += [
        f'<line class="axis" x1="2" x2="{width - 2}" y1="11" y2="11"/>',
        f'<line class="zero" x1="{middle}" x2="{middle}" y1="2" y2="20"/>',
        f'<line class="range" x1="{low}" x2="{max(high, low + 1)}" y1="11" y2="11"/>',
        f'<circle cx="{mean}" cy="11" r="4.5"/></svg>',
    ]
    return "".join(parts)


def length_bars(report: dict[str, Any]) -> str:
    """How many answers are how long: the base's bars down, the tuned model's up; '' without answers."""
    sides = {name: [row[name]["tokens"] for row in report["answers"]] for name in ("tuned", "base")}
    most = max(sides["tuned"] + sides["base"], default=0)
    if not most:
        return ""
    bins, width, tall = 24, WIDTH - LEFT - RIGHT, 90
    size = most / bins
    counts = {
        name: [sum(min(bins - 1, int(tokens / size)) == place for tokens in found) for place in range(bins)]
        for name, found in sides.items()
    }
    top = max(max(found) for found in counts.values())
    middle, bottom = (round(10 + tall * max(counts[name]) / top, 1) for name in ("tuned", "base"))
    parts = []
    for name, found in counts.items():
        for place, count in enumerate(found):
            height = round(tall * count / top, 1)
            x, y = round(LEFT + place * width / bins + 1.5, 1), middle + 2 if name == "base" else middle - 2 - height
            title = f"<title>{name}: {count} of {math.ceil(place * size)} to {(place + 1) * size:.0f} tokens</title>"
            shape = f'x="{x}" y="{y}" width="{round(width / bins - 3, 1)}" height="{height}" rx="2"'
            parts += [f'<rect class="{name}" {shape}>{title}</rect>'] if count else []
    for tick in nice_ticks(0, most, whole=True):
        x = round(LEFT + tick / most * width, 1)
        parts.append(f'<text x="{x}" y="{middle + bottom + 16}" text-anchor="middle">{tick:,.0f}</text>')
    parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}"/>')
    label = "Answers by length in tokens, tuned above and base below"
    box = f'viewBox="0 0 {WIDTH} {middle + bottom + 24}"'
    return f'<svg {box} role="img" aria-label="{label}" class="curves lengths">{"".join(parts)}</svg>'


def nice_ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """About `count` round numbers from below `low` to above `high`; with `whole`, whole ones up to `high`."""
    span = max(high - low, 1e-9)
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    if whole:
        step = max(1.0, math.ceil(step))
        return [number * step for number in range(math.floor(high / step) + 1)]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(number * step, 10) for number in range(first, last + 1)]


class _Area:
    """Where numbers lie on the drawing."""

    def __init__(self, x_low: float, x_high: float, y_low: float, y_high: float) -> None:
        self.x_low, self.x_span = x_low, x_high - x_low or 1
        self.y_low, self.y_span = y_low, y_high - y_low or 1

    def x(self, value: float) -> float:
        return round(LEFT + (value - self.x_low) / self.x_span * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = min(1.0, max(0.0, (value - self.y_low) / self.y_span))
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def path(self, steps: Sequence[float], values: Sequence[float]) -> str:
        return "M" + "L".join(f"{self.x(step)} {self.y(value)}" for step, value in zip(steps, values, strict=True))

    def grid(self, losses: Sequence[float], steps: Sequence[float]) -> str:
        digits = min(4, max(0, 1 - math.floor(math.log10(losses[1] - losses[0]))))
        rows = "".join(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(value)}" y2="{self.y(value)}"/>'
            f'<text x="{LEFT - 8}" y="{self.y(value) + 4}" text-anchor="end">{value:.{digits}f}</text>'
            for value in losses
        )
        columns = "".join(
            f'<text x="{self.x(step)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step:,.0f}</text>'
            for step in steps
        )
        return f"<g>{rows}{columns}</g>"


def _dot(area: _Area, step: float, value: float, report: dict[str, Any]) -> str:
    """An evaluation; the result's is marked."""
    chosen = step == report["end"]["result_step"]
    what = "base" if step == 0 else "the result" if chosen else "validation"
    ring = f'<circle class="ring" cx="{area.x(step)}" cy="{area.y(value)}" r="9"/>' if chosen else ""
    title = escape(f"step {step:,.0f}: {value:.4f} ({what})")
    return f'{ring}<circle class="point" cx="{area.x(step)}" cy="{area.y(value)}" r="4"><title>{title}</title></circle>'


def _smooth(values: Sequence[float]) -> list[float]:
    """Means over a window of a twentieth of the curve to either side."""
    reach = max(1, len(values) // 20)
    windows = [values[max(0, place - reach) : place + reach + 1] for place in range(len(values))]
    return [sum(window) / len(window) for window in windows]
