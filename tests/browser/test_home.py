"""The home view as a person uses it: found and removed by the keyboard, queued, swept, told when a run ends."""

from __future__ import annotations

import json

import pytest

from tests.studio.conftest import plan
from tests.tiny import save_tiny
from tunebook.plan.files import make_plan, save_plan
from tunebook.queue.entries import enqueue, entries
from tunebook.runs.events import EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.store import create_run, list_runs, remove_run

pytestmark = pytest.mark.heavy
LISTENS = """
window.told = [];
document.hasFocus = () => false;
window.Notification = class {
  static permission = "default";
  static async requestPermission() { return (window.Notification.permission = "granted"); }
  constructor(title, options) { window.told.push([title, options.body, options.tag]); }
  close() {}
};
"""


def names(page):
    return page.locator("#runs a").all_inner_texts()


def test_a_run_is_found_opened_and_left_with_the_keyboard_alone(page, studio):
    for name in ("alpha-1", "beta-1", "beta-2"):
        create_run(name, studio.folder / "runs", plan())
    page.goto(studio.base)
    page.locator("#runs a").nth(3).wait_for()
    page.keyboard.press("/")
    page.keyboard.type("beta wait")
    page.locator("#runs a").nth(2).wait_for(state="detached")
    assert sorted(names(page)) == ["beta-1", "beta-2"]
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.classList.contains('row-link')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/beta-*")


def test_a_run_is_removed_with_the_keyboard_after_a_question(page, studio):
    create_run("alpha-1", studio.folder / "runs", plan())
    page.goto(studio.base)
    remove = page.get_by_role("button", name="Remove alpha-1")
    remove.focus()
    page.keyboard.press("Enter")
    page.get_by_text("It cannot be taken back").wait_for()
    page.keyboard.press("Escape")
    assert (studio.folder / "runs" / "alpha-1").exists()
    remove.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Removed alpha-1.").wait_for()
    assert not (studio.folder / "runs" / "alpha-1").exists()


def test_a_click_is_not_lost_when_the_list_changes_under_it(page, studio):
    create_run("alpha-1", studio.folder / "runs", plan())
    page.goto(studio.base)
    remove = page.get_by_role("button", name="Remove alpha-1")
    remove.wait_for()
    page.evaluate(
        """async () => {
            const {onNews} = await import("/static/js/core.js");
            onNews((news) => { window.told = news.list?.some((run) => run.name === "beta-1"); });
        }"""
    )
    remove.hover()
    page.mouse.down()
    create_run("beta-1", studio.folder / "runs", plan())
    page.wait_for_function("() => window.told")
    page.mouse.up()
    page.get_by_text("Remove the run alpha-1?").wait_for()
    page.locator("#runs a", has_text="beta-1").wait_for()


def test_all_that_a_search_found_is_removed_at_once_and_nothing_else(page, studio):
    for number in range(5):
        create_run(f"old-{number}", studio.folder / "runs", plan())
    page.goto(studio.base)
    page.locator("#search").fill("old")
    page.get_by_role("button", name="Remove these 5").click()
    page.get_by_role("button", name="Remove them").click()
    page.get_by_text("Removed 5 runs.").wait_for()
    assert [run.name for run in list_runs(studio.folder / "runs")] == ["done-1"]


