"""The plan beside a page: together with the answers to other pages, and what a click on start takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunebook.pages.answers import save_answers
from tunebook.pages.catalog import load_page

pytestmark = pytest.mark.heavy
KEY, DATA = "phase-3-fine-tuning", "phase-2-dataset-preparation"
OWN = "---\ntitle: Mine\n---\n## A\n{type: form}\n**Which seed?**\n\n{type: number, id: my-seed, sets: training.seed}\n"


def answers(folder, name, **given):
    """Keep answers to the page `name`, a built-in one or a file of the folder's."""
    page = load_page(folder / name if name.endswith(".md") else name)
    file = folder / "answers" / f"{f'own-{Path(name).stem}' if name.endswith('.md') else name}.yaml"
    save_answers(file, page, {key.replace("_", "-"): answer for key, answer in given.items()}, partial=True)


@pytest.fixture
def open_page(page, studio):
    """The training page, once its plan is drawn; two other pages have answers."""
    answers(studio.folder, DATA, max_length="512", seed="7")
    (studio.folder / "mine.md").write_text(OWN)
    answers(studio.folder, "mine.md", my_seed="8")
    page.goto(f"{studio.base}/pages/{KEY}")
    page.locator("#plan dl").first.wait_for()
    return page


def box(page, key):
    return page.locator(f"#others input[value={key}]")


def longest(page):
    """The row of the plan that only the other page's answer makes."""
    return page.locator("#plan dl div", has_text="Max length")


def test_the_answers_to_a_page_that_is_ticked_go_into_the_plan_and_out_of_it(open_page):
    page = open_page
    assert page.locator("#others input").evaluate_all("all => all.map((one) => one.value)") == [DATA, "own-mine"]
    assert longest(page).count() == 0
    box(page, DATA).check()
    longest(page).get_by_text("your answer").wait_for()
    assert "512" in longest(page).inner_text()
    assert "7" in page.locator("#plan dl div", has_text="Seed").inner_text()
    box(page, DATA).uncheck()
    longest(page).wait_for(state="detached")


def test_a_tick_is_set_with_the_keyboard_and_outlives_a_reload(open_page):
    page = open_page
    box(page, DATA).focus()
    page.keyboard.press("Space")
    longest(page).wait_for()
    page.reload()
    longest(page).wait_for()
    assert box(page, DATA).is_checked()
    assert not box(page, "own-mine").is_checked()


def test_pages_that_contradict_each_other_are_named_and_start_no_run(open_page):
    page = open_page
    page.locator("#data").select_option("rows.jsonl")
    box(page, DATA).check()
    longest(page).wait_for()
    box(page, "own-mine").check()
    said = page.locator("#plan .faults").inner_text
    page.locator("#plan .faults").wait_for()
    assert "training.seed" in said()
    assert "Which seed?" in said()
    assert page.locator("#start").is_disabled()
    assert page.locator("#enqueue").is_disabled()
    box(page, "own-mine").uncheck()
    longest(page).wait_for()


def test_an_answer_to_a_ticked_page_in_another_tab_changes_the_plan_here(open_page, studio):
    page = open_page
    box(page, DATA).check()
    longest(page).get_by_text("512").wait_for()
    other = page.context.new_page()
    other.goto(f"{studio.base}/pages/{DATA}")
    field = other.locator("[data-id=max-length] input")
    other.wait_for_function("() => document.querySelector('[data-id=max-length] input').value === '512'")
    field.fill("768")
    longest(page).get_by_text("768").wait_for()


def test_a_change_of_the_plan_is_said_in_a_few_words(open_page):
    page = open_page
    said = page.locator("#plan-say")
    assert said.inner_text() == "Plan updated"
    page.locator("[data-id=how-often-will-you-evaluate-the-model-during-training] .choice", has_text="Custom").click()
    page.locator("#plan .faults").wait_for()
    assert "How often" in said.inner_text()
    assert page.locator("#plan").get_attribute("aria-live") is None


