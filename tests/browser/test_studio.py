"""The studio as a person uses it, in a real browser. `make browser-test` runs this."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.studio.conftest import plan
from tunebook.runs.events import EventWriter
from tunebook.runs.store import create_run

pytestmark = pytest.mark.heavy
AXE = Path(__file__).parents[2] / "scripts" / "node_modules" / "axe-core" / "axe.min.js"
KEY = "phase-3-fine-tuning"
VIEWS = ["/", "/runs/done-1", f"/pages/{KEY}", "/data", "/runs/done-1/report"]


def order_of(page):
    return page.locator("rank-list li").evaluate_all("rows => rows.map(row => row.dataset.text)")


def kept(studio):
    return yaml.safe_load((studio.folder / "answers" / f"{KEY}.yaml").read_text())["answers"]


def test_a_row_is_moved_with_the_keyboard_alone_and_the_order_outlives_a_reload(page, studio):
    page.goto(f"{studio.base}/pages/{KEY}")
    before = order_of(page)
    page.locator(".grip").nth(2).focus()
    for key in (" ", "ArrowUp", "ArrowUp", " "):
        page.keyboard.press(key)
    moved = [before[2], before[0], before[1], *before[3:]]
    assert order_of(page) == moved
    page.get_by_text("Answers kept").wait_for()
    page.reload()
    page.locator(".judged:not([hidden])").wait_for()
    assert order_of(page) == moved == kept(studio)["arrange-fine-tuning-steps-in-correct-order"]


def test_escape_puts_a_row_back(page, studio):
    page.goto(f"{studio.base}/pages/{KEY}")
    before = order_of(page)
    page.locator(".grip").nth(5).focus()
    for key in (" ", "ArrowUp", "ArrowUp", "Escape"):
        page.keyboard.press(key)
    assert order_of(page) == before


@pytest.mark.parametrize(("start", "to"), [(0, 9), (9, 0), (3, 5), (6, 2)])
def test_a_row_is_dragged_with_the_mouse(page, studio, start, to):
    page.goto(f"{studio.base}/pages/{KEY}")
    before = order_of(page)
    rows = page.locator("rank-list li")
    page.locator("rank-list").evaluate("list => list.scrollIntoView({block: 'center'})")
    begin, end = rows.nth(start).bounding_box(), rows.nth(to).bounding_box()
    page.mouse.move(begin["x"] + 120, begin["y"] + begin["height"] / 2)
    page.mouse.down()
    page.mouse.move(begin["x"] + 120, end["y"] + end["height"] / 2 + (4 if to > start else -4), steps=14)
    page.mouse.up()
    expected = [text for text in before if text != before[start]]
    expected.insert(to, before[start])
    assert order_of(page) == expected


def test_why_an_order_fails_is_said_when_asked(page, studio):
    page.goto(f"{studio.base}/pages/{KEY}")
    page.get_by_role("button", name="Show why").click()
    assert "must come before" in page.locator(".reasons").inner_text()


def test_what_was_read_of_prose_is_shown_while_it_is_typed(page, studio):
    page.goto(f"{studio.base}/pages/{KEY}")
    field = page.locator("[data-about=stopping] textarea")
    field.fill("no improvement for 3 evaluations, or when the moon is full <img src=x onerror=alert(1)>")
    page.locator("[data-about=stopping] .read").first.wait_for()
    shown = page.locator("[data-about=stopping] .reading").inner_text()
    assert "not improved for 3 evaluations" in shown
    assert "moon" in shown
    assert page.locator(".reading img").count() == 0


def test_an_answer_in_one_tab_shows_in_the_other(page, studio):
    page.goto(f"{studio.base}/pages/{KEY}")
    other = page.context.new_page()
    other.goto(f"{studio.base}/pages/{KEY}")
    other.get_by_text("shape only").wait_for()
    page.locator("[data-id=batch-size] .choice").nth(3).click()
    other.locator("[data-id=batch-size] .choice").nth(3).locator("input:checked").wait_for()


def test_a_run_is_watched_live_and_the_curve_goes_on_after_the_studio_was_away(page, studio):
    run = create_run("live-1", studio.folder / "runs", plan())
    events = EventWriter(run.events)
    events.emit("run", state="started", reason="", pid=1)

    def steps(first, last):
        for step in range(first, last):
            events.emit("metrics", step=step, epoch=step / 10, values={"training_loss": 3 / step}, parts={"data": 1.0})

    steps(1, 50)
    page.goto(f"{studio.base}/runs/live-1")
    page.locator(".legend b").first.wait_for()
    steps(50, 80)
    page.locator(".legend b", has_text="79").wait_for()
    cookie = next(item for item in page.context.cookies() if item["name"].startswith("tunebook"))
    studio.end()
    page.get_by_text("Waiting for the studio").wait_for()
    steps(80, 100)
    page.faults.clear()  # the browser says itself that nothing answers
    studio.start()
    page.context.add_cookies([{**cookie, "value": studio.address.split("token=")[1]}])
    page.locator(".legend b", has_text="99").wait_for()
    page.faults.clear()


def test_what_a_model_or_a_file_says_is_text(page, studio):
    hard = "<script>window.__x = 1</script><img src=x onerror='window.__x = 1'> עברית 🙂"
    samples = studio.folder / "runs" / "done-1" / "samples"
    for step in (0, 40):
        file = json.loads((samples / f"step-{step}.json").read_text())
        file["answers"][0] |= {"answer": hard, "prompt": hard, "reference": hard}
        (samples / f"step-{step}.json").write_text(json.dumps(file))
    page.goto(f"{studio.base}/runs/done-1")
    page.locator(".pair").first.wait_for()
    assert hard in page.locator(".said .tuned p").first.inner_text()
    assert page.evaluate("() => window.__x") is None


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, studio, view, theme):
    if not AXE.exists():
        pytest.skip("axe-core is not installed: scripts/studio_libraries.py --tests")
    page.emulate_media(color_scheme=theme)
    page.goto(f"{studio.base}{view}")
    page.locator("main").wait_for()
    page.wait_for_load_state("networkidle")
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run()")
    serious = [
        (item["id"], [node["target"] for node in item["nodes"]][:5])
        for item in found["violations"]
        if item["impact"] in ("serious", "critical")
    ]
    assert not serious


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_is_wider_than_a_phone(page, studio, view):
    page.set_viewport_size({"width": 375, "height": 780})
    page.goto(f"{studio.base}{view}")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_weighs_under_200_kb_without_data(page, studio, view):
    sizes: dict[str, int] = {}
    page.on("response", lambda answer: sizes.__setitem__(answer.url, int(answer.headers.get("content-length", 0))))
    page.goto(f"{studio.base}{view}")
    page.wait_for_load_state("networkidle")
    assert 0 < sum(size for url, size in sizes.items() if "/api/" not in url) < 200_000
