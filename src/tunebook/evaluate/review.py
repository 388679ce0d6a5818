"""Review: people read answers of base and tuned side by side, without knowing which is which, and judge.

The queue follows from the plan's policy and the run's files alone: the same run gives the same queue in the same blind
order for a reviewer. Verdicts are lines of `reviews.jsonl`, only ever appended; a reviewer's later word on the same
answer counts instead of the earlier one. A verdict is blind where the reviewer had not been told before which answer to
that prompt is the tuned model's, be it at another checkpoint: the base's answer is the same there.

    {"format": 1, "kind": "answer", "time", "reviewer", "step", "id", "first": "base" or "tuned",
     "verdict": "better", "same" or "worse" (tuned, than base), "action": "keep", "fix" or "reject", "fixed", "note"}
    {"format": 1, "kind": "checkpoint", "time", "reviewer", "step", "rejected": true or false, "note"}
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import random
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunebook.errors import RunError
from tunebook.evaluate.prompts import bare_prompts
from tunebook.evaluate.record import Record, chosen_step, read_held_out, read_pair, read_record
from tunebook.files import to_json

FORMAT = 1
Policy = Literal["random", "all", "difficult", "none"]
Review = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt with both answers at one checkpoint. `change` is that of its held-out loss, where it was measured."""

    step: int
    id: str
    prompt: str
    reference: str
    base: str
    tuned: str
    change: float | None = None

    def first(self, reviewer: str) -> Literal["base", "tuned"]:
        """Which answer this reviewer sees first: as good as a coin, and always the same."""
        digest = hashlib.sha256(f"{self.step} {self.id} {reviewer}".encode("utf-8", "surrogatepass")).digest()
        return "base" if digest[0] % 2 else "tuned"

    def blind(self, reviewer: str) -> tuple[str, str]:
        """Both answers in the order in which this reviewer sees them."""
        return (self.base, self.tuned) if self.first(reviewer) == "base" else (self.tuned, self.base)

    def tuned_place(self, reviewer: str) -> Literal["a", "b"]:
        """Where this reviewer sees the tuned answer."""
        return "a" if self.first(reviewer) == "tuned" else "b"

    def verdict(self, reviewer: str, chosen: Literal["a", "b", "same"]) -> Literal["better", "same", "worse"]:
        """What it means for the tuned answer that this reviewer chose `a`, `b` or neither."""
        if chosen == "same" or self.base == self.tuned:
            return "same"
        return "better" if chosen == self.tuned_place(reviewer) else "worse"


def queue(folder: Path, policy: Policy | None = None, count: int | None = None) -> list[Item]:
    """What is to be read: the result's checkpoint, which is seen blindly, then the others. The plan's unless given.

    random: `count` answers of each checkpoint; all: every one; difficult: `count` of each checkpoint, those whose
    held-out loss rose most against the base first, then those of the highest loss; none: nothing.
    """
    record = read_record(folder)
    if record.plan is None:
        raise RunError(f"The plan of the run '{folder.name}' cannot be read.", do="Restore its plan.yaml.")
    policy = policy or record.plan.review.policy
    count = count or record.plan.review.count
    items: list[Item] = []
    steps = sorted(steps_with_answers(folder), key=lambda step: (step != record.step, step))
    for step in [] if policy == "none" else steps:
        found = _items(record, step)
        if policy == "random":
            order = random.Random(f"{record.plan.training.seed} {step}").sample(range(len(found)), len(found))
            found = [found[place] for place in order[:count]]
        elif policy == "difficult":
            found = _difficult(found, folder, step)[:count]
        items += found
    return items


def steps_with_answers(folder: Path) -> list[int]:
    """Optimizer steps at which the held-out prompts were answered, without the base."""
    names = (re.fullmatch(r"step-(\d+)\.json", path.name) for path in (folder / "samples").glob("step-*.json"))
    return sorted(int(match[1]) for match in names if match and match[1] != "0")


def default_reviewer() -> str:
    """Who judges when nobody is named: the user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "reviewer"


def waiting(items: list[Item], reviews: list[Review], reviewer: str) -> list[Item]:
    """Items on which this reviewer has not said anything yet."""
    judged = {(row["step"], row["id"]) for row in reviews if row["kind"] == "answer" and row["reviewer"] == reviewer}
    return [item for item in items if (item.step, item.id) not in judged]


def judge_answer(
    folder: Path,
    item: Item,
    reviewer: str,
    verdict: Literal["better", "same", "worse"],
    action: Literal["keep", "fix", "reject"] = "keep",
    fixed: str | None = None,
    note: str = "",
) -> Review:
    """Append a verdict on the tuned answer against the base's. `fixed` is the answer as it should be, for `fix`."""
    if (action == "fix") != bool(fixed and fixed.strip()):
        raise ValueError("a fixed answer goes with the action fix, and with no other")
    row = {"kind": "answer", "reviewer": reviewer, "step": item.step, "id": item.id, "first": item.first(reviewer)}
    return _append(folder, row | {"verdict": verdict, "action": action, "fixed": fixed, "note": note})


def judge_checkpoint(folder: Path, step: int, reviewer: str, rejected: bool = True, note: str = "") -> Review:
    """Append that a checkpoint is rejected, or taken back in."""
    row = {"kind": "checkpoint", "reviewer": reviewer, "step": step, "rejected": rejected}
    return _append(folder, row | {"note": note})


