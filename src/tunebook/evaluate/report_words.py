"""Sentences about a run that the Markdown and the HTML report share."""

from __future__ import annotations

import re
from typing import Any

from tunebook.evaluate.stats import FEWEST, Interval


def without_place(text: str, report: dict[str, Any]) -> str:
    """`text` without the run's folder and name, where it quotes them or names them in a command."""
    name = re.escape(report["name"])
    text = text.replace(report["folder"], "the run folder").replace(f"'{report['name']}'", "this run")
    return re.sub(rf"(`tunebook \w+) {name}(?=[` ])", r"\1 RUN", text)


def facts(report: dict[str, Any]) -> list[str]:
    """Model, data, method, size: one short piece each."""
    settings = report["settings"]
    found = [report["model"]] if report["model"] else []
    if settings.get("training_examples"):
        found.append(f"{settings['training_examples']:,} examples of {report['data']}")
    if settings:
        method = f"LoRA of rank {settings['rank']}" if settings["method"] == "lora" else "full fine-tuning"
        found.append(f"{method}, learning rate {settings['learning_rate']:g}, batch {settings['batch_size']}")
    if settings.get("trainable_parameters") and settings.get("parameters"):
        share = 100 * settings["trainable_parameters"] / settings["parameters"]
        found.append(f"{settings['trainable_parameters']:,} trained parameters ({share:.3g} %)")
    return found


def ending(report: dict[str, Any]) -> list[str]:
    """How training ended, which checkpoint is the result, how far each stopping rule had come."""
    end = report["end"]
    planned = f" of {end['planned_steps']:,} planned" if end["planned_steps"] else ""
    reason = f": {without_place(end['reason'], report).rstrip('.')}" if end["reason"] else ""
    under_way = report["state"] == "running" and not reason
    training = "Training is under way," if under_way else "Training ended after"
    told = [f"{training} {end['step']:,} optimizer steps{planned}{reason}."]
    if end["result_step"]:
        told.append(f"The result is the checkpoint of step {end['result_step']:,}.")
        if (count := end["chosen_of"] or 0) > 1:
            told.append(
                f"It was chosen among {count:,} evaluations for its loss on the held-out examples, which also judge it "
                "here: on new examples it may do a little less well."
            )
    return told + [f"Stopping rule, {rule['rule']}: {rule['text']}." for rule in end["stopping"]]


def reviewed(report: dict[str, Any]) -> list[str]:
    """What people said of the answers; nothing when nobody judged any."""
    found = report["reviews"]
    if not found:
        return []
    people = f"{found['reviewers']} {'people' if found['reviewers'] > 1 else 'person'}"
    verdicts = f" in {found['verdicts']} verdicts" if found["verdicts"] > found["judged"] else ""
    told = [
        f"{_answers(found['judged'])} judged by {people}{verdicts}, base and tuned in blind order: {_verdicts(found)}."
    ]
    if (result := found["result"])["step"] is not None and _verdicts(result) != _verdicts(found):
        told.append(f"Of these on the result, the checkpoint of step {result['step']:,}: {_verdicts(result)}.")
    if known := found["known"]:
        told.append(f"Not counted there: {known} given when the reviewer knew which of the answers was the base's.")
    told.append(f"{found['kept']} kept, {found['fixed']} fixed, {found['rejected']} rejected.")
    if found["rejected_checkpoints"]:
        told.append(f"Rejected checkpoints: {', '.join(map(str, found['rejected_checkpoints']))}.")
    if agreed := found["agreement"]:
        told.append(
            f"On {_answers(agreed['answers'])} that several judged, {100 * agreed['equal']:.0f} % of their verdicts "
            f"agree (Krippendorff's alpha {agreed['alpha']:.2f})."
        )
    return told


def _verdicts(counts: dict[str, Any]) -> str:
    return f"{counts['better']} better than the base's, {counts['same']} the same, {counts['worse']} worse"


def _answers(count: int) -> str:
    return f"{count} answer{'s' * (count != 1)}"


def judged(report: dict[str, Any]) -> list[str]:
    """What a judge model said of the answers; nothing when the plan named none."""
    found = report["judge"]
    if not found:
        return []
    if not found.get("interval"):
        return [f"{found['model']} gave no usable reply on any of {_answers(found['no_reply'])}."]
    interval = found["interval"]
    silent = f" It gave no usable reply on {found['no_reply']}." if found["no_reply"] else ""
    return [
        f"{found['model']}, asked in both orders, found the tuned answer better in {found['better']}, the same in "
        f"{found['same']} and worse in {found['worse']}: {interval['mean']:+.2f} on a scale from -1 to 1, "
        f"99 % interval {interval['low']:+.2f} to {interval['high']:+.2f}.{silent}"
    ]


