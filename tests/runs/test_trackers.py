"""Trackers get every number that counts, in the libraries' own files; what fails in one is a warning and no more."""

from __future__ import annotations

import threading
from typing import get_args

import pytest

from tunebook.files import write_json
from tunebook.plan.schema import Tracker as Named
from tunebook.runs import trackers
from tunebook.runs.events import EventWriter
from tunebook.runs.store import FORMAT, Run
from tunebook.runs.trackers import TRACKERS, Follower, Sink, Tracker, numbers

SETTINGS = {"training.learning_rate": 1e-4, "model.name": "m"}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "colours"
    write_json(folder / "run.json", {"format": FORMAT, "name": "colours"})
    return Run(folder)


def metrics(step, loss):
    return {"step": step, "epoch": step / 4, "values": {"training_loss": loss, "gradient_norm/layers 0-1": 0.5}}


def tell(run, follower, first=1, last=4, resumed=None):
    """Emit a run's numbers as training does, to the file and to the tracker."""
    events = EventWriter(run.events)
    follower(events.emit("run", state="started", reason=""))
    if resumed is not None:
        follower(events.emit("run", state="resumed", step=resumed, reason=""))
    for step in range(first, last + 1):
        follower(events.emit("metrics", **metrics(step, 3 - step / 10)))
    values = {"validation_loss": 2.0 + last}
    follower(events.emit("evaluation", step=last, epoch=1.0, values=values, best=True))
    follower.close()


def follow(name, run, warnings):
    return Follower(name, run, SETTINGS, warnings.append)


def scalars(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run.folder / "tensorboard"))
    found.Reload()
    return {tag: [(e.step, pytest.approx(e.value)) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_holds_every_number_by_step(run):
    pytest.importorskip("tensorboard")
    warnings = []
    tell(run, follow("tensorboard", run, warnings))
    found = scalars(run)
    assert warnings == []
    assert found["training_loss"] == [(step, 3 - step / 10) for step in range(1, 5)]
    assert found["gradient_norm/layers 0-1"] == [(step, 0.5) for step in range(1, 5)]
    assert found["validation_loss"] == [(4, 6.0)]


def test_a_resumed_runs_curve_is_whole_and_holds_nothing_superseded(run):
    pytest.importorskip("tensorboard")
    tell(run, follow("tensorboard", run, []), last=4)
    tell(run, follow("tensorboard", run, []), first=3, last=6, resumed=2)
    found = scalars(run)
    assert [step for step, _ in found["training_loss"]] == [1, 2, 3, 4, 5, 6]
    assert found["validation_loss"] == [(6, 8.0)]


def test_mlflow_holds_one_run_with_settings_and_numbers_also_after_a_resume(run, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    warnings = []
    tell(run, follow("mlflow", run, warnings), last=4)
    tell(run, follow("mlflow", run, warnings), first=3, last=6, resumed=2)
    client = mlflow.MlflowClient((run.folder.parent / "mlruns").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("tunebook").experiment_id])
    assert warnings == []
    assert (found.info.run_name, found.info.status) == ("colours", "FINISHED")
    assert found.data.params["model.name"] == "m"
    assert [m.step for m in client.get_metric_history(found.info.run_id, "training_loss")] == [1, 2, 3, 4, 5, 6]


def test_trackio_holds_every_number_also_after_a_resume(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    warnings = []
    tell(run, follow("trackio", run, warnings), last=4)
    tell(run, follow("trackio", run, warnings), first=3, last=6, resumed=2)
    (name,) = storage.get_runs("tunebook")
    rows = storage.get_logs("tunebook", name)
    assert warnings == []
    assert name.startswith("colours-")
    losses = [(row["step"], pytest.approx(row["training_loss"])) for row in rows if "training_loss" in row]
    assert losses == [(step, 3 - step / 10) for step in range(1, 7)]


def test_wandb_writes_offline_without_a_key(run, monkeypatch):
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(run.folder))
    warnings = []
    tell(run, follow("wandb", run, warnings))
    assert warnings == []
    assert list((run.folder / "wandb").glob("offline-run-*/*.wandb"))


def test_values_that_are_not_finite_are_left_out():
    event = {"kind": "metrics", "values": {"training_loss": None, "memory": 1.0}}
    assert numbers(event) == {"memory": 1.0}


@pytest.mark.parametrize("where", ["open", "log", "close"])
def test_what_fails_in_a_tracker_is_one_warning_and_the_run_goes_on(run, monkeypatch, where):
    def fail(*_):
        raise SystemExit("no such server")

    def work(*_):
        return Sink(*(fail if where == place else (lambda *_: None) for place in ("log", "close")))

    opened = fail if where == "open" else work
    monkeypatch.setattr(trackers, "TRACKERS", {"mlflow": Tracker("MLflow", "mlflow", opened)})
    warnings = []
    tell(run, follow("mlflow", run, warnings), last=8)
    (warning,) = warnings
    assert "MLflow gets no more numbers" in warning
    assert "no such server" in warning


def test_a_tracker_that_hangs_holds_nothing_up(run, monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(trackers, "CLOSING", 0.05)
    sink = Sink(lambda *_: never.wait(), lambda: None)
    monkeypatch.setattr(trackers, "TRACKERS", {"wandb": Tracker("W&B", "wandb", lambda *_: sink)})
    warnings = []
    tell(run, follow("wandb", run, warnings))
    never.set()
    assert len(warnings) == 1
    assert "had not taken everything" in warnings[0]


def test_a_run_without_numbers_opens_nothing(run, monkeypatch):
    monkeypatch.setattr(trackers, "TRACKERS", {})
    follower = follow("tensorboard", run, [])
    follower(EventWriter(run.events).emit("run", state="started", reason=""))
    follower.close()


def test_the_plan_names_the_trackers_that_there_are():
    assert set(get_args(Named)) == set(TRACKERS)
