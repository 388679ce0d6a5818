"""Blind review in the browser: keys, a fix, a pair that another tab judged meanwhile."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.heavy


def test_a_review_is_done_with_keys_alone(page, studio):
    page.goto(f"{studio.base}/runs/done-1/review")
    page.locator(".question").wait_for()
    total = int(page.locator("#count").inner_text().split()[2])
    for number in range(total):
        page.locator(".judge", has_text="A is better").wait_for()
        assert page.locator(".whose").count() == 0
        page.keyboard.press("asb"[number % 3])
        page.locator(".told").wait_for()
        page.keyboard.press("r" if number % 2 else "k")
        page.locator(".told").wait_for(state="detached")
    page.get_by_text("All judged").wait_for()
    rows = [json.loads(line) for line in (studio.folder / "runs/done-1/reviews.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == total
    assert {row["action"] for row in rows} == {"keep", "reject"}


def test_a_fixed_answer_is_kept_and_a_verdict_can_be_taken_anew(page, studio):
    page.goto(f"{studio.base}/runs/done-1/review")
    page.locator(".question").wait_for()
    page.keyboard.press("b")
    page.locator(".told").wait_for()
    page.keyboard.press("f")
    page.locator(".fixing textarea").fill("As it <b>should</b> be")
    page.keyboard.press("Control+Enter")
    page.locator(".judge", has_text="A is better").wait_for()
    rows = (studio.folder / "runs/done-1/reviews.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["fixed"] == "As it <b>should</b> be"
    page.keyboard.press("u")
    page.keyboard.press("u")
    page.locator(".judge", has_text="A is better").wait_for()
    page.keyboard.press("s")
    page.locator(".told", has_text="the same").wait_for()
    page.get_by_text("1 verdict:").wait_for()


def test_a_pair_that_is_judged_again_keeps_its_note_and_its_fix(page, studio):
    page.goto(f"{studio.base}/runs/done-1/review")
    page.locator(".question").wait_for()
    page.keyboard.press("b")
    page.locator("#note").fill("too long")
    page.locator("#note").press("Tab")
    page.keyboard.press("f")
    page.locator(".fixing textarea").fill("As it should be")
    page.keyboard.press("Control+Enter")
    page.locator(".judge", has_text="A is better").wait_for()
    for key in ("u", "u", "a"):
        page.keyboard.press(key)
    page.locator(".told").wait_for()
    rows = (studio.folder / "runs/done-1/reviews.jsonl").read_text().splitlines()
    first, last = json.loads(rows[0]), json.loads(rows[-1])
    assert first["verdict"] != last["verdict"]
    assert (last["action"], last["fixed"], last["note"]) == ("fix", "As it should be", "too long")
    assert page.locator("#note").input_value() == "too long"


def test_a_pair_that_another_tab_judged_meanwhile_is_left_as_it_is(page, studio):
    page.goto(f"{studio.base}/runs/done-1/review")
    page.locator(".question").wait_for()
    other = page.context.new_page()
    other.goto(f"{studio.base}/runs/done-1/review")
    other.locator(".question").wait_for()
    other.keyboard.press("a")
    other.locator(".told").wait_for()
    page.keyboard.press("b")
    page.get_by_text("This pair was judged meanwhile").wait_for()
    page.locator("#count", has_text="1 of").wait_for()
    assert len((studio.folder / "runs/done-1/reviews.jsonl").read_text().splitlines()) == 1
    page.faults.clear()  # the browser itself reports the refusal


def test_a_held_key_judges_one_pair_and_none_that_was_not_read(page, studio):
    page.goto(f"{studio.base}/runs/done-1/review")
    page.locator(".question").wait_for()
    page.keyboard.press("a")
    page.locator(".told").wait_for()
    page.get_by_role("button", name="Keep it").focus()
    for _ in range(3):  # the first is a press, the others say that it is held
        page.keyboard.down("Enter")
    page.locator(".told").wait_for(state="detached")
    page.keyboard.up("Enter")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.className") == "question"
    assert page.locator("#count").inner_text().startswith("1 of")


def test_keys_judge_nothing_behind_a_question_and_a_fix_left_with_escape_is_not_lost(page, studio):
    page.goto(f"{studio.base}/runs/done-1/review")
    page.locator(".question").wait_for()
    page.keyboard.press("b")
    page.locator(".told").wait_for()
    page.get_by_role("button", name="Reject checkpoint").click()
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    page.keyboard.press("f")
    page.locator(".fixing textarea").fill("half a thought")
    page.keyboard.press("Escape")
    page.locator(".told").wait_for()
    page.keyboard.press("f")
    assert page.locator(".fixing textarea").input_value() == "half a thought"
