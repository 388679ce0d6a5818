"""How a run ended stands in its report, too. The steps here do nothing but write the report, as `monitor` does."""

from __future__ import annotations

import pytest

from tests.evaluate.runs import make_run
from tunebook.errors import RunError, Stopped
from tunebook.evaluate.report import write_report
from tunebook.files import read_json, write_json
from tunebook.runs.status import read_status
from tunebook.steps import STEP_IDS
from tunebook.workflow import runner


@pytest.fixture
def run_until(tmp_path, monkeypatch):
    """A function that walks the steps of a made run, whose `deploy` raises `error`, and returns the run."""

    def walk(error=None):
        run = make_run(tmp_path / "one")

        def monitor(context):
            write_report(context.run.folder)
            return {}

        def deploy(context):
            if error:
                raise error
            return {}

        steps = dict.fromkeys(STEP_IDS, lambda context: {}) | {"monitor": monitor, "deploy": deploy}
        monkeypatch.setattr(runner, "STEP_FUNCTIONS", steps)
        if error:
            with pytest.raises(type(error)):
                runner.run_steps(run)
        else:
            runner.run_steps(run)
        return run

    return walk


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("finished", None),
        ("stopped", Stopped("The run 'one' was stopped (SIGTERM).", exit_code=143)),
        ("failed", RunError("The exported files do not answer.")),
        ("failed", ZeroDivisionError("division by zero")),
    ],
)
def test_the_written_report_says_how_the_run_ended(run_until, state, error):
    run = run_until(error)
    written, status = read_json(run.report), read_status(run)
    assert status.state == written["state"] == state
    assert status.reason in ("", written["end"]["reason"])
    assert written["seconds"] == pytest.approx(status.spent)
    for name in ("report.md", "report.html"):
        text = (run.folder / name).read_text()
        assert "under way" not in text
        assert "Training ended after 60 optimizer steps" in text


def test_a_disk_that_is_full_at_the_end_does_not_change_how_the_run_ended(run_until, monkeypatch):
    room = iter([True])

    def write(path, value):
        if not next(room, False):
            raise OSError(28, "No space left on device")
        write_json(path, value)

    monkeypatch.setattr("tunebook.evaluate.report.write_json", write)
    run = run_until()
    assert read_status(run).state == "finished"
    assert read_json(run.report)["state"] == "running"