def test_a_sweep_is_put_into_the_queue_and_a_run_taken_out_of_it(page, studio):
    base = save_tiny(studio.folder / "base")
    rows = [{"prompt": f"What is {n}?", "completion": f"It is the number {n}."} for n in range(20)]
    (studio.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_plan(
        make_plan({"model": {"name": str(base)}, "data": {"path": "rows.jsonl"}, "evaluation": {"retention": False}}),
        studio.folder / "one.yaml",
    )
    page.goto(studio.base)
    page.get_by_text("Add a plan, or a sweep").click()
    page.get_by_role("button", name="Try other values").click()
    page.keyboard.type("lora.rank")
    page.get_by_label("Values, with commas between").fill("2, 4, 8")
    page.locator("#add-name").fill("rank")
    page.get_by_role("button", name="Add 3 runs").click()
    page.get_by_text("Added rank-1, rank-2, rank-3.").wait_for(timeout=120_000)
    assert [entry.values["lora.rank"] for entry in entries(studio.folder / "runs")] == ["2", "4", "8"]
    page.get_by_role("button", name="Take rank-2 out of the queue").click()
    page.get_by_role("button", name="Take rank-2 out of the queue").wait_for(state="detached")
    assert [entry.run.name for entry in entries(studio.folder / "runs")] == ["rank-1", "rank-3"]


def look_again(page):
    """As when the window is turned to again."""
    page.evaluate("() => { dispatchEvent(new Event('focus')); }")


def test_the_plan_that_was_chosen_stays_chosen_when_a_newer_one_comes(page, studio):
    for name in ("one.yaml", "two.yaml"):
        save_plan(plan(), studio.folder / name)
    page.goto(studio.base)
    page.get_by_text("Add a plan, or a sweep").click()
    page.locator("#add-plan").select_option("one.yaml")
    save_plan(plan(), studio.folder / "three.yaml")
    look_again(page)
    page.locator("#add-plan option", has_text="three.yaml").wait_for(state="attached")
    assert page.locator("#add-plan").input_value() == "one.yaml"


def test_a_plan_that_is_being_checked_is_not_added_again(page, studio):
    held = []
    page.route(
        "**/api/queue", lambda route: held.append(route) if route.request.method == "POST" else route.continue_()
    )
    save_plan(plan(), studio.folder / "one.yaml")
    page.goto(studio.base)
    page.get_by_text("Add a plan, or a sweep").click()
    page.locator("#add-plan option").wait_for(state="attached")
    page.get_by_role("button", name="Add 1 run").click()
    page.get_by_role("button", name="Checking").wait_for()
    with page.expect_response("**/api/queue"):
        look_again(page)
    page.locator("#add-name").press("Enter")
    assert page.locator("#add-go").is_disabled()
    held[0].fulfill(status=201, json={"added": ["one-1"]})
    page.get_by_text("Added one-1.").wait_for()
    page.get_by_role("button", name="Add 1 run").wait_for()
    assert len(held) == 1


def test_the_focus_stays_in_the_queue_when_the_lists_change(page, studio):
    enqueue(create_run("alpha-1", studio.folder / "runs", plan()))
    page.goto(studio.base)
    page.locator("#runs a", has_text="alpha-1").wait_for()
    page.locator("#queue a", has_text="alpha-1").focus()
    enqueue(create_run("beta-1", studio.folder / "runs", plan()))
    page.locator("#runs a", has_text="beta-1").wait_for()
    look_again(page)
    page.locator("#queue a", has_text="beta-1").wait_for()
    assert page.evaluate("() => document.activeElement.closest('#queue a')?.textContent") == "alpha-1"


def test_a_run_that_was_removed_while_the_studio_was_away_goes_from_the_list(page, studio):
    run = create_run("alpha-1", studio.folder / "runs", plan())
    page.goto(studio.base)
    page.locator("#runs a", has_text="alpha-1").wait_for()
    cookie = next(item for item in page.context.cookies() if item["name"].startswith("tunebook"))
    studio.end()
    page.get_by_text("Waiting for the studio").wait_for()
    remove_run(run)
    studio.start()
    page.locator("#line", has_text="it holds the key to this page").wait_for(timeout=20_000)
    page.context.add_cookies([{**cookie, "value": studio.address.split("token=")[1]}])
    page.locator("#runs a", has_text="alpha-1").wait_for(state="detached", timeout=20_000)
    assert names(page) == ["done-1"]
    page.faults.clear()  # the browser says itself that nothing answered


def test_what_cannot_be_queued_is_said(page, studio):
    save_plan(make_plan({"model": {"name": "nowhere"}, "data": {"path": "rows.jsonl"}}), studio.folder / "one.yaml")
    page.goto(studio.base)
    page.get_by_text("Add a plan, or a sweep").click()
    page.get_by_role("button", name="Add 1 run").click()
    page.locator(".toast").first.wait_for(timeout=60_000)
    assert entries(studio.folder / "runs") == []
    page.faults.clear()  # the browser itself reports the refusal


def test_the_best_of_a_sweep_is_marked(page, studio):
    for name, loss in (("rate-1", 2.5), ("rate-2", 2.0), ("rate-3", None)):
        run = create_run(name, studio.folder / "runs", plan())
        enqueue(run, "rate", {"training.learning_rate": "1e-4"})
        if loss:
            events = EventWriter(run.events)
            events.emit("run", state="started", reason="")
            events.emit("evaluation", step=1, epoch=1, values={"validation_loss": loss}, best=True, stopping=[])
            events.emit("run", state="finished", reason="")
    page.goto(studio.base)
    page.locator("#queue .best").wait_for()
    assert page.locator("#queue li", has=page.locator(".best")).locator("a").inner_text() == "rate-2"
    assert page.get_by_role("link", name="Compare what finished").get_attribute("href").endswith("with=rate-1,rate-2")


@pytest.mark.parametrize("view", ["/", "/data"])
def test_the_browser_tells_when_a_run_ends_once_that_was_asked_for(page, studio, view):
    page.add_init_script(LISTENS)
    page.goto(studio.base)
    page.get_by_role("button", name="Notify me when a run ends").click()
    page.get_by_text("Notifications are on").wait_for()
    page.add_init_script("window.Notification.permission = 'granted'")
    run = create_run("live-1", studio.folder / "runs", plan())
    with hold_lock(run.folder):
        events = EventWriter(run.events)
        events.emit("run", state="started", reason="")
        with page.expect_websocket() as feed:
            page.goto(studio.base + view)
        feed.value.wait_for_event("framereceived", predicate=lambda frame: "live-1" in str(frame))
        events.emit("evaluation", step=1, epoch=1, values={"validation_loss": 2.0}, best=True, stopping=[])
        events.emit("run", state="finished", reason="")
        page.wait_for_function("() => window.told.length")
    assert page.evaluate("() => window.told") == [["live-1 is finished", "Validation loss 2.", "tunebook-live-1"]]


def test_a_tab_that_nobody_sees_draws_what_came_once_it_is_looked_at(page, studio):
    page.add_init_script("Object.defineProperty(document, 'hidden', { get: () => !window.looked })")
    with page.expect_websocket() as feed:
        page.goto(studio.base)
    create_run("late-1", studio.folder / "runs", plan())
    feed.value.wait_for_event("framereceived", predicate=lambda frame: "late-1" in str(frame))
    assert names(page) == []
    page.evaluate("() => { window.looked = true; document.dispatchEvent(new Event('visibilitychange')); }")
    page.locator("#runs a", has_text="late-1").wait_for()
    assert sorted(names(page)) == ["done-1", "late-1"]


def test_every_run_can_be_read_and_removed_on_a_phone(page, studio):
    page.set_viewport_size({"width": 375, "height": 780})
    run = create_run("a-run-with-a-rather-long-name-1", studio.folder / "runs", plan())
    events = EventWriter(run.events)
    events.emit("run", state="started", reason="", pid=1)
    events.emit("totals", optimizer_steps=400, steps_per_epoch=100, trainable_parameters=1, parameters=2)
    events.emit("run", state="failed", reason="The loss was not a number at optimizer step 61. Try a lower rate.")
    page.goto(studio.base)
    page.locator("#runs .icon-button").nth(1).wait_for()
    for part in ("#runs .how-far", "#runs .pill", "#runs .icon-button", "#notify", "#search"):
        for box in [one.bounding_box() for one in page.locator(part).all()]:
            assert box["x"] >= 0, part
            assert box["x"] + box["width"] <= 375, part
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 375
