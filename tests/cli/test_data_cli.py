"""`tunebook data check` and `data show`, called as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.tiny import save_tiny
from tunebook.cli.app import app
from tunebook.errors import DataError, ModelError

ROWS = [{"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(5)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny"))


def save(path, rows) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def run(*arguments: str):
    return CliRunner().invoke(app, ["data", *arguments])


def test_check_prints_one_json_object_with_the_promised_keys(tmp_path, model):
    done = run("check", save(tmp_path / "rows.jsonl", [*ROWS, ROWS[0]]), "--model", model, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {"format", "rows", "good", "problems", "duplicates", "tokens"} <= set(found)
    assert (found["format"], found["rows"], found["good"], found["duplicates"]) == ("prompt", 6, 6, 1)
    assert found["problems"] == [
        {"line": 6, "code": "duplicate", "severity": "warning", "message": "says the same as line 1"}
    ]
    assert found["tokens"]["trained"] > 0


def test_check_exits_1_when_a_row_has_an_error_and_says_where_the_bad_rows_are(tmp_path):
    done = run("check", save(tmp_path / "rows.jsonl", [*ROWS, "broken"]), "--json")
    assert done.exit_code == 1
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["line"], problem["code"], problem["severity"]) == (6, "bad_json", "error")
    assert "quarantine.jsonl" in done.stderr


def test_check_tells_people_the_same_in_words(tmp_path, model):
    done = run("check", save(tmp_path / "rows.jsonl", [*ROWS, "broken"]), "--model", model)
    assert done.exit_code == 1
    assert "jsonl file in prompt form: 6 rows, 5 good, 1 bad" in done.stdout
    assert "line 6: error: not valid JSON" in done.stdout
    assert "end of turn <|im_end|> is trained" in done.stdout


def test_check_takes_a_column_mapping(tmp_path):
    path = save(tmp_path / "rows.jsonl", [{"text": f"t{i}", "label": "x"} for i in range(3)])
    unknown = run("check", path)
    assert isinstance(unknown.exception, DataError)
    assert "--columns prompt=text --columns completion=label" in str(unknown.exception)
    done = run("check", path, "--columns", "prompt=text", "--columns", "completion=label", "--json")
    assert json.loads(done.stdout)["good"] == 3
    assert run("check", path, "--columns", "prompt").exit_code == 2


def test_show_gives_text_and_tokens_that_join_to_it_with_what_is_trained(tmp_path, model):
    path = save(tmp_path / "rows.jsonl", [*ROWS, {"prompt": "Größe?", "completion": "🦊 naïve"}])
    shown = json.loads(run("show", path, "--model", model, "--row", "6", "--json").stdout)
    assert set(shown) == {"text", "tokens"}
    assert set(shown["tokens"][0]) == {"id", "text", "trained"}
    assert "".join(token["text"] for token in shown["tokens"]) == shown["text"]
    assert "".join(token["text"] for token in shown["tokens"] if token["trained"]) == "🦊 naïve<|im_end|>"


def test_show_marks_what_is_trained_where_there_is_no_colour(tmp_path, model):
    done = run("show", save(tmp_path / "rows.jsonl", ROWS), "--model", model, "--row", "2")
    assert "[answer 1<|im_end|>]" in done.stdout


def test_show_of_a_bad_or_missing_row_says_why(tmp_path, model):
    path = save(tmp_path / "rows.jsonl", [*ROWS, "broken"])
    bad = run("show", path, "--model", model, "--row", "6")
    assert isinstance(bad.exception, DataError)
    assert "Row 6" in str(bad.exception)
    assert "not valid JSON" in str(bad.exception)
    missing = run("show", path, "--model", model, "--row", "7")
    assert "has no row 7" in str(missing.exception)
    assert run("show", path, "--model", model, "--row", "0").exit_code == 2


def test_an_unknown_model_is_told_before_the_data_is_read(tmp_path):
    done = run("check", save(tmp_path / "rows.jsonl", ROWS), "--model", "./nowhere")
    assert isinstance(done.exception, ModelError)


def test_help_loads_no_heavy_library():
    code = (
        "import sys, tunebook.cli.data\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pyarrow', 'rich', 'scipy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
