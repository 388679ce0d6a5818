"""Memory that runs out: found before step 1 on the longest examples, and got round with the same result."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.workflow.test_run import start
from tunebook.errors import TrainingError
from tunebook.evaluate.asked import asked
from tunebook.plan.files import make_plan
from tunebook.runs.events import read_events
from tunebook.runs.metrics import metric_rows
from tunebook.runs.store import open_run
from tunebook.train.forward import Engine
from tunebook.workers.group import Workers
from tunebook.workflow.out_of_memory import within_memory
from tunebook.workflow.training import unwatched


@pytest.fixture
def narrow(monkeypatch):
    """A function that lets `Engine.<method>` take at most so many tokens at once."""

    def limit(method, most):
        true = getattr(Engine, method)

        def limited(self, batch, *rest):
            if batch.tokens > most:
                raise MemoryError
            return true(self, batch, *rest)

        monkeypatch.setattr(Engine, method, limited)

    return limit


def losses(run):
    return [row["values"]["validation_loss"] for row in metric_rows(run) if row["kind"] == "evaluation"]


def kinds(run):
    """Kinds and codes of the run's events, in order."""
    return [event.get("code", event["kind"]) for event in read_events(run.events)]


@pytest.mark.slow
def test_evaluation_goes_on_with_fewer_tokens_at_once_and_finds_the_same(values, narrow):
    short = {**values["training"], "max_steps": 2}
    straight = start(values, "straight", training=short)
    narrow("losses", 80)
    tight = start(values, "tight", training=short)
    assert losses(tight) == pytest.approx(losses(straight), abs=1e-6)
    assert kinds(tight).count("out_of_memory") == 1
    assert kinds(tight).index("out_of_memory") < kinds(tight).index("metrics")


@pytest.mark.slow
def test_the_longest_examples_are_tried_before_step_1(values, narrow):
    narrow("forward_backward", 100)
    run = start(values, training={**values["training"], "max_steps": 2})
    assert kinds(run).index("out_of_memory") < kinds(run).index("evaluation") < kinds(run).index("metrics")


@pytest.mark.slow
def test_an_example_that_no_memory_holds_ends_the_run_before_anything_is_measured(values, narrow):
    narrow("forward_backward", 10)
    with pytest.raises(TrainingError, match="Memory ran out at optimizer step 1"):
        start(values)
    assert not {"evaluation", "metrics", "checkpoint"} & set(kinds(open_run("one")))


def test_memory_that_does_for_nothing_ends_in_a_sentence():
    context = SimpleNamespace(at_once={}, workers=Workers(), emit=lambda *_, **__: None)

    def work(tokens):
        raise MemoryError

    with pytest.raises(TrainingError, match="Memory ran out in general ability, with as few as"):
        within_memory(context, "general ability", 1000, work)


def test_the_prompts_that_are_answered_come_from_the_whole_file_and_are_the_same_on_each_try():
    picked = asked(1000, 20, seed=42)
    assert len(set(picked)) == 20
    assert picked == sorted(picked)
    assert sum(place < 500 for place in picked) in range(4, 17)
    assert asked(1000, 20, seed=42) == picked
    assert set(picked) < set(asked(1000, 30, seed=42))
    assert asked(5, 20, seed=42) == [0, 1, 2, 3, 4]


def test_a_rule_on_what_is_not_measured_is_told_before_training():
    rules = [
        {"kind": "threshold", "metric": "bleu", "op": ">", "value": 30},
        {"kind": "plateau", "patience": 3},
        {"kind": "budget", "amount": 3, "unit": "epochs"},
    ]
    sections = {"model": {"name": "m"}, "data": {"path": "d"}, "stopping": {"rules": rules}}
    plan = make_plan(sections | {"metrics": ["training_loss", "validation_loss"]})
    (said,) = unwatched(plan, held_out=True)
    assert said == "The stopping rule 'bleu > 30' cannot stop this run: bleu is not among the metrics of the plan."
    assert len(unwatched(plan, held_out=False)) == 2


@pytest.mark.parametrize(("prompts", "told"), [(0, ["bleu > 30", "response length > 300"]), (1, [])])
def test_a_rule_on_answers_that_nobody_asks_for_is_told_before_training(prompts, told):
    rules = [
        {"kind": "threshold", "metric": "bleu", "op": ">", "value": 30},
        {"kind": "threshold", "metric": "response_length", "op": ">", "value": 300},
        {"kind": "plateau", "patience": 3},
    ]
    sections = {"model": {"name": "m"}, "data": {"path": "d"}, "stopping": {"rules": rules}}
    plan = make_plan(sections | {"metrics": ["bleu", "response_length"], "evaluation": {"prompts": prompts}})
    why = "cannot stop this run: no held-out prompt is answered (evaluation.prompts is 0)."
    assert unwatched(plan, held_out=True) == [f"The stopping rule '{rule}' {why}" for rule in told]
