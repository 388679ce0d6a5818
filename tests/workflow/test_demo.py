"""The demo's plan, and its word on a result, without training anything."""

from __future__ import annotations

import pytest

from tests.workflow.conftest import base, home, values  # noqa: F401  (fixtures)
from tunebook.cli.run import DEMO_SETTINGS
from tunebook.errors import TrainingError
from tunebook.files import write_json
from tunebook.plan.files import origin_of
from tunebook.runs.store import Run
from tunebook.workflow import start
from tunebook.workflow.demo import demo_plan, judge_demo


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setattr(start, "find_model", lambda *_: type("Found", (), {"kind": "gguf"}))
    return demo_plan(list(DEMO_SETTINGS))[0]


def test_the_demos_plan_comes_from_the_shipped_answers_and_accepted_advice(plan):
    assert plan.training.learning_rate == 1e-3
    assert origin_of(plan, "training.learning_rate")[0] == "advice"
    assert origin_of(plan, "training.batch_size")[0] == "answer"
    assert origin_of(plan, "training.epochs.max")[0] == "set"
    assert origin_of(plan, "data.path")[0] == "set"
    assert plan.not_understood == ()
    assert plan.stopping.rules[0].kind == "plateau"


def result(folder, base_loss, tuned_loss):
    """A run folder as far as the demo's last word reads it."""
    for side, loss in (("base", base_loss), ("tuned", tuned_loss)):
        write_json(folder / "evaluation" / f"heldout-{side}.json", {"step": 4, "loss": loss, "tokens": 9})
    for step, words in ((0, "words"), (4, "other words")):
        rows = [{"prompt": "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n", "answer": words}]
        write_json(folder / "samples" / f"step-{step}.json", {"answers": rows})
    write_json(folder / "report.json", {"indicators": [{"id": "validation", "verdict": "yes", "why": "it fell"}]})
    return Run(folder)


def test_the_demo_says_by_how_much_and_shows_answers(tmp_path):
    text = judge_demo(result(tmp_path, 3.0, 2.4))
    assert "from 3.000 to 2.400 (20 %)" in text
    assert "Asked:  Why?\nBase:   words\nTuned:  other words" in text


def test_a_demo_that_answered_no_prompt_says_by_how_much_all_the_same(tmp_path):
    run = result(tmp_path, 3.0, 2.4)
    for file in (tmp_path / "samples").iterdir():
        file.unlink()
    text = judge_demo(run)
    assert "from 3.000 to 2.400 (20 %)" in text
    assert "Asked:" not in text


@pytest.mark.parametrize("tuned", [3.0, 3.1])
def test_the_demo_fails_when_the_tuned_model_is_not_better(tmp_path, tuned):
    with pytest.raises(TrainingError, match="not better than its base"):
        judge_demo(result(tmp_path, 3.0, tuned))
