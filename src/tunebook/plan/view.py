"""The plan as people read it: every value with its origin, the learning-rate curve, what the data means for the run.

`plan_json` is the same for programs: the plan's sections nested, each value an object {"value", "from", "why"}.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tunebook.plan.advice import Advice
from tunebook.plan.facts import Facts, optimizer_steps, steps_per_epoch
from tunebook.plan.files import origin_of, put_value, values_by_path
from tunebook.plan.learning_rate import multiplier
from tunebook.plan.metrics import COSTS
from tunebook.plan.rules.describe import describe
from tunebook.plan.schema import Plan

if TYPE_CHECKING:
    from rich.console import Console

_NOMINAL = 1000  # steps of a curve whose length is not known: then only its shape is shown


def plan_json(plan: Plan, advice: Sequence[Advice], facts: Facts | None) -> dict[str, Any]:
    """The object of `tunebook plan --json`."""
    result: dict[str, Any] = {}
    for path, value, origin, why in explained(plan):
        put_value(result, path, {"value": value, "from": origin, "why": why})
    return {
        **result,
        "advice": [item.to_json() for item in advice],
        "not_understood": list(plan.not_understood),
        "notes": dict(plan.notes),
        "facts": facts_json(plan, facts),
    }


def facts_json(plan: Plan, facts: Facts | None) -> dict[str, Any] | None:
    """What the data means for the run; null where the data was not looked at."""
    if facts is None:
        return None
    steps = {"steps_per_epoch": steps_per_epoch(plan, facts), "optimizer_steps": optimizer_steps(plan, facts)}
    return {**asdict(facts), **steps}


def explained(plan: Plan) -> Iterator[tuple[str, Any, str, str]]:
    """(path, value, from, why) of every value; a default is explained by what the value is."""
    for path, value in values_by_path(plan).items():
        origin, why = origin_of(plan, path)
        yield path, value, origin, why or _described(path)


def _described(path: str) -> str:
    section: Any = Plan
    *sections, name = path.split(".")
    for part in sections:
        section = section.model_fields[part].annotation
    field = section.model_fields[name]
    return field.description or _MEANINGS.get(path, "")


_MEANINGS = {
    "training.learning_rate": "the peak of the curve",
    "training.epochs.min": "stopping rules wait for this many epochs",
    "training.epochs.max": "the run ends after this many epochs at the latest",
    "training.seed": "decides split, order and initial weights",
    "training.warmup.strategy": "how the learning rate rises",
    "training.weight_decay": "pulls weights towards 0",
    "training.max_grad_norm": "longer gradients are shortened to this",
    "training.label_smoothing": "0 for none",
    "lora.rank": "size of the adapters",
    "evaluation.schedule": "when held-out data is looked at",
    "evaluation.max_new_tokens": "longest answer that is generated",
    "checkpoints.every": "optimizer steps from one checkpoint to the next",
    "stopping.rules": "none: the run goes on to its last epoch",
    "metrics": "all but BLEU, which has to generate answers",
    "review.policy": "which responses a person reads",
    "review.count": "how many at a time",
    "export.formats": "what the run leaves for others to load",
    "workflow.order": "the ten steps as they run",
}


def curve(plan: Plan, steps: int, width: int = 60, height: int = 8, *, braille: bool = True) -> list[str]:
    """The learning rate over a run of `steps` as lines of text, peak on top; 2 x 4 dots a character, or `#`."""
    across, down = (2, 4) if braille else (1, 1)
    columns, rows = width * across, height * down
    top = max(1.0, *(share for _, share in plan.training.warmup.points)) if plan.training.warmup.points else 1.0
    grid = [[False] * columns for _ in range(rows)]
    before: int | None = None
    for column in range(columns):
        step = (
            min(steps - 1, column * steps // columns)
            if steps > columns
            else column * max(0, steps - 1) // (columns - 1)
        )
        level = round(multiplier(step, steps, plan.training.warmup) / top * (rows - 1))
        # a steep rise is drawn as an unbroken line
        for row in range(min(before, level), max(before, level) + 1) if before is not None else (level,):
            grid[rows - 1 - row][column] = True
        before = level
    lines = [
        _braille(grid, line, width) if braille else "".join("#" if dot else " " for dot in grid[line])
        for line in range(height)
    ]
    labels = [f"{plan.training.learning_rate * top:.3g}", *[""] * (height - 2), "0"]
    return [f"{label:>8} {line.rstrip()}" for label, line in zip(labels, lines, strict=True)]


def _braille(grid: list[list[bool]], line: int, width: int) -> str:
    bits = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
    cells = (
        sum(bits[y][x] for y in range(4) for x in range(2) if grid[4 * line + y][2 * cell + x]) for cell in range(width)
    )
    return "".join(chr(0x2800 + cell) if cell else " " for cell in cells)


def draw(plan: Plan, advice: Sequence[Advice], facts: Facts | None, console: Console) -> None:
    """Print the whole plan to `console`."""
    _draw_values(plan, console)
    _draw_curve(plan, facts, console)
    if facts:
        _draw_facts(plan, facts, console)
    for title, lines in _remarks(plan, advice):
        console.print(f"\n[bold]{title}[/bold]")
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False)


_COLOURS = {"answer": "green", "advice": "cyan", "set": "magenta", "hand": "yellow"}


def _draw_values(plan: Plan, console: Console) -> None:
    """A line for each value; its reason stands behind it where there is room, else below."""
    from rich.padding import Padding
    from rich.text import Text

    section = ""
    for path, value, origin, why in explained(plan):
        name, _, rest = path.partition(".")
        if name != section:
            section = name
            console.print(Text(f"\n{name}", style="bold"))
        rules = "; ".join(describe(rule) for rule in plan.stopping.rules)
        line = Text(f"  {rest or name:<18}  {origin:<7}  ")
        line.stylize(_COLOURS.get(origin, "dim"), 22, 29)
        line.append((rules if path == "stopping.rules" else _shown(value)) or "none")
        if line.cell_len + len(why) + 3 <= console.width:
            console.print(line.append(f"   {why}", style="dim"))
        else:
            console.print(line, soft_wrap=True)
            console.print(Padding(Text(why, style="dim"), (0, 0, 0, 31)))


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _draw_curve(plan: Plan, facts: Facts | None, console: Console) -> None:
    steps = optimizer_steps(plan, facts) if facts else _NOMINAL
    braille = (console.encoding or "").lower().startswith("utf")
    width = max(20, min(60, console.width - 12))
    console.print("\n[bold]learning rate[/bold]")
    for line in curve(plan, steps, width, braille=braille):
        console.print(line, markup=False, highlight=False)
    end = f"{steps:,} optimizer steps" if facts else "share of training"
    console.print(f"{'':8} 0{end:>{width - 1}}", markup=False, highlight=False)


def _draw_facts(plan: Plan, facts: Facts, console: Console) -> None:
    about = "" if facts.exact else "about "
    console.print("\n[bold]data[/bold]")
    lines = [f"{facts.rows:,} rows, {facts.examples:,} examples" + (f", {facts.bad:,} bad rows" if facts.bad else "")]
    lines.append(f"{about}{facts.training:,} to train on, {about}{facts.validation:,} held out")
    per_epoch, steps = steps_per_epoch(plan, facts), optimizer_steps(plan, facts)
    lines.append(f"{about}{per_epoch:,} optimizer steps per epoch, at most {steps:,} in all")
    if facts.trained_tokens is not None and facts.tokens is not None:
        lines.append(f"{facts.tokens:,} tokens per epoch, {facts.trained_tokens:,} of them trained")
    else:
        lines.append("tokens are not counted: the model's tokenizer is not here yet, or the file is large")
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False)


def _remarks(plan: Plan, advice: Sequence[Advice]) -> Iterator[tuple[str, list[str]]]:
    """What else is to be said, each with its title."""
    yield "metrics, and what they cost", [f"{name:<16} {COSTS[name]}" for name in plan.metrics]
    if advice:
        lines = [
            f"{item.path} = {_shown(item.value)}: {item.why}. Take it with --accept {item.path}" for item in advice
        ]
        yield "advice, which changes nothing until you accept it", lines
    if plan.not_understood:
        yield "not understood", [f"'{piece}'" for piece in plan.not_understood]
    if plan.notes:
        yield "notes, kept with the run", [f"{name}: {text}" for name, text in plan.notes.items()]
