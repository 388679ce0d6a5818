"""Memory that runs out: found before step 1 on the longest examples, and got round with the same result."""

from __future__ import annotations

import pytest

from tests.workflow.test_run import start
from tunebook.errors import TrainingError
from tunebook.runs.events import read_events
from tunebook.runs.metrics import metric_rows
from tunebook.runs.store import open_run
from tunebook.train.forward import Engine


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
