"""What a run measures on the way: held-out loss, answers, general ability."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from tunebook.evaluate.ability import Retention
from tunebook.evaluate.asked import asked
from tunebook.evaluate.generate import Answer, generate
from tunebook.evaluate.heldout import HeldOut, held_out_loss
from tunebook.evaluate.mode import device_of
from tunebook.evaluate.retention import Probes, Question, load_probes, measure_retention, tokens_at_once
from tunebook.evaluate.scores import corpus_scores
from tunebook.workflow.context import Context
from tunebook.workflow.out_of_memory import within_memory

# through the model at once when prompts are answered, as long as memory allows
ANSWER_TOKENS = {"cpu": 4096, "mps": 4096, "cuda": 65536}


def evaluate(context: Context, step: int) -> dict[str, float]:
    """Held-out loss, and answers where a chosen metric needs them; files go to `evaluation/` and `samples/`."""
    values = _held_out(context, step)
    if {"bleu", "response_length"} & set(context.plan.metrics):
        values |= answer_prompts(context, step)
    return values


def _held_out(context: Context, step: int) -> dict[str, float]:
    """Measure held-out loss as the model stands and write it down; nothing where nothing is held out."""
    values: dict[str, float] = {}
    if len(context.validation_rows):
        held_out = measure_held_out(context)
        name = "heldout-base.json" if step == 0 else f"heldout-step-{step}.json"
        context.keep(held_out.to_json(step), "evaluation", name)
        values["validation_loss"] = held_out.loss
        if "perplexity" in context.plan.metrics:
            values["perplexity"] = held_out.perplexity
    return values


def measure_held_out(context: Context) -> HeldOut:
    """Held-out loss as the model stands; each worker reads its share of the examples."""
    examples = context.validation_examples

    def read(rows: Sequence[int]) -> Sequence[tuple[str, float, int]]:
        tell = context.progress("held-out loss")
        return within_memory(
            context,
            "evaluation",
            context.state.micro_batch_tokens,
            lambda tokens: held_out_loss(context.engine, examples, rows, tokens, tell).per_example,
        )

    rows = [int(row) for row in context.validation_rows]
    measured = HeldOut.of(context.workers.share(rows, examples.lengths[rows].tolist(), read))
    return replace(measured, groups=tuple(map(str, examples.groups[rows].tolist())))


def answer_prompts(context: Context, step: int) -> dict[str, float]:
    """Answer the held-out prompts as the model stands, write them down, and score them where the plan asks."""
    plan = context.plan
    held_out = context.validation_rows
    rows = held_out[asked(len(held_out), plan.evaluation.prompts, plan.training.seed)]
    if not len(rows):
        return {}
    examples = [context.validation_examples[int(row)] for row in rows]
    prompts = [example.prompt_ids.tolist() for example in examples]
    tell, new = context.progress("answers to held-out prompts"), plan.evaluation.max_new_tokens

    def answer(mine: Sequence[list[int]]) -> list[Answer]:
        def at_once(tokens: int) -> list[Answer]:
            model, tokenizer = context.model, context.tokenizer
            return generate(model, tokenizer, mine, max_new_tokens=new, batch_tokens=tokens, on_progress=tell)

        return within_memory(context, "answering", ANSWER_TOKENS[device_of(context.model).type], at_once)

    answers = context.workers.share(prompts, [1] * len(prompts), answer)  # how long answers get is not known
    kept = [
        {
            "id": example.id,
            "group": str(example.group),
            "prompt": context.tokenizer.decode(prompt, skip_special_tokens=False),
            "prompt_ids": prompt,
            "reference": example.reference,
            "answer": answer.text,
            "answer_ids": list(answer.ids),  # a text may be cut into other tokens than those that were written
            "tokens": len(answer.ids),
            "ended": answer.ended,
        }
        for example, prompt, answer in zip(examples, prompts, answers, strict=True)
    ]
    path = f"samples/step-{step}.json"
    context.keep({"format": 1, "step": step, "answers": kept}, path)
    context.emit("samples", step=step, path=path)
    values: dict[str, float] = {}
    if "response_length" in plan.metrics:
        values["response_length"] = sum(len(answer.ids) for answer in answers) / len(answers)
        values["response_ended"] = sum(answer.ended for answer in answers) / len(answers)
    if "bleu" in plan.metrics:
        values |= corpus_scores([answer.text for answer in answers], [example.reference for example in examples])
    return values


def measure_retention_of(context: Context, name: str) -> None:
    """Measure general ability as the model stands and write `evaluation/retention-<name>.json`."""
    wanted = context.plan.evaluation
    if not (wanted.retention or wanted.tasks):
        return
    probes, tell = load_probes() if wanted.retention else Probes((), ()), context.progress("general ability")

    def ask(mine: Sequence[Question | str]) -> list[tuple[float, float]]:
        questions = tuple(each for each in mine if isinstance(each, Question))
        prose = tuple(each for each in mine if isinstance(each, str))

        def read(tokens: int) -> Retention:
            return measure_retention(context.model, context.tokenizer, Probes(questions, prose), tell, tokens)

        part = within_memory(context, "general ability", tokens_at_once(context.model), read)
        return [*zip(part.correct, part.weight, strict=True), *part.prose]

    items: list[Question | str] = [*probes.questions, *probes.prose]
    letters = [len(each) if isinstance(each, str) else len(each.query + "".join(each.choices)) for each in items]
    measured = context.workers.share(items, letters, ask) if items else []
    answers, prose = measured[: len(probes.questions)], measured[len(probes.questions) :]
    found = Retention(
        tuple(bool(correct) for correct, _ in answers),
        tuple(weight for _, weight in answers),
        tuple((nats, int(tokens)) for nats, tokens in prose),
    )
    if wanted.tasks:
        from tunebook.evaluate.harness import measure_tasks

        found = replace(found, tasks=measure_tasks(context.model, context.tokenizer, wanted.tasks, wanted.task_limit))
    context.keep(found.to_json(), "evaluation", f"retention-{name}.json")


def measure_base(context: Context) -> dict[str, float]:
    """Measure the model as it stands before step 1, which is the base; returns the seconds that each part took."""
    context.engine.model.eval()
    started = time.perf_counter()
    values = _held_out(context, 0)
    measured = time.perf_counter()
    values |= answer_prompts(context, 0)
    answered = time.perf_counter()
    context.emit("evaluation", step=0, epoch=0.0, minutes=0.0, seen_tokens=0, values=values, best=False, stopping=[])
    measure_retention_of(context, "base")
    return {
        "held_out_seconds": measured - started,
        "answer_seconds": answered - measured,
        "retention_seconds": time.perf_counter() - answered,
    }
