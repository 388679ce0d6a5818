"""Run folders as training leaves them, with numbers and texts to order: no model is trained."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunebook.files import write_json
from tunebook.plan.files import make_plan, save_plan
from tunebook.runs.events import EventWriter
from tunebook.runs.store import FORMAT, Run

TOPICS = ["copy a file", "find large files", "count lines", "rename a folder", "see free memory", "stop a process"]


def reference(number: int) -> str:
    """A reference in a house style."""
    topic = TOPICS[number % len(TOPICS)]
    return f"In short: You can {topic} with one command.\n- Step {number} comes first.\n- Then look.\nNext: Try it."


def base_answer(number: int) -> str:
    """What a base model would say: right or wrong, in no house style."""
    return (
        f"I can help with that! To {TOPICS[number % len(TOPICS)]}, there are {number} ways, and many of them are long."
    )


def tuned_answer(number: int) -> str:
    """In the style, with small slips."""
    return reference(number).replace("comes first", "is first").replace("Then look", "Look then")


def samples(texts: Sequence[str], step: int) -> dict[str, Any]:
    """`samples/step-N.json` with these answers."""
    rows = [
        {
            "id": f"row-{number}",
            "prompt": f"<|im_start|>user\nHow do I {TOPICS[number % len(TOPICS)]}? ({number})<|im_end|>\n",
            "prompt_ids": [1, 5, 9],
            "reference": reference(number),
            "answer": text,
            "tokens": len(text.split()),
            "ended": not text.endswith("…"),
        }
        for number, text in enumerate(texts)
    ]
    return {"format": 1, "step": step, "answers": rows}


def held_out(losses: Sequence[float], step: int, tokens: int = 30) -> dict[str, Any]:
    """`evaluation/heldout-*.json` with these losses by example."""
    rows = [{"id": f"row-{number}", "nats": loss * tokens, "tokens": tokens} for number, loss in enumerate(losses)]
    return {"step": step, "loss": sum(losses) / len(losses), "tokens": tokens * len(rows), "per_example": rows}


def ability(correct: Sequence[bool], weight: Sequence[float], prose: Sequence[float]) -> dict[str, Any]:
    """`evaluation/retention-*.json`."""
    return {
        "format": 1,
        "correct": list(correct),
        "weight": list(weight),
        "prose": [[loss * 60, 60] for loss in prose],
    }


def make_run(folder: Path, *, steps: int = 60, gain: float = 1.0, prompts: int = 12, seed: int = 0, **plan: Any) -> Run:
    """A finished run in `folder`; `gain` 0 is a run at learning rate 0, 1 one that learned the style."""
    chance = random.Random(seed)
    folder.mkdir(parents=True)
    values = {"model": {"name": "base"}, "data": {"path": "data.jsonl"}, "not_understood": ["feel the vibe"], **plan}
    save_plan(make_plan(values), folder / "plan.yaml")
    write_json(folder / "run.json", {"format": FORMAT, "name": folder.name})
    best = steps if gain else 20
    learned = samples([tuned_answer(n) if gain else base_answer(n) for n in range(prompts)], best)
    write_json(folder / "samples" / "step-0.json", samples([base_answer(n) for n in range(prompts)], 0))
    write_json(folder / "samples" / f"step-{best}.json", learned)
    before = [2.5 + chance.gauss(0, 0.3) for _ in range(max(prompts, 30))]
    after = [loss - gain * (0.9 + chance.gauss(0, 0.2)) for loss in before]
    write_json(folder / "evaluation" / "heldout-base.json", held_out(before, 0))
    write_json(folder / "evaluation" / "heldout-tuned.json", held_out(after, best))
    right, weight = [chance.random() < 0.7 for _ in range(80)], [chance.random() for _ in range(80)]
    prose = [3.5 + chance.gauss(0, 0.4) for _ in range(16)]
    moved = [min(1.0, max(0.0, w + gain * chance.gauss(0, 0.03))) for w in weight]
    write_json(folder / "evaluation" / "retention-base.json", ability(right, weight, prose))
    write_json(
        folder / "evaluation" / "retention-tuned.json",
        ability(right, moved, [loss + gain * chance.gauss(0.01, 0.02) for loss in prose]),
    )
    write_json(folder / "evaluation" / "result.json", {"format": 1, "step": best})
    _events(folder, steps, gain, best, sum(before) / len(before), sum(after) / len(after), chance)
    return Run(folder)


def _events(
    folder: Path, steps: int, gain: float, best: int, before: float, after: float, chance: random.Random
) -> None:
    events = EventWriter(folder / "events.jsonl")
    events.emit("run", state="started", reason="", pid=1)
    events.emit("step", id="train", state="running")
    sizes = {"parameters": 134_515_008, "trainable_parameters": 4_884_480, "training_examples": 190}
    events.emit("totals", optimizer_steps=steps, steps_per_epoch=20, validation_examples=40, **sizes)
    base = {"validation_loss": before, "perplexity": math.exp(before)}
    events.emit("evaluation", step=0, epoch=0.0, values=base, best=False, stopping=[])
    for step in range(1, steps + 1):
        level = before - gain * 0.95 * (1 - math.exp(-4 * step / steps))
        loss = level + chance.gauss(0, 0.12)
        parts = {"data": 0.01 * step, "forward": 0.4 * step, "loss": 0.1 * step, "backward": 0.7 * step}
        events.emit(
            "metrics",
            step=step,
            epoch=step / 20,
            values={"training_loss": loss, "learning_rate": 1e-4, "trained_tokens": 400 + step, "throughput": 140.0},
            parts=parts,
        )
        if step % 20 == 0:
            share = 1 - math.exp(-4 * step / steps)
            loss = before + (after - before) * share / (1 - math.exp(-4))
            value = {"validation_loss": loss, "perplexity": math.exp(loss)}
            events.emit("evaluation", step=step, epoch=step / 20, values=value, best=step <= best, stopping=[])
    events.emit("step", id="train", state="done", seconds=120.0, evidence={"ended": "the planned steps are done"})
    events.emit("run", state="finished", reason="")
