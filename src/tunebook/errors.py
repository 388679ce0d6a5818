"""Everything that Tunebook raises on purpose.

TunebookError            the work could not be done: what happened, what was kept, what to do
├── PageError            a page has faults, or an answers file does not fit its page
├── PlanError            a plan, a rule or a `--set` is not usable
├── DataError            a data set cannot be read, or must not reach training
├── ModelError           a base model or tokenizer cannot be found, read or used
├── RunError             a run folder: name taken, unwritable, locked, damaged, not there
│   └── CheckpointError  a checkpoint is damaged, or could not be written
├── TrainingError        training ended itself: non-finite loss, out of memory at one example
├── WorkerLost           another worker of the run is gone or does not answer (a worker's exit code: 75, "try again")
├── ExportError          exported files differ from the model that was measured, or were not written
└── Stopped              a signal or `tunebook stop` ended the run after saving (exit 130 or 143)

Each is one plain sentence or a few. `faults` holds every fault of an input, so that all are told at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input, at one place (a line, a field, a plan path)."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class TunebookError(Exception):
    """The work could not be done. `what` happened, what was `kept`, what to `do`: plain sentences for the user."""

    exit_code = 1

    def __init__(self, what: str, *, kept: str = "", do: str = "", faults: Sequence[Fault] = ()) -> None:
        self.what, self.kept, self.do, self.faults = what, kept, do, tuple(faults)
        super().__init__(str(self))

    def __str__(self) -> str:
        sentence = " ".join(part for part in (self.what, self.kept, self.do) if part)
        return "\n".join([sentence, *(f"  {fault}" for fault in self.faults)])


class PageError(TunebookError):
    """A page has faults, or an answers file does not fit its page."""


class PlanError(TunebookError):
    """A plan, a rule or a `--set` is not usable."""


class DataError(TunebookError):
    """A data set cannot be read, or must not reach training."""


class ModelError(TunebookError):
    """A base model or tokenizer cannot be found, read or used."""


class RunError(TunebookError):
    """A run folder: name taken, unwritable, locked, damaged, not there."""


class CheckpointError(RunError):
    """A checkpoint is damaged, or could not be written."""


class TrainingError(TunebookError):
    """Training ended itself: non-finite loss, or out of memory at one example."""


class WorkerLost(TunebookError):
    """Another worker is gone or does not answer. Exit code 75 (EX_TEMPFAIL): trying again may help."""

    exit_code = 75


class ExportError(TunebookError):
    """Exported files differ from the model that was measured, or were not written."""


class Stopped(TunebookError):
    """The run was asked to stop and did, after saving. `exit_code` is 130 (SIGINT), 143 (SIGTERM) or 0 (stop)."""

    def __init__(self, what: str, *, exit_code: int, kept: str = "", do: str = "") -> None:
        super().__init__(what, kept=kept, do=do)
        self.exit_code = exit_code
