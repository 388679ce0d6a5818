"""`tunebook review` and `tunebook replay`, as someone at a terminal and as a script meet them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.evaluate.runs import make_run
from tunebook.cli.replay import replay
from tunebook.cli.review import review
from tunebook.evaluate.review import queue, read_reviews, rejected_steps


@pytest.fixture
def place(tmp_path):
    make_run(tmp_path / "first", review={"policy": "random", "count": 3})
    return tmp_path


def ask(place, *words, typed=""):
    return CliRunner().invoke(review, [*words, "--runs", str(place)], input=typed, terminal_width=100)


def test_judging_shows_both_answers_unnamed_and_keeps_the_verdict(place):
    done = ask(place, "first", "--reviewer", "ann", typed="a\nk\nfine\nq\n")
    assert done.exit_code == 0, done.output
    (row,) = read_reviews(place / "first")
    item = queue(place / "first")[0]
    first = item.first("ann")
    assert (row["reviewer"], row["note"], row["action"]) == ("ann", "fine", "keep")
    assert row["verdict"] == ("better" if first == "tuned" else "worse")
    before_choice = done.output.split("Which answers better?")[0]
    assert "tuned" not in before_choice
    assert f"{'A' if first == 'tuned' else 'B'} is the tuned model's" in done.output
    assert "Judged so far: 1 of 3." in done.output


def test_b_and_same_and_reject_the_checkpoint_mean_what_they_say(place):
    ask(place, "first", "--reviewer", "bob", typed="s\nr\n\nb\nx\nunsafe\nn\n")
    same, other = read_reviews(place / "first")[:2]
    assert (same["verdict"], same["action"]) == ("same", "reject")
    assert other["verdict"] == ("better" if other["first"] == "base" else "worse")
    assert rejected_steps(place / "first") == {60}


def test_judging_goes_on_where_it_was_left_and_says_when_all_is_done(place):
    ask(place, "first", "--reviewer", "ann", typed="s\nk\n\nq\n")
    again = ask(place, "first", "--reviewer", "ann", typed="s\nk\n\ns\nk\n\n")
    assert "1 of 2" in again.output
    assert "everything in the queue is judged" in ask(place, "first", "--reviewer", "ann").output


def test_a_fix_opens_the_answer_and_its_text_is_kept(place, monkeypatch):
    monkeypatch.setattr("click.edit", lambda text, **_: text + "\nMore.\n")
    ask(place, "judge", "first", "--reviewer", "ann", typed="s\nf\n\nq\n")
    (row,) = read_reviews(place / "first")
    assert row["action"] == "fix"
    assert row["fixed"] == queue(place / "first")[0].tuned.strip() + "\nMore."


def test_an_empty_queue_says_how_to_fill_it(tmp_path):
    make_run(tmp_path / "first")
    done = ask(tmp_path, "first")
    assert done.exit_code == 0
    assert "--policy all" in done.output


def test_status_counts_and_is_one_object_with_json(place):
    ask(place, "first", "--reviewer", "ann", typed="s\nk\n\nq\n")
    value = json.loads(ask(place, "status", "first", "--json").stdout)
    assert value["queue"] == 3
    assert value["reviews"]["same"] == 1
    assert "1 verdicts on 1 answers by 1: 0 better, 1 same" in ask(place, "status", "first").stdout


def test_replay_says_where_rules_end_a_run(place):
    words = ["first", "--runs", str(place), "--stop", "stop after 30 steps, or when the moon is full"]
    done = CliRunner().invoke(replay, words)
    assert done.exit_code == 0, done.output
    assert "end it after step 30" in done.stdout
    assert "moon" in done.stderr
    value = json.loads(CliRunner().invoke(replay, [*words, "--json"]).stdout)
    assert value["replayed"]["step"] == 30
    assert value["saved"]["steps"] == 30
    assert "moon" in value["not_understood"][0]


@pytest.mark.parametrize("module", ["review", "replay"])
def test_help_loads_no_heavy_library(module):
    code = f"import sys\nfrom tunebook.cli.{module} import {module} as command\n"
    code += "try:\n    command(['--help'])\nexcept SystemExit:\n    pass\n"
    code += "heavy = {'torch', 'transformers', 'numpy', 'pyarrow', 'scipy', 'rich', 'pydantic'} & set(sys.modules)\n"
    code += "sys.exit(' '.join(heavy) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
