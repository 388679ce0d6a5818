"""A judge model behind an OpenAI-compatible address compares base and tuned, when the plan names one.

Each pair is asked twice, once in either order; the judge has a preference only where both replies name the same answer,
so that a liking for the first place counts for nothing. Prompts and answers leave this machine for that address. A key,
where one is needed, is read from the environment variable TUNEBOOK_JUDGE_KEY and stored nowhere.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tunebook.errors import ModelError, RunError
from tunebook.evaluate.prompts import bare_prompts
from tunebook.evaluate.record import read_record
from tunebook.evaluate.stats import paired_difference
from tunebook.files import write_json

KEY = "TUNEBOOK_JUDGE_KEY"
TIMEOUT = 120.0  # seconds for one reply
MOST_BYTES = 1_000_000
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


def judge_run(folder: Path, address: str, on_progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Have the judge compare the run's answers; writes `evaluation/judge.json` and returns what it holds.

    RunError when the run has no answers of base and result, ModelError when the judge cannot be reached at all.
    """
    answers = read_record(folder).answers
    if answers is None:
        raise RunError(f"The run '{folder.name}' has no answers of base and tuned to judge.")
    model = _first_model(address)
    prompts = bare_prompts([row["prompt"] for row in answers[0]])
    rows = []
    for done, (base, tuned, prompt) in enumerate(zip(*answers, prompts, strict=True), 1):
        verdict = _compare(address, model, prompt, base["reference"], base["answer"], tuned["answer"])
        rows.append({"id": base["id"], "verdict": verdict})
        if on_progress:
            on_progress(done, len(prompts))
    found = {"format": 1, "model": model, **_counted(rows), "rows": rows}
    write_json(folder / "evaluation" / "judge.json", found)
    return found


def _counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the tuned answer was better, the same or worse, and the interval of better minus worse."""
    counts = Counter(row["verdict"] for row in rows)
    scores = [{"better": 1.0, "same": 0.0, "worse": -1.0}[row["verdict"]] for row in rows if row["verdict"]]
    interval = paired_difference([0.0] * len(scores), scores).to_json() if scores else None
    told = {name: counts[name] for name in ("better", "same", "worse")}
    return told | {"no_reply": counts[None], "interval": interval}


def _compare(address: str, model: str, prompt: str, reference: str, base: str, tuned: str) -> str | None:
    """The verdict on the tuned answer; None when the judge's reply could not be had or read."""
    if base == tuned:
        return "same"
    replies = []
    for first, second in ((base, tuned), (tuned, base)):
        text = _ASK.format(prompt=prompt, reference=reference, first=first, second=second)
        try:
            replies.append(_letter(_chat(address, model, text)))
        except ModelError:
            return None
    if None in replies:
        return None
    return {("B", "A"): "better", ("A", "B"): "worse"}.get((str(replies[0]), str(replies[1])), "same")


def _letter(reply: str) -> str | None:
    found = re.findall(r"\b[ABS]\b", reply)
    return found[-1] if found else None


def _chat(address: str, model: str, text: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 512}
    reply = _call(address, "chat/completions", body)
    try:
        return str(reply["choices"][0]["message"]["content"] or "")
    except (KeyError, IndexError, TypeError) as error:
        raise ModelError(f"The judge at {address} replied in a form that is not OpenAI's.") from error


def _first_model(address: str) -> str:
    """The name of the model that the address serves."""
    reply = _call(address, "models", None)
    try:
        return str(reply["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise ModelError(
            f"The judge at {address} names no model.", do="Give the address that ends before /chat/completions."
        ) from error


def _call(address: str, path: str, body: dict[str, Any] | None) -> Any:
    """One request; ModelError says what went wrong."""
    if urlsplit(address).scheme not in ("http", "https"):
        raise ModelError(
            f"The judge's address '{address}' is not a web address.", do="Set quality.judge to http(s)://..."
        )
    url = f"{address.rstrip('/').removesuffix('/chat/completions')}/{path}"
    headers = {"Content-Type": "application/json"}
    if os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {os.environ[KEY]}"
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            return json.loads(reply.read(MOST_BYTES))
    except (OSError, ValueError) as error:  # unreachable, refused, cut off, not JSON
        reason = getattr(error, "reason", None) or error
        raise ModelError(
            f"The judge at {address} could not be asked ({reason}).", do="Start it, or set quality.judge to null."
        ) from error