def test_what_the_data_view_set_for_one_file_is_not_taken_to_another(page, studio):
    (studio.folder / "other.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 3)
    page.goto(f"{studio.base}/pages/{KEY}?data=rows.jsonl&set=data.max_length%3D64")
    page.get_by_text("Set on the data view").wait_for()
    page.reload()
    page.get_by_text("Set on the data view").wait_for()
    with page.expect_request("**/api/plan") as asked:
        page.locator("#data").select_option("other.jsonl")
    assert json.loads(asked.value.post_data)["settings"] == []
    page.get_by_text("Set on the data view").wait_for(state="detached")


def test_data_that_could_not_be_looked_at_is_said_once_and_looked_at_again_when_asked(page, studio):
    looks = []

    def refuse(route):
        looks.append(1)
        route.fulfill(status=409, json={"error": {"what": "The tokenizer cannot be read."}})

    page.route("**/api/facts", refuse)
    page.goto(f"{studio.base}/pages/{KEY}?data=rows.jsonl")
    page.locator("#plan .faults", has_text="The tokenizer cannot be read.").wait_for()
    with page.expect_response("**/api/plan"):
        page.locator("[data-id=batch-size] .choice").nth(3).click()
    page.locator("#plan .faults", has_text="The tokenizer cannot be read.").wait_for()
    assert page.locator("#plan .measuring").count() == 0
    assert len(looks) == 1
    with page.expect_response("**/api/facts"):
        page.get_by_role("button", name="Try again").click()
    page.close()
    page.faults.clear()  # the browser itself reports the refusals


def test_an_estimate_of_a_plan_that_changed_while_it_was_measured_is_not_shown_as_this_ones(page, studio):
    held = []
    page.route("**/api/facts", lambda route: route.fulfill(status=409, json={"error": {"what": "No."}}))
    page.route("**/api/estimate", lambda route: held.append(route))
    page.goto(f"{studio.base}/pages/{KEY}?data=rows.jsonl")
    page.get_by_role("button", name="Measure time and memory").click()
    with page.expect_response("**/api/facts"):  # asked once the plan is drawn
        page.locator("#model").fill("another")
        page.locator("#data").focus()
    seconds = {"expected": 60, "low": 50, "high": 70}
    held[0].fulfill(json={"seconds": seconds, "memory_bytes": 1e9, "disk_bytes": 1e9, "usual": "an hour"})
    page.get_by_text("The plan has changed since this was measured").wait_for()
    page.close()
    page.faults.clear()  # the browser itself reports the refusals


def test_the_run_is_asked_for_with_the_pages_that_are_ticked(open_page):
    page = open_page
    box(page, DATA).check()
    page.locator("#model").fill("nowhere")
    page.locator("#data").select_option("rows.jsonl")
    page.locator("#start:not([disabled])").wait_for()
    with page.expect_request("**/api/runs") as asked:
        page.locator("#start").click()
    assert json.loads(asked.value.post_data)["others"] == [DATA]
    page.locator(".toast").first.wait_for(timeout=60_000)
    page.faults.clear()  # the browser itself reports that there is no such model


def test_a_click_on_start_right_after_typing_takes_the_last_words_and_is_not_lost(page, studio):
    page.goto(f"{studio.base}/pages/{KEY}")
    page.locator("#model").fill("nowhere")
    page.locator("#data").select_option("rows.jsonl")
    page.locator("#start:not([disabled])").wait_for()
    page.locator("[data-about=stopping] textarea").fill("no improvement for 7 evaluations")
    page.locator("#model").fill("elsewhere")  # the field's change ends with the click itself
    with page.expect_request("**/api/runs") as asked:
        page.locator("#start").click()
    assert json.loads(asked.value.post_data)["model"] == "elsewhere"
    assert "no improvement for 7 evaluations" in (studio.folder / "answers" / f"{KEY}.yaml").read_text()
    page.locator(".toast").first.wait_for(timeout=60_000)
    page.faults.clear()  # the browser itself reports that there is no such model