def exported(report: dict[str, Any]) -> list[str]:
    """Each format with its size and whether it is the same model when loaded again; then the deployment test."""
    export = report["export"]
    if not export:
        return []
    told = []
    for kind, entry in export["formats"].items():
        parity = entry.get("parity") or {}
        first = f"{parity['file']} is " if parity.get("file") else ""
        told.append(f"{kind}, {entry.get('bytes', 0) / 1e6:,.1f} MB: {first}{_parity(parity)}")
        told += [f"{kind}: {file} is {_parity(other)}" for file, other in parity.get("files", {}).items()]
    if test := export.get("deployment"):
        told += [without_place(text, report) for text in _deployment(test)]
    return told


def _deployment(test: dict[str, Any]) -> list[str]:
    """What the deployment test found, over HTTP or from the files alone."""
    head, total = f"Deployment test {test.get('verdict')}: ", test.get("total")
    left = f"{test['left_out']} held-out prompts could not be asked as conversations." if test.get("left_out") else ""
    if test.get("method") == "http":
        failed = [f"{check['check']}: {check['detail']}" for check in test.get("checks", []) if not check["ok"]]
        return [head + str(test.get("sentence", "")), *failed, *([left] if left and (failed or not total) else [])]
    if not total:
        return [head + "the exported files load in a fresh process; there were no held-out answers to compare with."]
    tied = f", and {test['tied']} parted from them where two tokens tie" if test.get("tied") else ""
    return [
        f"{head}from the exported files alone, a fresh process gave {test.get('equal')} of {total} answers as the "
        f"tuned model had{tied}."
    ]


def sure(change: dict[str, Any]) -> bool:
    """Did it surely rise or fall, by its interval and by chance alone?"""
    found = Interval(**change)
    return found.up or found.down


def ends(change: dict[str, Any], digits: int) -> str:
    """The interval of a change; nothing where so few pairs have none."""
    return f"{change['low']:+.{digits}f} to {change['high']:+.{digits}f}" if change["n"] >= FEWEST else ""


def score_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of likeness and style: name, note, base, tuned, interval of the change, and whether it is sure.

    All scores are always there; those that the plan asks for by name stand first.
    """
    numbers = next(item["numbers"] for item in report["indicators"] if item["id"] == "answers")
    if "scores" not in numbers:
        return []
    base, tuned, style = numbers["scores"]["base"], numbers["scores"]["tuned"], numbers["style"]
    rows = []
    asked = report["settings"].get("checks", [])
    for key, name, note, digits in sorted(_SCORES, key=lambda score: score[0] not in asked):
        factor = 100 if key == "ended" else 1
        change = style.get(key)
        rows.append(
            {
                "name": name,
                "note": note + (", asked for" if key in asked else ""),
                "base": f"{factor * base[key]:.{digits}f}",
                "tuned": f"{factor * tuned[key]:.{digits}f}",
                "interval": ends(change, digits) if change else "",
                "sure": bool(change) and sure(change),
            }
        )
    return rows


_SCORES = (
    ("chrf", "chrF", "characters in common", 1),
    ("rouge_l", "ROUGE-L", "words in the same order", 1),
    ("bleu", "BLEU", "runs of words, over all answers at once", 1),
    ("exact_match", "Exact match", "word for word", 1),
    ("format_likeness", "Format", "lines, lists, code, endings", 1),
    ("length_likeness", "Length", "likeness to the reference's", 1),
    ("length_ratio", "Length ratio", "words for a word of the reference", 2),
    ("tokens", "Tokens", "in an answer, mean", 0),
    ("ended", "Ended", "share that ended by itself, %", 0),
)


def _parity(parity: dict[str, Any]) -> str:
    told = ["the same model when loaded again" if parity.get("ok") else "not the same model when loaded again"]
    if "changed_answers" in parity:
        told = ["a quantized form of the model"]
    if parity.get("mean_kl") is not None:
        told.append(f"divergence {parity['mean_kl']:.1e} nats")
    if parity.get("answers"):
        told.append(f"{parity.get('answers_equal')} of {parity['answers']} answers equal")
    return ", ".join(told)
