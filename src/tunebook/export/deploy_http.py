"""The deployment test over HTTP: start a server on the exported files, ask it as a client would, compare, stop it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunebook.errors import ExportError, Fault, ModelError, TunebookError
from tunebook.export.deploy import chosen_export, load_request, note, read_samples, reload_answers, rounding
from tunebook.export.http_checks import CALLERS, Expected, Findings, Reply, run_checks
from tunebook.export.modelfile import read_chat
from tunebook.export.server import check_extra, serve
from tunebook.export.staging import damage
from tunebook.model.sources import load_tokenizer, model_folder
from tunebook.plan.schema import Plan
from tunebook.runs.store import Run


def deploy_test(run_folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Test the exported model of a run over HTTP; writes and returns `export/deployment.json`.

        {"verdict": "passed"/"failed", "sentence", "checks": [{"check", "ok", "detail"}], "equal", "tied", "total",
         "differences", "measured": {...}, "seconds", ...}

    A server that does not start, dies or hangs is a failed check. ExportError when there is nothing to test.
    """
    check_extra()
    plan = Run(run_folder).plan()
    kind, entry = chosen_export(run_folder, ("safetensors", "gguf"))
    folder = run_folder / entry["folder"]
    started = time.perf_counter()
    faults = damage(folder)
    found = Findings()
    found.add("files", not faults, "; ".join(map(str, faults)) or "every file is the one that was exported")
    compared: dict[str, Any] = {"equal": 0, "tied": 0, "total": 0, "left_out": 0, "differences": []}
    if not faults:
        limit = _limit(run_folder, plan, folder)
        expected, left_out = expected_answers(run_folder, plan, folder, limit)
        replies = _serve_and_ask(
            found, run_folder.name, folder, entry, limit - plan.evaluation.max_new_tokens, expected, say
        )
        if replies:
            compared = _compare(run_folder, plan, kind, entry, expected, replies) | {"left_out": left_out}
            _judge(found, expected, replies, compared)
    failed = [check["check"] for check in found.checks if not check["ok"]]
    record = {
        "format": 1,
        "method": "http",
        "verdict": "failed" if failed else "passed",
        "sentence": _sentence(failed, compared),
        "exported": kind,
        "folder": entry["folder"],
        **compared,
        "checks": found.checks,
        "measured": found.measured,
        "seconds": round(time.perf_counter() - started, 1),
    }
    note(run_folder, record)
    return record


def _serve_and_ask(
    found: Findings,
    name: str,
    folder: Path,
    entry: dict[str, Any],
    longest: int,
    expected: list[Expected],
    say: Callable[[str], None],
) -> list[Reply | None]:
    """The server's replies to the expected conversations; empty when it did not start or ended in between."""
    say(f"Starting a server on {folder} ...")
    try:
        with serve(folder, name, file=entry["parity"].get("file", "")) as server:
            replies = run_checks(found, server, expected, max(64, longest), say)
            child = server.child
    except ExportError as error:
        found.add("start", False, str(error))
        return []
    found.add("stop", child.poll() is not None, "the server is gone")
    return replies


def _judge(found: Findings, expected: list[Expected], replies: list[Reply | None], compared: dict[str, Any]) -> None:
    """Add what follows from the replies: do turns end where they ended in training, and are the answers the same?"""
    pairs = list(zip(expected, replies, strict=True))
    here = sum(reply is not None and reply.finish == "stop" for _, reply in pairs)
    # an answer that parted from training's before its end says nothing about the end
    said = [(item, reply) for item, reply in pairs if reply is not None and reply.text.startswith(item.answer)]
    same = all((reply.finish == "stop") == item.ended for item, reply in said)
    found.add("end of turn", same, f"{sum(item.ended for item in expected)} answers ended in training, {here} here")
    detail = f"{compared['equal']} of {compared['total']} equal, {compared['tied']} parting at a tie"
    found.add("answers as in training", not compared["differences"], detail)


