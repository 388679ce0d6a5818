"""`tunebook page check`, `page play` and `order check`: what they print, and how they end."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from tunebook.cli.app import app
from tunebook.steps import BY_ID, STEP_IDS

REFERENCE = Path(__file__).parents[3] / "shared/seed/phase-3-fine-tuning.md"
PAGE = """\
---
title: Quiz
phase: 1
---
## Ask
{type: form}
**Rate**
{type: select, options: ["1e-5", "3e-5 (Recommended)"]}
**Why**
{type: textarea, placeholder: "Because", required: true}
## Order
{type: ranking, title: Which first}
- One (a)
- Two
{type: navigation, previous: A, next: B}
"""


def run(*arguments: str, text: str | bytes | None = None) -> Result:
    """Call the command in this process; what goes wrong inside is raised."""
    return CliRunner().invoke(app, arguments, input=text, catch_exceptions=False)


def tunebook(*arguments: str, folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Call the command as a user does, with `folder` as the working folder."""
    command = [sys.executable, "-m", "tunebook", *arguments]
    return subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def quiz(tmp_path: Path) -> Path:
    path = tmp_path / "quiz.md"
    path.write_text(PAGE)
    return path


def test_page_check_prints_the_page_as_one_json_object(quiz: Path) -> None:
    done = run("page", "check", str(quiz), "--json")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "id": "quiz",
        "title": "Quiz",
        "subtitle": "",
        "phase": 1,
        "components": [
            {
                "id": "ask",
                "type": "form",
                "title": "Ask",
                "line": 6,
                "fields": [
                    {"id": "rate", "label": "Rate", "type": "select", "options": ["1e-5", "3e-5 (Recommended)"]},
                    {"id": "why", "label": "Why", "type": "textarea", "required": True, "placeholder": "Because"},
                ],
            },
            {
                "id": "which-first",
                "type": "ranking",
                "title": "Which first",
                "line": 12,
                "items": [{"id": "one", "label": "One", "note": "a"}, {"id": "two", "label": "Two", "note": ""}],
            },
            {"id": "navigation", "type": "navigation", "title": "Navigation", "line": 15, "previous": "A", "next": "B"},
        ],
        "problems": [],
    }


def test_page_check_reads_standard_input_and_exits_1_with_every_error() -> None:
    done = run("page", "check", "-", "--json", text=PAGE.replace("select", "selekt").replace("title:", "titel:", 1))
    assert done.exit_code == 1
    problems = json.loads(done.stdout)["problems"]
    assert [(problem["line"], problem["severity"]) for problem in problems] == [
        (1, "error"),
        (2, "warning"),
        (8, "error"),
    ]


def test_page_check_without_json_tells_place_and_message(quiz: Path) -> None:
    quiz.write_text(PAGE.replace("select", "selekt") + "\n- a\n{type: information, sets: a.b}")
    done = run("page", "check", str(quiz))
    assert done.exit_code == 1
    assert f"{quiz}:8: error: unknown type 'selekt'; did you mean select?" in done.stderr
    assert f"{quiz}:18: warning: `sets` does nothing here" in done.stderr


def test_a_warning_alone_exits_0(quiz: Path) -> None:
    quiz.write_text(PAGE.replace("phase", "fase"))
    assert run("page", "check", str(quiz)).exit_code == 0


