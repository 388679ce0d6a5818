"""The terminal player, driven by the keys that a reader presses."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from tunebook.errors import PageError, Stopped
from tunebook.pages import answers, player, terminal
from tunebook.pages.answers import check_answers, save_answers
from tunebook.pages.catalog import load_page
from tunebook.pages.page import Page
from tunebook.pages.parser import parse_page
from tunebook.steps import BY_ID, STEP_IDS

UP, DOWN, ENTER, SPACE, CTRL_C, ALT_ENTER = "\x1b[A", "\x1b[B", "\r", " ", "\x03", "\x1b\r"

PAGE = """\
---
title: Quiz
subtitle: A small one
---
Read <b>this</b> first.

## Ask
{type: form}
### Numbers
Think before you answer.

**Rate**
{type: select, options: ["1e-5", "3e-5 (Recommended)", "Custom rate"]}

**Count**
{type: number, min: 1, max: 10, required: true}

**Why**
{type: textarea}

**Sure**
{type: checkbox}

## Which
{type: selection, multiple: true}
- Loss
- Speed

{type: navigation, next: "Phase 2: Dataset Preparation", previous: Nowhere}
"""
ORDER = "---\ntitle: Order\n---\n## Steps\n{type: ranking}\n```\n" + "\n".join(
    BY_ID[step].title for step in ("validate", "initialize", *STEP_IDS[2:])
)


@pytest.fixture(autouse=True)
def _no_waiting_for_keys_that_never_come() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("the player waits for a key")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield pipe


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(player, "Console", lambda **_: Console(file=written, width=100, highlight=False))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    return written


@pytest.fixture
def page(tmp_path: Path) -> Page:
    path = tmp_path / "quiz.md"
    path.write_text(PAGE)
    return load_page(path)


def saved(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_a_page_is_read_and_answered(keys: PipeInput, screen: io.StringIO, page: Page, tmp_path: Path) -> None:
    keys.send_text(UP + ENTER + "5" + ENTER + "one" + ALT_ENTER + "two" + ENTER + "y" + DOWN + SPACE + ENTER)
    player.play(page, tmp_path / "a.yaml")
    assert saved(tmp_path / "a.yaml")["answers"] == {
        "rate": "1e-5", "count": "5", "why": "one\ntwo", "sure": "yes", "which": ["Loss"]
    }  # fmt: skip
    assert "partial" not in saved(tmp_path / "a.yaml")
    shown = screen.getvalue()
    for text in ("Quiz", "A small one", "Read <b>this</b> first.", "Ask", "Numbers", "Think before you answer."):
        assert text in shown
    assert "After this page: Phase 2: Dataset Preparation (tunebook page play phase-2-dataset-preparation)" in shown
    assert "Before this page: Nowhere\n" in shown


def test_what_comes_next_is_a_plan_and_after_the_page_about_comparing_a_comparison(
    keys: PipeInput, screen: io.StringIO, page: Page, tmp_path: Path
) -> None:
    keys.send_text(ENTER + "1" + ENTER * 4)
    player.play(page, tmp_path / "a b.yaml")
    comparing = load_page("phase-4-model-comparison")
    keys.send_text(ENTER * len(comparing.questions))
    player.play(comparing, tmp_path / "c d.yaml")
    shown = "".join(screen.getvalue().split())
    assert f"Next: tunebook plan '{tmp_path / 'a b.yaml'}' --data DATA".replace(" ", "") in shown
    assert f"Next: tunebook compare --answers '{tmp_path / 'c d.yaml'}'".replace(" ", "") in shown


def test_enter_alone_takes_the_usual_options(keys: PipeInput, screen: object, page: Page, tmp_path: Path) -> None:
    keys.send_text(ENTER + "1" + ENTER * 4)
    player.play(page, tmp_path / "a.yaml")
    assert saved(tmp_path / "a.yaml")["answers"] == {
        "rate": "3e-5 (Recommended)", "count": "1", "why": "", "sure": "no", "which": ["Loss", "Speed"]
    }  # fmt: skip


def test_a_custom_option_asks_which(keys: PipeInput, screen: object, page: Page, tmp_path: Path) -> None:
    keys.send_text(DOWN + ENTER + ENTER + "2e-5" + ENTER + "1" + ENTER * 4)
    player.play(page, tmp_path / "a.yaml")
    answers = saved(tmp_path / "a.yaml")["answers"]
    assert (answers["rate"], answers["rate.custom"]) == ("Custom rate", "2e-5")


def test_another_option_takes_the_follow_up_of_the_custom_one_away(
    keys: PipeInput, screen: object, page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    save_answers(path, page, {"rate": "Custom rate", "rate.custom": "2e-5", "count": "1"})
    keys.send_text(UP + ENTER * 5)
    player.play(page, path)
    assert "rate.custom" not in saved(path)["answers"]


def test_a_number_outside_its_limits_and_a_missing_answer_are_not_taken(
    keys: PipeInput, screen: object, page: Page, tmp_path: Path
) -> None:
    keys.send_text(ENTER + ENTER + "11" + ENTER + "\x7f" + ENTER + ENTER * 3)
    player.play(page, tmp_path / "a.yaml")
    assert saved(tmp_path / "a.yaml")["answers"]["count"] == "1"


def test_ctrl_c_keeps_the_answers_and_what_is_being_typed_and_offers_them_again(
    keys: PipeInput, screen: io.StringIO, page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    keys.send_text(UP + ENTER + "7" + ENTER + "half a sent" + CTRL_C)
    with pytest.raises(Stopped) as caught:
        player.play(page, path)
    assert caught.value.exit_code == 130
    assert str(caught.value).startswith("Stopped after 3 of 5 answers. They are kept in ")
    document = saved(path)
    assert document["partial"] is True
    assert (document["answers"]["rate"], document["answers"]["why"]) == ("1e-5", "half a sent")

    keys.send_text(ENTER + ENTER + "ence" + ENTER * 3)
    player.play(page, path)
    assert saved(path)["answers"] == {
        "rate": "1e-5", "count": "7", "why": "half a sentence", "sure": "no", "which": ["Loss", "Speed"]
    }  # fmt: skip
    assert "partial" not in saved(path)
    assert "holds 3 answers; each is offered again" in " ".join(screen.getvalue().split())


@pytest.mark.parametrize("stop_after", range(5))
def test_ctrl_c_at_any_question_keeps_all_answers_before_it(
    stop_after: int, keys: PipeInput, screen: object, page: Page, tmp_path: Path
) -> None:
    pressed = [ENTER, "7" + ENTER, "why" + ENTER, "y", ENTER]
    keys.send_text("".join(pressed[:stop_after]) + CTRL_C)
    with pytest.raises(Stopped):
        player.play(page, tmp_path / "a.yaml")
    answers = saved(tmp_path / "a.yaml")["answers"]
    assert [key for key, answer in answers.items() if answer] == ["rate", "count", "why", "sure"][:stop_after]


def test_ctrl_c_keeps_a_half_typed_follow_up(keys: PipeInput, screen: object, page: Page, tmp_path: Path) -> None:
    keys.send_text(DOWN + ENTER + "2e" + CTRL_C)
    with pytest.raises(Stopped):
        player.play(page, tmp_path / "a.yaml")
    answers = saved(tmp_path / "a.yaml")["answers"]
    assert (answers["rate"], answers["rate.custom"]) == ("Custom rate", "2e")


def test_a_page_answered_to_its_end_stays_whole_when_a_second_sitting_is_stopped(
    keys: PipeInput, screen: object, page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    save_answers(path, page, {"rate": "1e-5", "count": "3"})
    keys.send_text(ENTER + CTRL_C)
    with pytest.raises(Stopped):
        player.play(page, path)
    assert "partial" not in saved(path)
    assert saved(path)["answers"]["count"] == "3"


def test_answers_that_fit_no_more_are_named(keys: PipeInput, screen: io.StringIO, page: Page, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    save_answers(path, page, {"rate": "9e-9", "why": "kept"})
    keys.send_text(CTRL_C)
    with pytest.raises(Stopped):
        player.play(page, path)
    assert "Not offered, it does not fit the page: rate: '9e-9' is not among the options" in screen.getvalue()
    assert saved(path)["answers"]["why"] == "kept"


def test_answers_that_fit_no_more_are_kept_in_a_copy(
    keys: PipeInput, screen: io.StringIO, page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    save_answers(path, page, {"rate": "1e-5", "count": "3", "why": "An hour's work."})
    before = path.read_bytes()
    other = parse_page(PAGE.replace("**Why**", "**What for**"), page.name)
    keys.send_text(ENTER + CTRL_C)
    with pytest.raises(Stopped):
        player.play(other, path)
    assert "why" not in saved(path)["answers"]
    assert (tmp_path / "a.yaml.before").read_bytes() == before
    assert "a.yaml.before." in "".join(screen.getvalue().split())


def test_no_copy_is_made_of_answers_that_fit_or_of_none(
    keys: PipeInput, screen: io.StringIO, page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    save_answers(path, page, {"rate": "1e-5"}, partial=True)
    for asked in (page, parse_page(PAGE.replace("**Why**", "**What for**"), page.name)):
        keys.send_text(CTRL_C)
        with pytest.raises(Stopped):
            player.play(asked, path)
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["a.yaml", "quiz.md"]
    assert "Not offered" not in screen.getvalue()


def test_answers_that_cannot_be_copied_are_not_written_over(
    keys: PipeInput, screen: object, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.yaml"
    save_answers(path, page, {"rate": "9e-9"})
    before = path.read_bytes()
    monkeypatch.setattr(answers, "copy_aside", full)
    with pytest.raises(PageError, match=r"could not be copied \(No space left on device\)"):
        player.play(page, path)
    assert path.read_bytes() == before


def test_arrow_keys_move_the_lifted_line_of_a_ranking(keys: PipeInput) -> None:
    keys.send_text(DOWN + SPACE + DOWN + SPACE + UP + ENTER)
    assert terminal.arrange("Order", ["a", "b", "c"]) == ["a", "c", "b"]
    keys.send_text(DOWN + UP + ENTER)
    assert terminal.arrange("Order", ["a", "b", "c"]) == ["a", "b", "c"]


def test_a_line_moved_past_the_end_stays_there() -> None:
    state = terminal.Arranging(["a", "b", "c"])
    state.lifted = True
    for by in (-1, 1, 1, 1, 1):
        state.move(by)
    assert (state.lines, state.cursor) == (["b", "c", "a"], 2)
    drawn = "".join(text for _, text in state.drawn())
    assert " ↕  3. a\n" in drawn


VALIDATE_BELOW_SPLIT = SPACE + DOWN * 2 + SPACE + ENTER


def test_a_wrong_order_is_explained_and_may_be_mended(keys: PipeInput, screen: io.StringIO, tmp_path: Path) -> None:
    mend = DOWN * 2 + SPACE + UP + SPACE + ENTER
    keys.send_text(VALIDATE_BELOW_SPLIT + ENTER + mend)
    player.play(parse_page(ORDER, str(tmp_path / "order.md")), tmp_path / "a.yaml")
    shown = " ".join(screen.getvalue().split())
    assert "9 of 10 steps stand in a workable place." in shown
    assert "must come before 'Split dataset into training and validation sets': bad and duplicate rows" in shown
    assert "10 of 10 steps stand in a workable place." in shown
    assert saved(tmp_path / "a.yaml")["answers"]["steps"] == [BY_ID[step].title for step in STEP_IDS]


def test_a_wrong_order_may_be_left_so(keys: PipeInput, screen: object, tmp_path: Path) -> None:
    keys.send_text(VALIDATE_BELOW_SPLIT + DOWN + ENTER)
    player.play(parse_page(ORDER, str(tmp_path / "order.md")), tmp_path / "a.yaml")
    assert saved(tmp_path / "a.yaml")["answers"]["steps"][2] == BY_ID["validate"].title


def test_a_right_order_is_praised_with_its_count(keys: PipeInput, screen: io.StringIO, tmp_path: Path) -> None:
    keys.send_text(ENTER)
    player.play(parse_page(ORDER, str(tmp_path / "order.md")), tmp_path / "a.yaml")
    assert "10 of 10 steps stand in a workable place." in screen.getvalue()


def test_ctrl_c_keeps_the_order_as_it_stands(keys: PipeInput, screen: object, tmp_path: Path) -> None:
    keys.send_text(SPACE + DOWN + CTRL_C)
    with pytest.raises(Stopped):
        player.play(parse_page(ORDER, str(tmp_path / "order.md")), tmp_path / "a.yaml")
    first, second = saved(tmp_path / "a.yaml")["answers"]["steps"][:2]
    assert (first, second) == (BY_ID["initialize"].title, BY_ID["validate"].title)


def test_defaults_answer_the_page_by_themselves(page: Page, tmp_path: Path) -> None:
    fine_tuning = load_page("phase-3-fine-tuning")
    values = player.answer_by_defaults(fine_tuning, tmp_path / "a.yaml")
    assert saved(tmp_path / "a.yaml")["answers"] == values
    assert check_answers(fine_tuning, values)[1] == []
    assert values["learning-rate"] == "3e-5 (Recommended)"
    assert values["batch-size"] == "16 (Standard)"
    assert values["number-of-epochs"] == "3-5 (Standard)"
    assert values["arrange-fine-tuning-steps-in-correct-order"] == [BY_ID[step].title for step in STEP_IDS]
    assert [text.split()[0] for text in values["select-monitoring-metrics"]] == [
        "Training", "Validation", "Perplexity", "Response", "Training", "Memory", "Gradient"
    ]  # fmt: skip
    assert [key for key, answer in values.items() if answer == ""] == [
        "how-will-you-prevent-overfitting",
        "what-criteria-will-trigger-early-stopping",
        "how-will-you-assess-response-quality-during-training",
    ]


def test_defaults_keep_what_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    page = load_page("phase-3-fine-tuning")
    save_answers(path, page, {"learning-rate": "1e-4 (Very Aggressive)"}, partial=True)
    assert player.answer_by_defaults(page, path)["learning-rate"] == "1e-4 (Very Aggressive)"
    assert "partial" not in saved(path)


def test_defaults_do_not_write_over_answers_that_do_not_fit(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    save_answers(path, page, {"rate": "9e-9", "count": "3"})
    before = path.read_bytes()
    with pytest.raises(PageError, match="rate: '9e-9' is not among the options"):
        player.answer_by_defaults(page, path)
    assert path.read_bytes() == before


def test_ctrl_c_keeps_the_earlier_answer_when_what_is_typed_does_not_fit(
    keys: PipeInput, screen: object, page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    save_answers(path, page, {"rate": "1e-5", "count": "7"})
    keys.send_text(ENTER + "7" + CTRL_C)
    with pytest.raises(Stopped):
        player.play(page, path)
    assert saved(path)["answers"]["count"] == "7"


def test_ctrl_c_after_arranging_keeps_the_order_of_the_first_try(
    keys: PipeInput, screen: object, tmp_path: Path
) -> None:
    keys.send_text(VALIDATE_BELOW_SPLIT + ENTER + CTRL_C)
    with pytest.raises(Stopped):
        player.play(parse_page(ORDER, str(tmp_path / "order.md")), tmp_path / "a.yaml")
    assert saved(tmp_path / "a.yaml")["answers"]["steps"][2] == BY_ID["validate"].title


def test_ctrl_c_makes_no_answer_of_an_order_that_nobody_touched(
    keys: PipeInput, screen: object, tmp_path: Path
) -> None:
    keys.send_text(DOWN + CTRL_C)
    with pytest.raises(Stopped):
        player.play(parse_page(ORDER, str(tmp_path / "order.md")), tmp_path / "a.yaml")
    assert saved(tmp_path / "a.yaml")["answers"]["steps"] == ""


def test_defaults_write_nothing_where_only_the_reader_can_answer(page: Page, tmp_path: Path) -> None:
    with pytest.raises(PageError, match="count: 'Count' is required and has no answer"):
        player.answer_by_defaults(page, tmp_path / "a.yaml")
    assert not (tmp_path / "a.yaml").exists()


@pytest.mark.parametrize("act", [player.play, player.answer_by_defaults])
def test_a_page_with_an_error_is_not_played(act: Callable[[Page, Path], object], tmp_path: Path) -> None:
    page = parse_page(PAGE.replace("checkbox", "chekbox"), "x")
    with pytest.raises(PageError, match="did you mean checkbox"):
        act(page, tmp_path / "a.yaml")
    assert not (tmp_path / "a.yaml").exists()
