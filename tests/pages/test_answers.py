"""Answers: what fits is stored as the page writes it, and what does not is told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tunebook.errors import PageError
from tunebook.pages.answers import (
    check_answers,
    default_answers,
    dump_answers,
    kept_answers,
    load_answers,
    save_answers,
)
from tunebook.pages.catalog import load_page
from tunebook.pages.page import Page
from tunebook.pages.parser import parse_page
from tunebook.steps import BY_ID, STEP_IDS

PAGE = """\
---
title: Quiz
---
## Ask
{type: form}
**Rate**
{type: select, options: ["1e-5 (Slow)", "3e-5 (Recommended)", "Custom rate"]}
**Why**
{type: textarea, required: true}
**Name**
{type: text}
**Count**
{type: number, min: 1, max: 10}
**Sure**
{type: checkbox}
## Which
{type: selection, multiple: true}
- Loss (main)
- BLEU scores
- Custom measure
- Speed
## One
{type: selection}
- Left
- Right (standard)
## Order
{type: ranking}
```
Third
First
Second
```
"""


@pytest.fixture
def page() -> Page:
    return parse_page(PAGE, "quiz.md")


def told(page: Page, answers: dict[str, Any]) -> dict[str, str]:
    return {fault.where: fault.message for fault in check_answers(page, {"why": "because"} | answers)[1]}


@pytest.mark.parametrize(
    ("key", "given_answer", "stored"),
    [
        ("rate", "3e-5 (Recommended)", "3e-5 (Recommended)"),
        ("rate", "3e-5", "3e-5 (Recommended)"),
        ("rate", "3E-5 (RECOMMENDED)", "3e-5 (Recommended)"),
        ("rate", " 1e-5  (slow) ", "1e-5 (Slow)"),
        ("rate", ["1e-5"], "1e-5 (Slow)"),
        ("why", " two\nlines ", "two\nlines"),
        ("name", "two\nlines", "two lines"),
        ("count", "7", "7"),
        ("count", 7, "7"),
        ("count", "2.50", "2.5"),
        ("sure", True, "yes"),
        ("sure", "No", "no"),
        ("which", ["Speed", "Loss (main)"], ["Loss (main)", "Speed"]),
        ("which", ["loss", "loss", "speed"], ["Loss (main)", "Speed"]),
        ("which", "bleu-scores", ["BLEU scores"]),
        ("one", "left", "Left"),
        ("one", ["Right"], "Right (standard)"),
        ("order", ["First", "second", "Third"], ["First", "Second", "Third"]),
    ],
)
def test_an_answer_is_stored_as_the_page_writes_it(page: Page, key: str, given_answer: Any, stored: Any) -> None:
    values, faults = check_answers(page, {"why": "because", key: given_answer})
    assert faults == []
    assert values[key] == stored


@pytest.mark.parametrize(
    ("key", "given_answer", "message"),
    [
        (
            "rate",
            "2e-5",
            "'2e-5' is not among the options; they are '1e-5 (Slow)', '3e-5 (Recommended)', 'Custom rate'",
        ),
        ("rate", ["1e-5", "3e-5"], "must be one text"),
        ("rate", {"a": "b"}, "must be one text"),
        ("count", "11", "is 11, but must be at least 1 and at most 10"),
        ("count", "0.5", "is 0.5, but must be at least 1 and at most 10"),
        ("count", "many", "must be a number, not 'many'"),
        ("sure", "perhaps", "must be yes or no, not 'perhaps'"),
        ("which", ["Loss", "Taste"], "'Taste' is not among the options"),
        ("one", ["Left", "Right"], "names 2 items where one is asked for"),
        ("order", ["First", "Second"], "leaves out 'Third'; an order holds each item once"),
        ("order", ["First", "First", "Second"], "leaves out 'Third' and names 'First' more than once"),
        ("order", ["First", "Second", "Third", "Fourth"], "'Fourth' is not among the options"),
        ("rtae", "x", "the page asks nothing of this name; did you mean rate?"),
        ("why.custom", "x", "the page asks nothing of this name"),
    ],
)
def test_an_answer_that_does_not_fit_is_told(page: Page, key: str, given_answer: Any, message: str) -> None:
    faults = told(page, {key: given_answer})
    assert list(faults) == [key]
    assert message in faults[key]


def test_a_label_that_two_options_share_is_no_answer() -> None:
    text = "---\ntitle: T\n---\n## S\n{type: form}\n**F**\n{type: select, options: [a (x), a (y)]}"
    page = parse_page(text, "x")
    assert check_answers(page, {"f": "A (Y)"}) == ({"f": "a (y)"}, [])
    assert "'a' is not among the options" in check_answers(page, {"f": "a"})[1][0].message


def test_a_required_answer_that_is_missing_or_empty_is_told(page: Page) -> None:
    for empty in ({}, {"why": None}, {"why": "  "}):
        assert [fault.where for fault in check_answers(page, empty)[1]] == ["why"]
    assert check_answers(page, {}, finished=False)[1] == []


def test_a_custom_option_asks_its_follow_up(page: Page) -> None:
    assert "say here which" in told(page, {"rate": "Custom rate"})["rate.custom"]
    assert told(page, {"rate": "Custom rate", "rate.custom": "2e-5"}) == {}
    assert told(page, {"which": ["Loss", "Custom measure"], "which.custom": "taste"}) == {}
    assert (
        "belongs to an answer that begins with Custom"
        in told(page, {"rate": "3e-5", "rate.custom": "x"})["rate.custom"]
    )
    assert told(page, {"rate": "3e-5", "rate.custom": ""}) == {}


def test_the_steps_of_a_run_may_be_ordered_by_title_or_id() -> None:
    page = load_page("phase-3-fine-tuning")
    titles = [BY_ID[step].title for step in STEP_IDS]
    key = "arrange-fine-tuning-steps-in-correct-order"
    for order in (list(STEP_IDS), titles, [title.upper() + "!" for title in titles]):
        assert check_answers(page, {key: order}) == ({key: titles}, [])


def test_defaults_are_the_usual_options_never_custom_and_prose_is_empty(page: Page) -> None:
    assert default_answers(page) == {
        "rate": "3e-5 (Recommended)",
        "why": "",
        "name": "",
        "count": "",
        "sure": "no",
        "which": ["Loss (main)", "Speed"],
        "one": "Right (standard)",
        "order": ["Third", "First", "Second"],
    }


@pytest.mark.parametrize(
    ("options", "default"),
    [
        ("[a, b]", "a"),
        ("[Custom, b]", "b"),
        ("[Custom (Recommended), b]", "b"),
        ("[a, b (Standard)]", "b (Standard)"),
        ("[a, 'b (fast, recommended)', c (standard)]", "b (fast, recommended)"),
        ("[a, b (not recommended)]", "a"),
        ("[a, b (Standardised)]", "a"),
        ("[Custom]", "Custom"),
    ],
)
def test_the_default_option(options: str, default: str) -> None:
    text = f"---\ntitle: T\n---\n## S\n{{type: form}}\n**F**\n{{type: select, options: {options}}}"
    assert default_answers(parse_page(text, "x")) == {"f": default}


@given(
    st.text(st.characters(exclude_categories=["Cs"])).map(str.strip).filter(bool),
    st.sampled_from(["3e-5 (Recommended)", "1e-5 (Slow)"]),
)
def test_a_file_gives_back_the_text_that_was_typed(typed: str, rate: str) -> None:
    page = parse_page(PAGE, "quiz.md")
    wanted = check_answers(page, {"why": typed, "rate": rate})[0]
    text = dump_answers(page, wanted)
    assert yaml.safe_load(text)["answers"]["why"] == wanted["why"]
    read = check_answers(page, yaml.safe_load(text)["answers"])
    assert read == (wanted, [])


def test_a_file_holds_every_question_and_loads_as_it_was_saved(page: Page, tmp_path: Path) -> None:
    page.name = str(tmp_path / "quiz.md")
    Path(page.name).write_text(PAGE)
    path = tmp_path / "sub" / "answers.yaml"
    values = {"rate": "3e-5 (Recommended)", "why": "first line\n\nsecond: line #", "which": ["Speed"]}
    save_answers(path, page, values)
    document = yaml.safe_load(path.read_text())
    assert list(document) == ["format", "page", "file", "answers"]
    assert (document["page"], document["file"]) == ("quiz", "../quiz.md")
    assert list(document["answers"]) == [question.id for question in page.questions]
    assert "why: |-\n" in path.read_text()
    assert load_answers(path).values == values
    assert load_answers(path, page).values == values


def test_answers_to_a_built_in_page_name_no_file(tmp_path: Path) -> None:
    page = load_page("phase-3-fine-tuning")
    path = tmp_path / "answers.yaml"
    save_answers(path, page, default_answers(page))
    assert set(yaml.safe_load(path.read_text())) == {"format", "page", "answers"}
    assert load_answers(path).page.id == "phase-3-fine-tuning-workflow"


def test_all_faults_of_a_file_are_told_at_once(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    path.write_text("format: 2\npage: other\nansers: x\npartial: true\nanswers: {rate: 9, rtae: x, sure: eh}\n")
    with pytest.raises(PageError) as caught:
        load_answers(path, page)
    told = {fault.where: fault.message for fault in caught.value.faults}
    assert list(told) == ["ansers", "format", "page", "rtae", "rate", "why", "sure", "partial"]
    assert told["ansers"] == "is unknown; did you mean answers?"
    assert told["page"] == "these answers are for 'other', not for 'quiz'"
    assert told["why"] == "'Why' is required and has no answer"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no keys"),
        (b"- a", "holds no keys"),
        (b"a: [", "not valid YAML"),
        (b"a: &x [b]\nb: *x", "anchors (&) and aliases (*) are not read; write the value out, line 1"),
        (b"format: 1\nformat: 1", "given twice, line 2"),
        (b'format: 1\n"a\\e[2J": 1', "a key holds characters that cannot be seen, line 2"),
        (b"\xff", "not UTF-8"),
        (b"x" * 5_000_000, "more than 4 MB"),
        (b"format: 1\npage: nowhere\nanswers: {}", "'nowhere' is not a built-in page"),
        (b"format: 1\nanswers: {}", "is not a built-in page"),
    ],
)
def test_a_file_that_is_no_answers_file_is_told(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    path.write_bytes(text)
    with pytest.raises(PageError) as caught:
        load_answers(path)
    assert message in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PageError, match="cannot be read"):
        load_answers(tmp_path / "none.yaml")


def test_a_place_that_cannot_be_written_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PageError, match="could not be written"):
        save_answers(tmp_path / "file" / "answers.yaml", page, {})


def test_partial_answers_are_offered_again_and_make_no_plan(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    save_answers(path, page, {"rate": "1e-5 (Slow)", "rate.custom": "left over"}, partial=True)
    kept, faults = kept_answers(path, page)
    assert kept.partial
    assert kept.values["rate"] == "1e-5 (Slow)"
    assert [fault.where for fault in faults] == ["rate.custom"]
    with pytest.raises(PageError, match="partial: the reader stopped before the last question"):
        load_answers(path, page)


def test_an_answers_file_of_another_page_is_not_written_over(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    save_answers(path, load_page("phase-2-dataset-preparation"), {})
    with pytest.raises(PageError, match="holds something else"):
        kept_answers(path, page)