def test_a_page_that_is_not_there_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    done = tunebook("page", "check", "phase-3-finetuning", "--json", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("'phase-3-finetuning' is neither a file nor the name of a built-in page")
    assert "did you mean phase-3-fine-tuning?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["phase-2-dataset-preparation", "phase-3-fine-tuning", "phase-4-model-comparison"])
def test_built_in_pages_are_checked_by_name(name: str) -> None:
    done = run("page", "check", name, "--json")
    assert (done.exit_code, json.loads(done.stdout)["problems"]) == (0, [])


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference page does not stand beside this checkout")
def test_the_reference_page_checks_and_plays_by_defaults(tmp_path: Path) -> None:
    done = tunebook("page", "check", str(REFERENCE), "--json", folder=tmp_path)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["components"]) == 9
    done = tunebook("page", "play", str(REFERENCE), "--answers", "out.yaml", "--defaults", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    document = yaml.safe_load((tmp_path / "out.yaml").read_text())
    assert set(document) == {"format", "page", "answers"}
    assert len(document["answers"]) == 11


def test_play_with_defaults_tells_what_only_the_reader_can_answer(quiz: Path, tmp_path: Path) -> None:
    done = tunebook("page", "play", str(quiz), "--defaults", folder=tmp_path)
    assert done.returncode == 1
    assert "why: 'Why' is required and has no answer" in done.stderr
    assert not (tmp_path / "answers.yaml").exists()


def test_play_without_a_terminal_says_what_to_do(quiz: Path, tmp_path: Path) -> None:
    done = tunebook("page", "play", str(quiz), folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("There is no terminal to ask in. Use --defaults")


def test_ctrl_c_in_a_real_terminal_keeps_the_typed_text_and_exits_130(quiz: Path, tmp_path: Path) -> None:
    child, screen = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tunebook", "page", "play", "quiz.md"],
            os.environ | {"TERM": "xterm"},
        )
    shown = read_until(screen, "Rate")
    os.write(screen, b"\x1b[A\r")
    shown += read_until(screen, "Because")
    os.write(screen, b"half a sen\x03")
    shown += read_until(screen, "goes on")
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 130
    document = yaml.safe_load((tmp_path / "answers.yaml").read_text())
    assert document["partial"] is True
    assert document["answers"] == {"rate": "1e-5", "why": "half a sen", "which-first": ""}
    assert "Stopped after 2 of 3 answers" in shown


def read_until(screen: int, text: str) -> str:
    """What a terminal shows until it shows `text`; it answers when the program asks where the cursor is."""
    shown = b""
    end = time.monotonic() + 60
    while text.encode() not in shown:
        ready = select.select([screen], [], [], end - time.monotonic())[0]
        assert ready, f"waited for {text!r} and saw {shown!r}"
        piece = os.read(screen, 65536)
        if b"\x1b[6n" in piece:
            os.write(screen, b"\x1b[1;1R")
        shown += piece
    return shown.decode(errors="replace")


def test_a_valid_order_exits_0() -> None:
    done = run("order", "check", "-", "--json", text="\n".join(BY_ID[step].title for step in STEP_IDS))
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["valid"], found["violations"], found["unknown"], found["missing"]) == (True, [], [], [])


def test_an_order_that_cannot_work_exits_1_and_names_the_pair() -> None:
    order = ["split", "validate", *(step for step in STEP_IDS if step not in ("split", "validate"))]
    done = run("order", "check", "-", "--json", text="\n".join(order))
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert [(pair["first"], pair["second"]) for pair in found["violations"]] == [("validate", "split")]
    assert found["workable"] == 9


def test_missing_and_unknown_steps_exit_1(tmp_path: Path) -> None:
    (tmp_path / "order.txt").write_bytes(b"\xef\xbb\xbf1. Load the base model and tokenizer\r\n2. Dance\r\n\xff\r\n")
    done = run("order", "check", str(tmp_path / "order.txt"), "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["unknown"][0], len(found["unknown"]), len(found["missing"])) == ("Dance", 2, 9)
    assert "'Dance' is not one of the ten steps." in run("order", "check", str(tmp_path / "order.txt")).stderr


def test_bad_usage_exits_2(tmp_path: Path) -> None:
    assert tunebook("page", "check", folder=tmp_path).returncode == 2
    assert tunebook("order", "check", "nowhere.txt", folder=tmp_path).returncode == 2
    assert tunebook("page", "play", "x", "--nope", folder=tmp_path).returncode == 2


@pytest.mark.parametrize("command", [["page"], ["page", "check"], ["page", "play"], ["order"], ["order", "check"]])
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; from tunebook.cli.app import app\n"
        f"app({[*command, '--help']!r}, standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pyarrow', 'rich', 'questionary', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage:")
