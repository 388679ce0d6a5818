"""What is typed, chosen or read in a tab stays while answers, evaluations and other tabs come in between."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.tiny import save_tiny
from tunebook.runs.events import EventWriter

pytestmark = pytest.mark.heavy
KEY, DATA = "phase-3-fine-tuning", "phase-2-dataset-preparation"
LATE = """
const real = fetch;
window.fetch = async (...asked) => {
  const answer = await real(...asked);
  if (!String(asked[0]).endsWith("/samples/20")) return answer;
  const text = await answer.text();
  await new Promise((go) => { window.go = go; });
  return new Response(text, answer);
};
"""


def field(page, name):
    return page.locator(f"[data-id={name}] input")


def holds(page, name, text):
    page.wait_for_function(
        "([name, text]) => document.querySelector(`[data-id=${name}] input`).value === text", arg=[name, text]
    )


@pytest.fixture
def open_page(page, studio):
    """Two tabs with the page on data, once what the plan is or lacks is drawn beside it."""
    tabs = [page, page.context.new_page()]
    for tab in tabs:
        tab.goto(f"{studio.base}/pages/{DATA}")
        tab.locator("#plan > *").first.wait_for()
    return tabs


def test_a_number_that_does_not_fit_stays_with_why_and_the_one_before_it_is_kept(open_page, studio):
    page, other = open_page
    field(page, "max-length").fill("2048")
    holds(other, "max-length", "2048")
    field(page, "max-length").fill("99999999")
    page.locator("[data-id=max-length] .wrong", has_text="Kept is still 2048").wait_for()
    field(other, "seed").fill("7")
    holds(page, "seed", "7")
    field(page, "seed").fill("8")
    holds(other, "seed", "8")
    assert field(page, "max-length").input_value() == "99999999"
    assert page.locator("[data-id=max-length] .wrong").is_visible()
    kept = yaml.safe_load((studio.folder / "answers" / f"{DATA}.yaml").read_text())["answers"]
    assert (kept["max-length"], kept["seed"]) == ("2048", "8")
    field(page, "max-length").fill("512")
    page.locator("[data-id=max-length] .wrong").wait_for(state="hidden")


def test_a_field_that_has_the_focus_takes_the_words_of_another_tab_until_somebody_types_there(open_page):
    page, other = open_page
    field(page, "max-length").fill("512")
    holds(other, "max-length", "512")
    field(other, "max-length").fill("768")
    holds(page, "max-length", "768")
    assert page.evaluate("() => document.activeElement.closest('.question')?.dataset.id") == "max-length"
    field(page, "max-length").fill("1024")
    holds(other, "max-length", "1024")
    assert field(page, "max-length").input_value() == "1024"


def test_the_keyboard_keeps_its_place_in_a_ranking_when_the_order_is_kept(page, studio):
    tabs = [page, page.context.new_page()]
    for tab in tabs:
        tab.goto(f"{studio.base}/pages/{KEY}")
        tab.get_by_text("shape only").wait_for()
    order = "rows => rows.map((row) => row.dataset.text)"
    before = page.locator("rank-list li").evaluate_all(order)
    page.locator(".grip").nth(3).focus()
    for number, place in enumerate((2, 1)):
        for key in (" ", "ArrowUp", " "):
            page.keyboard.press(key)
        page.get_by_text("Answers kept").wait_for()
        tabs[1].locator("[data-id=batch-size] .choice").nth(number).click()
        page.locator("[data-id=batch-size] .choice").nth(number).locator("input:checked").wait_for()
        assert page.locator("rank-list li").evaluate_all(order)[place] == before[3]
        assert page.evaluate("() => document.activeElement.closest('li')?.dataset.text") == before[3]


def evaluated(studio, step, words):
    """Answers of done-1 at another step, each in these words."""
    samples = studio.folder / "runs" / "done-1" / "samples"
    value = json.loads((samples / "step-40.json").read_text())
    answers = [answer | {"answer": words} for answer in value["answers"]]
    (samples / f"step-{step}.json").write_text(json.dumps(value | {"step": step, "answers": answers}))


def test_answers_that_come_late_do_not_stand_under_the_name_of_another_step(page, studio):
    evaluated(studio, 20, "words of step 20")
    page.add_init_script(LATE)
    page.goto(f"{studio.base}/runs/done-1")
    page.locator("#answers .pair").first.wait_for()
    page.get_by_label("Evaluation", exact=True).select_option("20")
    page.wait_for_function("() => window.go")
    page.get_by_label("Evaluation", exact=True).select_option("40")
    page.evaluate("() => { window.go(); return new Promise((done) => requestAnimationFrame(() => setTimeout(done))); }")
    assert "words of step 20" not in page.locator("#answers").inner_text()
    page.get_by_label("Evaluation", exact=True).select_option("20")
    page.get_by_text("words of step 20").first.wait_for()


def test_a_step_that_was_chosen_stays_with_its_focus_when_another_evaluation_comes(page, studio):
    evaluated(studio, 20, "words of step 20")
    page.goto(f"{studio.base}/runs/done-1")
    choice = page.get_by_label("Evaluation", exact=True)
    choice.select_option("20")
    page.get_by_text("words of step 20").first.wait_for()
    choice.focus()
    evaluated(studio, 60, "words of step 60")
    EventWriter(studio.folder / "runs" / "done-1" / "events.jsonl").emit("samples", step=60)
    choice.locator("option", has_text="After step 60").wait_for(state="attached")
    assert choice.input_value() == "20"
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Evaluation"
    assert page.get_by_text("words of step 20").count() > 0


def test_a_file_with_no_row_that_can_be_used_is_told_and_freezes_nothing(page, studio):
    save_tiny(studio.folder / "base")
    (studio.folder / "empty.jsonl").write_text('{"prompt": "a", "completion": ""}\n' * 3)
    page.goto(f"{studio.base}/data")
    page.locator("#model").fill("base")
    page.locator("#file").select_option("empty.jsonl")
    page.get_by_role("button", name="Look at it").click()
    page.get_by_text("No row can be trained on.").wait_for(timeout=60_000)
    assert page.locator("svg.lengths").count() == 0
    assert page.locator("#found-say").inner_text().startswith("Looked at 3 rows: 3 bad")


def test_what_was_found_with_other_settings_goes_and_comes_again(page, studio):
    page.goto(f"{studio.base}/data")
    page.locator("#model").fill("")
    page.locator("#file").select_option("rows.jsonl")
    page.get_by_role("button", name="Look at it").click()
    page.locator("#found .accept").wait_for(timeout=60_000)
    page.locator("#limit").fill("64")
    page.locator("#limit").press("Tab")
    assert page.locator("#found *").count() == 0
    page.get_by_role("button", name="Look at it").click()
    page.locator("#found .accept").wait_for(timeout=60_000)


def test_a_model_that_goes_in_mid_answer_is_said_under_what_it_had_said(page, studio):
    def child(socket):
        def asked(text):
            socket.send(json.dumps({"who": 0, "piece": "Half an ans"}))
            socket.close()

        socket.on_message(asked)
        socket.send(json.dumps({"ready": ["base", "tuned"]}))

    page.route_web_socket(re.compile("/api/chat/"), child)
    page.goto(f"{studio.base}/compare?with=done-1")
    page.locator("#question").fill("Who are you?")
    page.locator("#question").press("Enter")
    page.locator("#talk .base", has_text="Half an ans").locator(".fault", has_text="cut off").wait_for()
    assert page.locator("#talk .fault").count() == 2


def test_a_page_is_answered_where_the_browser_keeps_nothing(page, studio):
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    page.goto(f"{studio.base}/pages/{KEY}")
    page.get_by_text("shape only").wait_for()
    page.locator("[data-id=batch-size] .choice").nth(3).click()
    page.get_by_text("Answers kept").wait_for()
