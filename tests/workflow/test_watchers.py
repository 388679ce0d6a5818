"""Who else hears of a run: trackers and a judge model that the plan names; neither can end it."""

from __future__ import annotations

import pytest

from tests.evaluate.test_judge import serve  # noqa: F401  (a fixture)
from tests.workflow.test_run import start
from tunebook.errors import RunError
from tunebook.files import read_json
from tunebook.runs import trackers
from tunebook.runs.metrics import metric_rows
from tunebook.runs.status import read_status
from tunebook.runs.store import runs_folder
from tunebook.runs.trackers import Sink, Tracker


def use(monkeypatch, opened):
    """Put `opened` in TensorBoard's place, as if it were installed."""
    monkeypatch.setattr(trackers, "TRACKERS", {"tensorboard": Tracker("TensorBoard", "json", opened)})


@pytest.mark.slow
def test_a_tracker_that_the_plan_names_gets_every_number_of_the_run(values, monkeypatch):
    told, closed = [], []

    def opened(run, settings):
        told.append(settings["training.learning_rate"])
        return Sink(lambda step, numbers, _: told.append((step, dict(numbers))), lambda: closed.append(True))

    use(monkeypatch, opened)
    run = start(values, trackers=["tensorboard"])
    rows = [(row["step"], trackers.numbers(row)) for row in metric_rows(run)]
    assert told == [3e-3, *rows]
    assert closed == [True]
    assert read_status(run).warnings == []


@pytest.mark.slow
def test_a_tracker_that_fails_is_a_warning_in_a_run_that_finishes(values, monkeypatch):
    def opened(run, settings):
        raise ConnectionError("no route")

    use(monkeypatch, opened)
    status = read_status(start(values, trackers=["tensorboard"]))
    assert status.state == "finished"
    (warning,) = status.warnings
    assert "TensorBoard gets no more numbers of this run (ConnectionError: no route)" in warning


def test_what_is_not_installed_is_said_before_anything_is_made(values, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match="not installed: MLflow") as caught:
        start(values, trackers=["mlflow"])
    assert "tunebook[mlflow]" in caught.value.do
    with pytest.raises(RunError, match="lm-evaluation-harness"):
        start(values, evaluation={"tasks": ["arc_easy"]})
    assert not runs_folder().exists()


@pytest.mark.slow
def test_the_plans_judge_is_asked_and_its_word_stands_in_the_report(values, serve):  # noqa: F811
    address, seen = serve(lambda text: "S")
    run = start(values, quality={"judge": address})
    judged = read_json(run.report)["judge"]
    assert judged["better"] + judged["same"] + judged["worse"] == 3
    assert all("Which of A and B" in body["messages"][0]["content"] for _, _, body in seen)


@pytest.mark.slow
def test_a_judge_that_cannot_be_reached_is_a_warning_in_a_run_that_finishes(values):
    status = read_status(start(values, quality={"judge": "http://127.0.0.1:9/v1"}))
    assert status.state == "finished"
    assert any("could not be asked" in warning for warning in status.warnings)
