"""A judge model behind an OpenAI-compatible address compares base and tuned, when the plan names one.

Each pair is asked twice, once in either order; the judge has a preference only where both replies name the same answer,
so that a liking for the first place counts for nothing. Prompts and answers leave this machine for that address. A key,
where one is needed, is read from the environment variable TUNEBOOK_JUDGE_KEY and stored nowhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.errors import ModelError, RunError, TunebookError
from tunebook.evaluate.address import Address, Completion
from tunebook.evaluate.prompts import in_words
from tunebook.evaluate.record import Answers, read_record
from tunebook.evaluate.rows import last_answer, rows_by_id
from tunebook.evaluate.stats import paired_share
from tunebook.files import write_json
from tunebook.runs.store import Run

KEY = "TUNEBOOK_JUDGE_KEY"
Progress = Callable[[int, int], None]
_ASK = """Two answers to the same request are to be compared.

Request:
{prompt}

An answer that is known to be good:
{reference}

Answer A:
{first}

Answer B:
{second}

Which of A and B serves the request better, and is closer to the good answer in content and manner? Reply with one
letter and nothing else: A, B, or S when neither is better."""
_VERB = r"(?:is|was|has|does|gives|answers|serves|wins|because|as|since|by|for|over|with|and)\b"
_ARTICLE = re.compile(rf"(?:^|[.:!?\n]\s*)A (?!{_VERB})[a-z]")  # "A clearer answer ...", where the letter is no name


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt with a good answer and the two that are to be compared."""

    id: str
    prompt: str
    reference: str
    base: str
    tuned: str


def judge_run(folder: Path, address: str, on_progress: Progress | None = None) -> dict[str, Any]:
    """Have the judge compare the run's answers; writes `evaluation/judge.json` and returns what it holds.

    RunError when the run has no answers of base and result, ModelError when the judge cannot be reached at all.
    """
    answers = read_record(folder).answers
    if answers is None:
        raise RunError(f"The run '{folder.name}' has no answers of base and tuned to judge.")
    prompts = _asked(folder, answers[0])
    pairs = [
        Pair(base["id"], prompt, base["reference"], base["answer"], tuned["answer"])
        for base, tuned, prompt in zip(*answers, prompts, strict=True)
    ]
    found = {"format": 1, **judge_pairs(pairs, address, on_progress)}
    write_json(folder / "evaluation" / "judge.json", found)
    return found


def judge_at(address: str) -> Address:
    """The judge behind an address; nothing is asked."""
    return Address(address, "The judge", "Start it, or set quality.judge to null.", KEY)


def judge_pairs(pairs: Sequence[Pair], address: str, on_progress: Progress | None = None) -> dict[str, Any]:
    """How often the tuned answer was better, the same or worse, and the verdict on each pair.

    ModelError when the judge cannot be reached at all.
    """
    judge = judge_at(address)
    model = judge.first_model()
    rows = []
    for done, pair in enumerate(pairs, 1):
        rows.append({"id": pair.id, "verdict": _compare(judge, model, pair)})
        if on_progress:
            on_progress(done, len(pairs))
    return {"model": model, **_counted(rows), "rows": rows}


def _counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the tuned answer was better, the same or worse, and the interval of better minus worse as shares."""
    counts = Counter(row["verdict"] for row in rows)
    said = [row["verdict"] for row in rows if row["verdict"]]
    worse, better = ([verdict == name for verdict in said] for name in ("worse", "better"))
    interval = paired_share(worse, better, level=0.99).to_json() if said else None
    told = {name: counts[name] for name in ("better", "same", "worse")}
    return told | {"no_reply": counts[None], "interval": interval}


def _asked(folder: Path, answers: Answers) -> list[str]:
    """What was asked, instructions and earlier turns too: from the data set, or as it was sent where a row left it."""
    try:
        rows = rows_by_id(Run(folder), {row["id"] for row in answers})
    except TunebookError:
        rows = {}
    said = {name: in_words(row.for_template()[: last_answer(row)]) for name, row in rows.items()}
    return [str(said.get(row["id"], row["prompt"])) for row in answers]


def _compare(judge: Address, model: str, pair: Pair) -> str | None:
    """The verdict on the tuned answer; None when the judge's reply could not be had or read."""
    if pair.base == pair.tuned:
        return "same"
    replies = []
    for first, second in ((pair.base, pair.tuned), (pair.tuned, pair.base)):
        text = _ASK.format(prompt=pair.prompt, reference=pair.reference, first=first, second=second)
        try:
            replies.append(_letter(judge.chat(model, [{"role": "user", "content": text}], 512)))
        except ModelError:
            return None
    if None in replies:
        return None
    return {("B", "A"): "better", ("A", "B"): "worse"}.get((str(replies[0]), str(replies[1])), "same")


def _letter(reply: Completion) -> str | None:
    """The one letter that a reply names, behind its thinking; None where it was cut, or names none or several."""
    said = reply.text.rpartition("</think>")[2].strip()
    found = set(re.findall(r"\b[ABS]\b", said))
    if not reply.ended or len(found) != 1 or _ARTICLE.search(said):
        return None
    return str(found.pop())