def read_reviews(folder: Path) -> list[Review]:
    """Verdicts that count, in the order given: the last of each reviewer on each answer or checkpoint.

    Of those on answers, `blind` says whether the reviewer could not know whose answer was whose.
    """
    try:
        lines = (folder / "reviews.jsonl").read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    last: dict[tuple[Any, ...], Review] = {}
    first: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for line in filter(None, lines[:-1]):  # what a crash cut short has no line end, and is no verdict
        try:
            row = json.loads(line)
            key = (row["kind"], row["reviewer"], row["step"], row.get("id"))
            if row["kind"] == "answer":  # the same word again, with an action or a note, is still the blind one
                said = (row["step"], row["verdict"])
                row["blind"] = first.setdefault((row["reviewer"], row["id"]), said) == said
        except (ValueError, KeyError, TypeError):
            continue
        last.pop(key, None)
        last[key] = row
    return list(last.values())


def rejected_steps(folder: Path) -> set[int]:
    """Checkpoints that somebody rejected and nobody of them took back."""
    return {row["step"] for row in read_reviews(folder) if row["kind"] == "checkpoint" and row["rejected"]}


def summary(folder: Path) -> dict[str, Any] | None:
    """Counts of what was judged, for the report; None when nobody judged anything.

    `judged` counts answers, `verdicts` what people said of them. `better`, `same` and `worse` are the blind verdicts,
    those on the result again under `result`; `known` counts the others.
    """
    reviews = read_reviews(folder)
    answers = [row for row in reviews if row["kind"] == "answer"]
    if not reviews:
        return None
    actions = Counter(row["action"] for row in answers)
    step = chosen_step(folder)
    return {
        "judged": len({(row["step"], row["id"]) for row in answers}),
        "verdicts": len(answers),
        "reviewers": len({row["reviewer"] for row in reviews}),
        **_blind(answers),
        "known": sum(not row["blind"] for row in answers),
        "result": {"step": step, **_blind([row for row in answers if row["step"] == step])},
        "kept": actions["keep"],
        "fixed": actions["fix"],
        "rejected": actions["reject"],
        "rejected_checkpoints": sorted(rejected_steps(folder)),
        "agreement": agreement(answers),
    }


def _blind(answers: list[Review]) -> dict[str, int]:
    """How many blind verdicts are better, same and worse."""
    found = Counter(row["verdict"] for row in answers if row["blind"])
    return {name: found[name] for name in ("better", "same", "worse")}


def agreement(answers: list[Review]) -> dict[str, float | int] | None:
    """How far people agree on answers that several judged: the share of equal pairs and Krippendorff's alpha.

    Alpha (nominal; Krippendorff, "Content Analysis", 2004, chapter 11) is 1 for full agreement and 0 for that of
    chance; it takes any number of reviewers and answers that some left out. None when no answer has two verdicts.
    """
    units: dict[tuple[int, str], list[str]] = {}
    for row in answers:
        units.setdefault((row["step"], row["id"]), []).append(row["verdict"])
    shared = [Counter(verdicts) for verdicts in units.values() if len(verdicts) > 1]
    if not shared:
        return None
    total: Counter[str] = sum(shared, Counter())
    n = total.total()
    # of each answer, the share of ordered pairs of verdicts that differ, weighted by its number of verdicts
    seen = sum(_differing(verdicts) / (verdicts.total() - 1) for verdicts in shared) / n
    chance = _differing(total) / (n * (n - 1))
    pairs = sum(verdicts.total() * (verdicts.total() - 1) for verdicts in shared)
    equal = 1 - sum(map(_differing, shared)) / pairs
    return {"answers": len(shared), "equal": equal, "alpha": 1 - seen / chance if chance else 1.0}


def _differing(counts: Counter[str]) -> int:
    return counts.total() ** 2 - sum(count * count for count in counts.values())


def _items(record: Record, step: int) -> list[Item]:
    """Every prompt answered at `step`, beside the base's answer."""
    pair = read_pair(record, step)
    if pair is None:
        return []
    base, tuned = pair
    prompts = bare_prompts([row["prompt"] for row in base])
    return [
        Item(step, one["id"], prompt, one["reference"], one["answer"], two["answer"])
        for one, two, prompt in zip(base, tuned, prompts, strict=True)
    ]


def _difficult(items: list[Item], folder: Path, step: int) -> list[Item]:
    """Worst regressions of held-out loss first, then the highest loss. Without measurements, the order as it is."""
    try:
        before, after = (read_held_out(folder, name) for name in ("base", f"step-{step}"))
    except FileNotFoundError:
        return items
    loss = {row.id: row.loss for row in after}
    change = {row.id: loss[row.id] - row.loss for row in before if row.id in loss}

    def rank(item: Item) -> tuple[float, float]:
        rise = change.get(item.id, 0.0)
        return (-max(rise, 0.0), -loss.get(item.id, 0.0))

    return [
        Item(item.step, item.id, item.prompt, item.reference, item.base, item.tuned, change.get(item.id))
        for item in sorted(items, key=rank)
    ]


def _append(folder: Path, row: Review) -> Review:
    """Add one line, on the disk before this returns. RunError when it cannot be written."""
    whole = {"format": FORMAT, "kind": row["kind"], "time": time.time(), **row}
    path = folder / "reviews.jsonl"
    try:
        with path.open("ab+") as file:
            end = file.tell()
            file.seek(max(0, end - 1))
            half = end > 0 and file.read(1) != b"\n"  # a line that a crash cut short
            file.write(b"\n" * half + to_json(whole).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(
            f"The verdict could not be written to {path} ({error.strerror or error}).",
            kept="Earlier verdicts are untouched.",
            do="Free space or make the run folder writable, and judge it again.",
        ) from error
    return whole
