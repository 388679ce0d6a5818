"""`tunebook report`: one object with --json, a drawing without, a plain sentence where there is no run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.evaluate.runs import make_run
from tunebook.cli.report import report
from tunebook.errors import RunError


def test_json_is_one_object_on_standard_output_and_the_files_are_written(tmp_path):
    run = make_run(tmp_path / "first")
    done = CliRunner().invoke(report, ["first", "--runs", str(tmp_path), "--json"])
    assert done.exit_code == 0
    value = json.loads(done.stdout)
    assert [item["id"] for item in value["indicators"]] == ["training_loss", "validation", "answers", "retention"]
    assert all({"verdict", "why", "numbers"} <= set(item) for item in value["indicators"])
    assert sorted(path.name for path in run.folder.glob("report.*")) == ["report.html", "report.json", "report.md"]


def test_the_drawing_says_verdicts_headline_and_where_to_read_on(tmp_path):
    make_run(tmp_path / "first")
    done = CliRunner().invoke(report, ["first", "--runs", str(tmp_path)], terminal_width=110)
    assert done.exit_code == 0
    text = "".join(done.stdout.split())
    for words in (
        "the tuned model answers better",
        "Training loss falls ✓ yes",
        "In short: You can",
        "report.html",
    ):
        assert "".join(words.split()) in text
    assert "Theanswerthatgainedmost,of12:" in text


def test_a_run_that_is_not_there_is_said_in_a_sentence(tmp_path):
    done = CliRunner().invoke(report, ["nothing", "--runs", str(tmp_path)])
    assert isinstance(done.exception, RunError)
    assert "There is no run 'nothing'" in str(done.exception)


def test_a_folder_that_cannot_be_written_is_said_and_the_report_shown(tmp_path, monkeypatch):
    make_run(tmp_path / "first")

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tunebook.evaluate.report.write_text", full)
    done = CliRunner().invoke(report, ["first", "--runs", str(tmp_path), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["name"] == "first"
    assert "No space left" in done.stderr


@pytest.mark.parametrize("command", ["report"])
def test_help_loads_no_heavy_library(command):
    code = f"import sys; sys.argv = ['tunebook', '{command}', '--help']\nfrom tunebook.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass\n"
    code += "heavy = {'torch', 'transformers', 'numpy', 'pyarrow', 'scipy', 'rich'} & set(sys.modules)\n"
    code += "sys.exit(' '.join(heavy) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
