"""The demo: the shipped answers and data into a plan, and an honest word on what the run made of them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from tunebook.errors import TrainingError
from tunebook.files import read_json
from tunebook.model.sources import SMOLLM2
from tunebook.pages.answers import load_answers
from tunebook.plan.compile import compile_plan
from tunebook.plan.schema import Plan
from tunebook.runs.store import Run
from tunebook.workflow.start import absolute_paths


def demo_folder() -> Path:
    """Where the shipped examples, held-out prompts, probes and answers lie."""
    return Path(str(resources.files("tunebook") / "demo"))


def demo_plan(settings: list[str]) -> tuple[Plan, dict[str, str]]:
    """The demo's plan, and the texts that its run folder keeps.

    `settings` stand on top of the answers, and the advice on the learning rate (ten times it, for LoRA) is taken.
    """
    folder = demo_folder()
    answers = load_answers(folder / "answers.yaml")
    plan = compile_plan(
        answers.page, answers.values, "examples.jsonl", SMOLLM2, settings, accept=["training.learning_rate"]
    )
    texts = {"answers.yaml": (folder / "answers.yaml").read_text(encoding="utf-8")}
    return absolute_paths(plan, folder), texts


def judge_demo(run: Run) -> str:
    """What the run changed, in a few lines. TrainingError when the tuned model is not better on held-out loss."""
    base, tuned = (read_json(run.folder / "evaluation" / f"heldout-{side}.json") for side in ("base", "tuned"))
    report = read_json(run.report)
    if not tuned["loss"] < base["loss"]:
        losses = f"{tuned['loss']:.4f} against {base['loss']:.4f}"
        raise TrainingError(
            f"The tuned model is not better than its base: held-out loss {losses}.",
            kept=f"Everything is in {run.folder}.",
            do="Read report.html there, and try another learning rate with --set training.learning_rate=...",
        )
    fall = 100 * (1 - tuned["loss"] / base["loss"])
    lines = [
        f"Held-out loss fell from {base['loss']:.3f} to {tuned['loss']:.3f} ({fall:.0f} %).",
        *(f"  {indicator['verdict']:<8} {indicator['why']}" for indicator in report["indicators"]),
        *_side_by_side(run, tuned["step"]),
        "",
        f"Talk to it:   tunebook chat {run.folder} --with-base",
        f"Read about it: {run.folder / 'report.html'}",
        f"Load it:      AutoModelForCausalLM.from_pretrained({str(run.folder / 'export' / 'safetensors')!r})",
    ]
    return "\n".join(lines)


def _side_by_side(run: Run, step: int, count: int = 2) -> list[str]:
    """The first answers of base and tuned, one above the other; nothing where no prompt was answered."""
    files = [run.folder / "samples" / f"step-{number}.json" for number in (0, step)]
    if not all(file.exists() for file in files):
        return []
    sides: list[list[dict[str, Any]]] = [read_json(file)["answers"] for file in files]
    lines = []
    for before, after in list(zip(*sides, strict=True))[:count]:
        asked = before["prompt"].rsplit("user\n", 1)[-1].split("<|im_end|>")[0]
        lines += ["", f"Asked:  {asked}", f"Base:   {_short(before['answer'])}", f"Tuned:  {_short(after['answer'])}"]
    return lines


def _short(text: str, most: int = 300) -> str:
    text = text.strip().replace("\n", "\n        ")
    return text if len(text) <= most else text[: most - 3] + "..."
