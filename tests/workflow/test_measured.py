"""What a run measures and tells, asked of made-up contexts: no model is loaded."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tunebook.evaluate.heldout import HeldOut
from tunebook.workers.group import ALONE
from tunebook.workflow import evaluation, finish


@pytest.fixture
def context():
    """A context that keeps what it is told to write and to emit."""
    made = SimpleNamespace(
        kept={}, told=[], at_once={}, workers=ALONE, model=None, tokenizer=None, plan=SimpleNamespace()
    )
    made.keep = lambda value, *place: made.kept.update({"/".join(place): value})
    made.emit = lambda kind, **fields: made.told.append((kind, fields))
    made.progress = lambda what: lambda done, total: None
    return made


@pytest.mark.parametrize(("tasks", "kept"), [(("gsm8k",), {"gsm8k": [1.0, 0.0]}), ((), None)])
def test_tasks_are_asked_without_the_probes_of_general_ability(context, monkeypatch, tasks, kept):
    context.plan.evaluation = SimpleNamespace(retention=False, tasks=tasks, task_limit=2)
    measure = "tunebook.evaluate.harness.measure_tasks"
    monkeypatch.setattr(measure, lambda model, tokenizer, names, limit: dict.fromkeys(names, (1.0, 0.0)))
    evaluation.measure_retention_of(context, "base")
    found = context.kept.get("evaluation/retention-base.json")
    assert (found and found["tasks"]) == kept
    assert not found or (found["correct"], found["prose"]) == ([], [])


def test_held_out_rows_say_which_group_they_are_of(context, monkeypatch):
    context.validation_rows = np.array([2, 0])
    context.validation_examples = SimpleNamespace(lengths=np.array([5, 6, 7]), groups=np.array([2**64 - 1, 3, 4], "u8"))
    context.state, context.engine = SimpleNamespace(micro_batch_tokens=100), None
    measured = HeldOut.of([("c", 2.0, 4), ("a", 1.0, 4)])
    monkeypatch.setattr(evaluation, "held_out_loss", lambda *given: measured)
    rows = evaluation.measure_held_out(context).to_json(0)["per_example"]
    assert [(row["id"], row["group"]) for row in rows] == [("c", "4"), ("a", str(2**64 - 1))]


def test_a_warning_about_a_quantized_file_is_told_by_the_run(context, monkeypatch):
    context.plan.export = SimpleNamespace(formats=("gguf",))
    context.run = SimpleNamespace(folder=None)
    done = {"formats": {"gguf": {}}, "parity": {"warnings": ["Quantization changed this model much."]}}
    monkeypatch.setattr(finish, "held_out_prompts", lambda context: ([], 8))
    monkeypatch.setattr(finish, "export_run", lambda *given: done)
    assert finish.export(context) == {"formats": ["gguf"], "folder": "export"}
    assert context.told == [("warning", {"code": "export", "message": "Quantization changed this model much."})]
