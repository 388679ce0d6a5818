"""The studio as a person uses it, in a real browser. `make browser-test` runs this."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.evaluate.runs import make_run
from tests.studio.conftest import plan
from tunebook.runs.events import EventWriter
from tunebook.runs.store import create_run

pytestmark = pytest.mark.heavy
AXE = Path(__file__).parents[2] / "scripts" / "node_modules" / "axe-core" / "axe.min.js"
KEY = "phase-3-fine-tuning"
VIEWS = [
    "/",
    "/runs/done-1",
    f"/pages/{KEY}",
    "/data?file=rows.jsonl&model=",
    "/runs/done-1/report",
    "/runs/done-1/review",
    "/compare?with=done-1",
    "/author",
]


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


def test_earlier_answers_that_fit_a_page_no_more_are_named_and_copied_before_they_go(page, studio):
    file = studio.folder / "answers" / f"{KEY}.yaml"
    file.parent.mkdir()
    file.write_text(f"format: 1\npage: {KEY}-workflow\nanswers: {{learning-rate: 7e-1 (gone), long-gone: my words}}\n")
    page.goto(f"{studio.base}/pages/{KEY}")
    page.locator("#unfit li", has_text="not among the options").wait_for()
    page.locator("[data-id=batch-size] .choice").nth(3).click()
    page.get_by_text(f"answers/{KEY}.yaml.before still holds them").wait_for()
    assert "my words" in file.with_name(f"{KEY}.yaml.before").read_text()


def test_why_an_answer_is_not_kept_is_said(page, studio):
    file = studio.folder / "answers" / f"{KEY}.yaml"
    file.parent.mkdir()
    file.write_text(f'format: 1\npage: {KEY}-workflow\nanswers:\n  learning-rate: "3e-5\n')
    page.goto(f"{studio.base}/pages/{KEY}")
    page.locator("#unfit", has_text="cannot be read").wait_for()
    page.locator("[data-id=batch-size] .choice").nth(3).click()
    page.locator("#saved", has_text="Mend that line").wait_for()
    page.close()  # it tries again and again
    page.faults.clear()  # the browser itself reports the refusal


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
    page.locator(".legend").get_by_text("79", exact=True).wait_for()
    cookie = next(item for item in page.context.cookies() if item["name"].startswith("tunebook"))
    studio.end()
    page.get_by_text("Waiting for the studio").wait_for()
    steps(80, 100)
    page.faults.clear()  # the browser says itself that nothing answers
    studio.start()
    page.context.add_cookies([{**cookie, "value": studio.address.split("token=")[1]}])
    page.locator(".legend").get_by_text("99", exact=True).wait_for()
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


def test_tasks_ticked_off_show_in_the_other_tab_and_after_a_restart(page, studio):
    page.goto(f"{studio.base}/pages/{KEY}")
    other = page.context.new_page()
    other.goto(f"{studio.base}/pages/{KEY}")
    other.get_by_text("shape only").wait_for()
    page.locator(".tasks input").nth(1).check()
    other.locator(".tasks input:checked").wait_for()
    page.reload()
    page.locator(".tasks input:checked").wait_for()
    assert page.locator(".tasks input").evaluate_all("all => all.map(one => one.checked)")[:3] == [False, True, False]


def test_a_file_is_dropped_looked_at_and_taken_to_a_page(page, studio):
    page.goto(f"{studio.base}/data")
    page.locator("#model").fill("")
    rows = '{"prompt": "<b>hi</b>", "completion": "yes"}\n' * 4
    page.evaluate(
        """text => {
            const data = new DataTransfer();
            data.items.add(new File([text], "dropped.jsonl"));
            document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }""",
        rows,
    )
    page.get_by_text("Every row can be trained on.").wait_for(timeout=60_000)
    assert (studio.folder / "dropped.jsonl").read_text() == rows
    page.get_by_role("link", name="Use it on a page").click()
    page.locator("#plan dl").first.wait_for()
    assert page.locator("#data").input_value() == "dropped.jsonl"


def test_what_was_found_in_one_file_goes_when_another_is_chosen(page, studio):
    (studio.folder / "other.jsonl").write_text('{"prompt": "c", "completion": "d"}\n')
    page.goto(f"{studio.base}/data")
    page.locator("#model").fill("")
    page.locator("#file").select_option("rows.jsonl")
    page.get_by_role("button", name="Look at it").click()
    page.locator("#found .accept").wait_for(timeout=60_000)
    page.locator("#file").select_option("other.jsonl")
    assert page.locator("#found *").count() == 0
    assert not page.locator("#row-card").is_visible()


def test_columns_of_an_unknown_form_are_mapped_by_hand(page, studio):
    rows = "".join(json.dumps({"frage": f"what {n}", "antwort": f"that {n}"}) + "\n" for n in range(6))
    (studio.folder / "german.jsonl").write_text(rows)
    page.goto(f"{studio.base}/data")
    page.locator("#model").fill("")
    page.locator("#file").select_option("german.jsonl")
    page.get_by_role("button", name="Look at it").click()
    page.locator(".notice.bad", has_text="frage").wait_for(timeout=60_000)
    for place, (ours, yours) in enumerate([("prompt", "frage"), ("completion", "antwort")]):
        page.locator(".mapping select").nth(place).select_option(ours)
        page.locator(".mapping input").nth(place).fill(yours)
    page.get_by_role("button", name="Look again").click()
    page.get_by_text("Every row can be trained on.").wait_for(timeout=60_000)
    assert "data.columns" in page.get_by_role("link", name="Use it on a page").get_attribute("href")


def test_a_page_of_ones_own_is_written_mended_and_answered(page, studio):
    page.goto(f"{studio.base}/author")
    page.get_by_role("button", name="Begin with an example").click()
    page.get_by_text("can be answered").wait_for()
    text = page.locator("#text").input_value()
    page.locator("#text").fill(text.replace("type: select", "type: selct"))
    page.locator(".source .row.error p", has_text="select").wait_for()
    assert page.get_by_role("button", name="Keep and answer it").is_disabled()
    page.locator("#text").fill(text)
    page.get_by_text("can be answered").wait_for()
    page.get_by_role("button", name="Keep and answer it").click()
    page.wait_for_url("**/pages/own-my-first-page")
    page.get_by_text("shape only").wait_for()


def test_a_page_that_is_written_is_not_replaced_or_left_unasked(page, studio):
    page.goto(f"{studio.base}/author")
    page.locator("#text").fill("my own words")
    page.get_by_role("button", name="Begin with an example").click()
    page.get_by_role("button", name="Cancel").click()
    assert page.locator("#text").input_value() == "my own words"
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.wait_for_function("() => !document.querySelector('#text').value")
    (asked,) = page.faults
    assert asked.startswith("dialog")
    page.faults.clear()
    page.get_by_role("button", name="Begin with an example").click()
    page.get_by_text("can be answered").wait_for()
    page.reload()  # an example can be had again


def test_what_is_typed_into_the_promotion_stays_while_something_is_done_and_a_look_fails(page, studio):
    export = {"formats": {"safetensors": {"bytes": 1e6, "folder": "export", "parity": {"ok": True}}}}
    states = iter([None, "running", "away", "done"])

    def look(route):
        if route.request.method == "POST" or (state := next(states, "done")) is None:
            route.fulfill(json={"work": None, "export": export, "deployment": None})
        elif state == "away":
            route.fulfill(status=500, json={})
        else:
            work = {"what": "export", "state": state, "said": []}
            route.fulfill(json={"work": work, "export": export, "deployment": None})

    page.route("**/api/runs/done-1/work", look)
    page.goto(f"{studio.base}/runs/done-1/report")
    page.get_by_label("Name of the version").fill("house")
    page.get_by_role("button", name="Export again").first.click()
    page.locator(".work", has_text="Exporting").wait_for()
    assert page.get_by_role("button", name="Promote").is_disabled()
    page.locator(".work", has_text="Done.").wait_for()
    assert page.get_by_role("button", name="Promote").is_enabled()
    assert page.get_by_label("Name of the version").input_value() == "house"
    page.faults.clear()  # the browser itself reports the look that failed


def test_a_spike_of_one_step_in_a_hundred_thousand_is_seen(page, studio):
    run = create_run("long-1", studio.folder / "runs", plan())
    events = EventWriter(run.events)
    events.emit("run", state="started", reason="", pid=1)
    line = {"kind": "metrics", "epoch": 1.0, "parts": {}}
    with run.events.open("a") as file:
        for step in range(1, 100_001):
            loss = 90.0 if step == 50_000 else 2.0
            values = {"training_loss": loss}
            file.write(json.dumps({"seq": step + 1, "time": 1.0, **line, "step": step, "values": values}) + "\n")
    page.goto(f"{studio.base}/runs/long-1")
    page.locator(".legend").get_by_text("100,000", exact=True).wait_for(timeout=30_000)
    page.locator("#chart canvas").wait_for()
    high = page.evaluate(
        """() => {
            const canvas = document.querySelector("#chart canvas"), paint = canvas.getContext("2d");
            const {width, height} = canvas, found = new Set();
            const {data} = paint.getImageData(0, 0, width, height);
            for (let x = 0; x < width; x++) for (let y = 0; y < height / 4; y++) {
                const [r, g, b, a] = data.slice(4 * (y * width + x), 4 * (y * width + x) + 4);
                if (a > 30 && g - r > 20) found.add(Math.round(100 * x / width));
            }
            return [...found];
        }"""
    )
    assert high
    assert all(48 <= place <= 58 for place in high)


def test_values_that_the_arrow_keys_read_are_said(page, studio):
    page.goto(f"{studio.base}/runs/done-1")
    page.locator("#chart canvas").wait_for()
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    said = page.locator("#legend + [role=status]").text_content()
    assert said.startswith("Step ")
    assert "Validation" in said


def test_other_runs_are_laid_over_and_stay_in_the_address(page, studio):
    run = create_run("other-1", studio.folder / "runs", plan())
    events = EventWriter(run.events)
    events.emit("run", state="started", reason="", pid=1)
    for step in range(1, 60):
        events.emit("metrics", step=step, epoch=step / 10, values={"training_loss": 3 / step}, parts={"data": 1.0})
    page.goto(f"{studio.base}/runs/done-1")
    page.locator("#over").select_option("other-1")
    page.locator(".legend", has_text="other-1").wait_for()
    page.wait_for_url("**/runs/done-1?over=other-1")
    events.emit("metrics", step=60, epoch=6.0, values={"training_loss": 0.0123}, parts={"data": 1.0})
    page.locator(".legend b", has_text="0.0123").wait_for()
    page.reload()
    page.locator(".legend", has_text="other-1").wait_for()
    page.get_by_role("button", name="Take other-1 off").click()
    page.locator(".legend", has_text="other-1").wait_for(state="detached")


def test_runs_are_compared_in_a_table_and_their_answers_side_by_side(page, studio):
    make_run(studio.folder / "runs" / "done-2", steps=40, seed=3, training={"learning_rate": 1e-4})
    page.goto(f"{studio.base}/compare?with=done-1,done-2")
    table = page.locator(".comparison")
    table.wait_for(timeout=60_000)
    assert table.locator("thead th").all_inner_texts() == ["Base", "done-1", "done-2"]
    assert table.locator("tr.differs", has_text="Learning rate").count() == 1
    assert page.locator("#answers .said").first.locator("> div").count() == 3
    page.get_by_role("button", name="Leave out done-1").click()
    page.wait_for_url("**/compare?with=done-2")


def test_the_best_of_runs_that_are_worse_than_their_base_is_not_called_best(page, studio):
    measured = {"worse-1": (2.5, 0.6), "worse-2": (2.4, 0.7)}
    for name in measured:
        make_run(studio.folder / "runs" / name, steps=40)

    def worse(route):
        report = route.fetch().json()
        loss, right = measured[route.request.url.split("/")[-2]]
        numbers = {sign["id"]: sign.setdefault("numbers", {}) for sign in report["indicators"]}
        numbers["validation"] |= {"base": 2.0, "tuned": loss}
        numbers["retention"] |= {"base": 0.5, "tuned": right}
        route.fulfill(json=report)

    page.route("**/api/runs/worse-*/report", worse)
    page.goto(f"{studio.base}/compare?with=worse-1,worse-2")
    rows = page.locator(".comparison tbody tr")
    rows.first.wait_for(timeout=60_000)
    assert rows.filter(has_text="Validation loss").locator(".best").count() == 0
    assert rows.filter(has_text="General questions right").locator(".best").inner_text() == "70.0 %"


@pytest.mark.parametrize(
    ("data", "base", "best"), [("one.jsonl", 3.0, 1), ("two.jsonl", 3.0, 0), ("one.jsonl", 3.5, 0)]
)
def test_losses_on_different_data_are_not_held_against_each_other(page, studio, data, base, best):
    names = ("first-1", "second-1")
    for name in names:
        make_run(studio.folder / "runs" / name, steps=40)

    def measured(route):
        report = route.fetch().json()
        second = "second-1" in route.request.url
        numbers = {sign["id"]: sign.setdefault("numbers", {}) for sign in report["indicators"]}
        numbers["validation"] |= {"base": base if second else 3.0, "tuned": 1.0 if second else 2.0}
        route.fulfill(json=report | {"data": data if second else "one.jsonl"})

    page.route("**/api/runs/*/report", measured)
    page.goto(f"{studio.base}/compare?with={','.join(names)}")
    row = page.locator(".comparison tbody tr", has_text="Validation loss")
    row.wait_for(timeout=60_000)
    assert row.locator(".best").count() == best
    assert ("Different data" in page.locator("#table-note").inner_text()) == (best == 0)


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