def expected_answers(run_folder: Path, plan: Plan, folder: Path, limit: int) -> tuple[list[Expected], int]:
    """The held-out prompts as conversations, with the tuned model's answers, and how many are left out.

    Left out is what cannot be turned back into a conversation, or fills the model's longest input of `limit` tokens.

    The base's own tokenizer turns them back, not the exported one: a wrong exported template must show.
    """
    try:
        tokenizer = load_tokenizer(plan.model.name, run_folder)
    except ModelError:  # the base is gone since; the exported tokenizer was compared with it when it was written
        tokenizer = load_tokenizer(str(folder))
    found = []
    samples = read_samples(run_folder)
    for sample in samples:
        chat = read_chat(tokenizer, sample["prompt"])
        length = len(sample["prompt_ids"])
        room = min(plan.evaluation.max_new_tokens, limit - length)
        if chat is not None and room > 0:
            found.append(Expected(str(sample["id"]), chat, length, sample["answer"], bool(sample["ended"]), room))
    return found, len(samples) - len(found)


def _compare(
    run_folder: Path,
    plan: Plan,
    kind: str,
    entry: dict[str, Any],
    expected: list[Expected],
    replies: list[Reply | None],
) -> dict[str, Any]:
    """How many answers are those of training; those that part where two tokens tie are told apart from wrong ones."""
    wrong: list[tuple[Expected, Reply]] = []
    faults: list[Fault] = []
    for item, reply in zip(expected, replies, strict=True):
        if reply is None:
            faults.append(Fault(item.id, "got no answer"))
        elif reply.prompt_tokens != item.prompt_tokens:
            message = f"its prompt had {item.prompt_tokens} tokens in training and has {reply.prompt_tokens} here"
            faults.append(Fault(item.id, message))
        elif reply.text != item.answer:
            wrong.append((item, reply))
        elif (reply.finish == "stop") != item.ended:
            faults.append(
                Fault(item.id, "it ended in training and does not here" if item.ended else "it ends here only")
            )
    tied = 0
    for (item, reply), gap in zip(wrong, _gaps(run_folder, plan, kind, entry, wrong), strict=True):
        if gap is not None and gap <= rounding(entry):
            tied += 1
        else:
            faults.append(Fault(item.id, f"was {item.answer[:60]!r}, is {reply.text[:60]!r}"))
    equal = len(expected) - tied - len(faults)
    return {"equal": equal, "tied": tied, "total": len(expected), "differences": [str(fault) for fault in faults]}


def _gaps(
    run_folder: Path, plan: Plan, kind: str, entry: dict[str, Any], wrong: list[tuple[Expected, Reply]]
) -> list[float | None]:
    """For answers that differ: how far apart the exported model's logits of the two tokens are where they part."""
    if not wrong:
        return []
    samples = {str(sample["id"]): sample for sample in read_samples(run_folder)}
    folder = run_folder / entry["folder"]
    request = load_request(kind, entry, folder, run_folder, plan) | {"given": [reply.text for _, reply in wrong]}
    try:
        answers = reload_answers(request, [samples[item.id] for item, _ in wrong], plan, folder)["answers"]
    except TunebookError:
        return [None] * len(wrong)
    return [(answer["difference"] or {}).get("gap") for answer in answers]


def _limit(run_folder: Path, plan: Plan, folder: Path) -> int:
    """Tokens that the model takes in all; where no configuration says it, those of the plan's longest example."""
    from transformers import AutoConfig

    places = [folder]
    with suppress(ModelError):  # a GGUF folder has no config of its own
        places.append(model_folder(plan.model.name, run_folder))
    for place in places:
        with suppress(OSError, ValueError, AttributeError):
            return int(AutoConfig.from_pretrained(place).get_text_config().max_position_embeddings)
    return plan.data.max_length + plan.evaluation.max_new_tokens


def _sentence(failed: list[str], compared: dict[str, Any]) -> str:
    """The verdict in plain words."""
    if failed:
        return f"Do not deploy this model yet: {', '.join(failed)} failed."
    if not compared["total"]:
        return "It serves; there were no held-out answers to compare with over HTTP."
    ties = f", {compared['tied']} parting at a tie of two tokens" if compared["tied"] else ""
    left = f" {compared['left_out']} more could not be asked as conversations." if compared["left_out"] else ""
    return (
        f"Ready to deploy: over HTTP it answered {compared['total']} held-out prompts as in training{ties}; it "
        f"streams, ends its turns, takes a long prompt, refuses bad requests and serves {CALLERS} callers.{left}"
    )
