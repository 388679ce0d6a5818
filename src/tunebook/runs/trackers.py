"""Trackers: a run's numbers shown in TensorBoard, Weights & Biases, MLflow or Trackio, when the plan names them.

A tracker reads the run's events, as the screen does, and in a thread of its own: training neither knows of it nor waits
for it, and what fails in it is a warning. Its library is loaded at the first number; it is then given every row that
counts so far, so that the curves of a resumed run are whole and hold nothing that was superseded.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.runs.events import Event, read_events
from tunebook.runs.metrics import metric_rows
from tunebook.runs.store import Run

CLOSING = 60.0  # seconds that a tracker has to take what is left when the run ends


@dataclass(frozen=True, slots=True)
class Sink:
    """An opened tracker: `log(step, values, seconds since 1970)` and `close()`; both may raise anything."""

    log: Callable[[int, Mapping[str, float], float], object]
    close: Callable[[], object]


class Follower:
    """A watcher of events that hands numbers to one tracker. `warn` is told, once, what went wrong."""

    def __init__(self, name: str, run: Run, settings: Mapping[str, Any], warn: Callable[[str], object]) -> None:
        self.name, self.run, self.settings, self.warn = name, run, settings, warn
        self.waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        self.fault = ""
        self.told = False

    def __call__(self, event: Event) -> None:
        """Take an event of the run; returns at once."""
        if self.fault:
            self._tell()
        elif event["kind"] in ("metrics", "evaluation"):
            if self.thread is None:
                for row in metric_rows(self.run):  # this event is among them
                    self.waiting.put(row)
                self.thread = threading.Thread(target=self._work, name=self.name, daemon=True)
                self.thread.start()
            else:
                self.waiting.put(event)

    def close(self) -> None:
        """Wait until the tracker has taken everything, but no longer than CLOSING."""
        if self.thread is not None:
            self.waiting.put(None)
            self.thread.join(CLOSING)
            if self.thread.is_alive():
                self.fault = self.fault or f"it had not taken everything {CLOSING:.0f} seconds after the end"
        if self.fault:
            self._tell()

    def _work(self) -> None:
        try:
            sink = TRACKERS[self.name].open(self.run, self.settings)
            while (event := self.waiting.get()) is not None:
                sink.log(event["step"], numbers(event), event["time"])
            sink.close()
        except BaseException as error:  # whatever a tracker raises, an exit included, the run goes on
            self.fault = f"{type(error).__name__}: {error}"

    def _tell(self) -> None:
        if not self.told:
            self.told = True
            title = TRACKERS[self.name].title
            self.warn(f"{title} gets no more numbers of this run ({self.fault}); events.jsonl has them all.")


def numbers(event: Event) -> dict[str, float]:
    """What a tracker shows of an event: its values that are finite."""
    return {name: value for name, value in event["values"].items() if value is not None}


def missing(names: tuple[str, ...]) -> list[str]:
    """Those whose library is not installed."""
    return [name for name in names if importlib.util.find_spec(TRACKERS[name].library) is None]


def _tensorboard(run: Run, settings: Mapping[str, Any]) -> Sink:
    """Event files in the run folder, so `tensorboard --logdir runs` shows every run."""
    folder = run.folder / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    writer = _library("torch.utils.tensorboard").SummaryWriter(str(folder))
    writer.add_text("plan", "\n".join(f"    {path}: {value}" for path, value in settings.items()))

    def log(step: int, values: Mapping[str, float], seconds: float) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step, walltime=seconds)

    return Sink(log, writer.close)


def _wandb(run: Run, settings: Mapping[str, Any]) -> Sink:
    """Project `tunebook`. Without a key or WANDB_MODE it writes `wandb/` in the run folder, for `wandb sync`."""
    wandb = _library("wandb")
    known = bool(os.environ.get("WANDB_API_KEY") or (Path.home() / ".netrc").exists())
    board = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "tunebook"),
        name=run.name,
        id=_key(run),
        resume="allow",
        dir=str(run.folder),
        config=dict(settings),
        mode=os.environ.get("WANDB_MODE") or ("online" if known else "offline"),
        settings=wandb.Settings(silent=True),
    )
    return Sink(lambda step, values, _: board.log(dict(values), step=step), board.finish)


def _mlflow(run: Run, settings: Mapping[str, Any]) -> Sink:
    """Experiment `tunebook` where MLFLOW_TRACKING_URI says, else in `mlruns/` beside the runs."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    entities = _library("mlflow.entities")
    client = _library("mlflow").MlflowClient(
        os.environ.get("MLFLOW_TRACKING_URI") or (run.folder.parent / "mlruns").as_uri()
    )
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "tunebook")
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    for earlier in client.search_runs([experiment], f"tags.tunebook = '{_key(run)}'"):
        client.delete_run(earlier.info.run_id)  # of a try before a resume; what counts of it comes again
    board = client.create_run(experiment, tags={"tunebook": _key(run)}, run_name=run.name).info.run_id
    client.log_batch(board, params=[entities.Param(path, str(value)[:6000]) for path, value in settings.items()])

    def log(step: int, values: Mapping[str, float], seconds: float) -> None:
        rows = [entities.Metric(name, value, int(1000 * seconds), step) for name, value in values.items()]
        client.log_batch(board, metrics=rows)

    return Sink(log, lambda: client.set_terminated(board))


def _trackio(run: Run, settings: Mapping[str, Any]) -> Sink:
    """Project `tunebook` in Trackio's own database on this machine (TRACKIO_DIR)."""
    trackio = _library("trackio")
    with contextlib.suppress(ValueError):  # no project yet
        for earlier in trackio.Api().runs("tunebook"):
            if earlier.name == _key(run):
                earlier.delete()  # of a try before a resume, as in MLflow
    with contextlib.redirect_stdout(sys.stderr):  # where its greeting does no harm
        board = trackio.init(
            project="tunebook",
            name=_key(run),
            config=dict(settings),
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
    return Sink(lambda step, values, _: board.log(dict(values), step=step), board.finish)


def _library(name: str) -> Any:
    """The module, loaded now: most people have none of them. What it would tell its makers, it does not."""
    for variable in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        os.environ.setdefault(variable, "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    return importlib.import_module(name)


def _key(run: Run) -> str:
    """The run's name with the time of its first event: another run of that name is another run there, too."""
    return f"{run.name}-{next(int(event['time']) for event in read_events(run.events)):x}"


@dataclass(frozen=True, slots=True)
class Tracker:
    """How it is called, the package that it comes in, and how it is opened for a run and its settings by path."""

    title: str
    library: str
    open: Callable[[Run, Mapping[str, Any]], Sink]


TRACKERS: Mapping[str, Tracker] = {
    "tensorboard": Tracker("TensorBoard", "tensorboard", _tensorboard),
    "wandb": Tracker("Weights & Biases", "wandb", _wandb),
    "mlflow": Tracker("MLflow", "mlflow", _mlflow),
    "trackio": Tracker("Trackio", "trackio", _trackio),
}
