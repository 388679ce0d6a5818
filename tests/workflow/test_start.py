"""What is refused before a run folder is made: one sentence, and nothing left behind."""

from __future__ import annotations

import pytest

from tunebook.errors import TunebookError
from tunebook.plan.files import make_plan
from tunebook.runs.store import runs_folder
from tunebook.workflow.start import prepare_run


def refused(values, **sections):
    """The message with which a plan is refused; no run folder may be left."""
    changed = {key: value | sections.get(key, {}) for key, value in values.items()}
    with pytest.raises(TunebookError) as error:
        prepare_run(make_plan(changed), "one", runs_folder())
    folder = runs_folder()
    assert not folder.exists() or not list(folder.iterdir())
    return str(error.value)


def test_a_missing_data_file_is_named(values, home):
    assert "nowhere.jsonl" in refused(values, data={"path": str(home / "nowhere.jsonl")})


def test_an_unreadable_data_file_is_refused(values, home):
    (home / "bytes.jsonl").write_bytes(b"\xff\xfe\x00\x01" * 50)
    assert "bytes.jsonl" in refused(values, data={"path": str(home / "bytes.jsonl")})


def test_an_empty_data_set_is_refused(values, home):
    (home / "empty.jsonl").write_text("")
    assert "empty.jsonl" in refused(values, data={"path": str(home / "empty.jsonl")})


def test_a_data_set_without_one_trained_token_is_refused(values, home):
    row = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "train": false}]}\n'
    (home / "none.jsonl").write_text(row * 3)
    assert "none.jsonl" in refused(values, data={"path": str(home / "none.jsonl")})


def test_an_unknown_model_is_refused(values):
    assert "no-such-model" in refused(values, model={"name": "./no-such-model"})


def test_more_memory_than_there_is_is_refused(values, monkeypatch):
    from tunebook.workflow import start

    monkeypatch.setattr(start, "weights_bytes", lambda *_: 10**15)
    assert "GB of memory" in refused(values)


def test_a_run_name_that_exists_is_refused_and_the_run_untouched(values):
    run = prepare_run(make_plan(values), "one", runs_folder())
    before = sorted(path.name for path in run.folder.iterdir())
    with pytest.raises(TunebookError, match="A run named 'one' exists"):
        prepare_run(make_plan(values), "one", runs_folder())
    assert sorted(path.name for path in run.folder.iterdir()) == before


@pytest.mark.parametrize("name", ["Big", "-x", "a/b", "", "..", "a" * 65, "x\n", "$(touch x)"])
def test_a_name_that_cannot_be_a_runs_is_refused(values, name):
    with pytest.raises(TunebookError, match="cannot be the name of a run"):
        prepare_run(make_plan(values), name or " ", runs_folder())


def test_a_folder_that_cannot_be_written_is_refused(values, home):
    (home / "file").write_text("")
    with pytest.raises(TunebookError, match="cannot be written"):
        prepare_run(make_plan(values), "one", home / "file" / "runs")
