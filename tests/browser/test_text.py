"""Text of every kind through every field, in a real browser: it shows as it is, runs nothing and asks nobody.

The canary is `window.__x`, set by anything that runs, and an element that only markup could make.
"""

from __future__ import annotations

import json
import math

import pytest

from tests.browser.conftest import running, watch
from tests.evaluate.runs import make_run
from tests.studio.conftest import plan
from tunebook.evaluate.report import write_report
from tunebook.files import to_json, write_text
from tunebook.pages.answers import save_answers
from tunebook.pages.catalog import load_page
from tunebook.runs.events import EventWriter
from tunebook.runs.store import create_run

pytestmark = pytest.mark.heavy
KEY = "phase-3-fine-tuning"
HARD = (
    "<script>window.__x=1</script><img src=x onerror=window.__x=1><b data-canary>b</b>"
    "\"'><svg onload=window.__x=1></textarea></title></pre><iframe srcdoc='<script>top.__x=1</script>'>"
    "<a href=javascript:window.__x=1>a</a>{{constructor.constructor('window.__x=1')()}}${window.__x=1}"
    "<math><mtext><table><mglyph><style><img src=x onerror=window.__x=1></style>"
    " עברית \u202eabc\u202c 🙂👩‍👩‍👧 é é NaN \u2028 http://canary.invalid/x.png"
)
NAME = "<img src=x onerror=window.__x=1>.jsonl"  # a file may be called so
SHOWN = "<script>window.__x=1</script>"


def plant(folder):
    """A folder in which every text that the studio can show is a hard one."""
    hard = HARD.replace("\u2028", " ")
    run = make_run(folder / "runs" / "hard-1", steps=40, review={"policy": "all"})
    for step in (0, 40):
        path = run.folder / "samples" / f"step-{step}.json"
        file = json.loads(path.read_text())
        for answer in file["answers"]:
            answer |= {"answer": HARD, "prompt": HARD, "reference": HARD}
        file["answers"][0]["answer"] = "long " * 200_000 + HARD
        write_text(path, to_json(file))
    write_report(run.folder)
    lost = create_run("hard-2", folder / "runs", plan())
    events = EventWriter(lost.events)
    events.emit("run", state="started", reason="", pid=1)
    events.emit("step", id="initialize", state="done", seconds=1.0, evidence={"device": HARD, HARD: 1})
    events.emit("step", id="validate", state="failed", seconds=1.0, reason=HARD)
    events.emit("totals", optimizer_steps=8, steps_per_epoch=4, trainable_parameters=1, parameters=2)
    for step, loss in enumerate([3.0, math.nan, math.inf, -math.inf, 2.0], 1):
        events.emit("metrics", step=step, epoch=0.1, values={"training_loss": loss, HARD: 1.0}, parts={HARD: 1.0})
    stopping = [{"rule": HARD, "text": HARD, "count": 1, "of": 2}]
    events.emit("evaluation", step=5, epoch=0.1, values={"validation_loss": 2.0}, best=True, stopping=stopping)
    events.emit("warning", code=HARD, message=HARD)
    events.emit("checkpoint", step=5, ok=False, best=False, removed=[], message=HARD)
    events.emit("run", state="failed", reason=HARD)
    (lost.folder / "run.log").write_text(HARD)
    quoted = json.dumps(hard, ensure_ascii=False)
    (folder / "mine.md").write_text(
        f"---\ntitle: {quoted}\nsubtitle: {quoted}\nphase: 7\n---\n## {hard}\n\n{hard}\n\n"
        f"{{type: form}}\n**{hard}**\n\n"
        f"{{type: text, id: who, placeholder: {quoted}}}\n\n**Which?**\n\n"
        f"{{type: select, id: which, options: [{quoted}, b]}}\n"
    )
    (folder / "broken.md").write_text(f"---\ntitle: {quoted}\n---\n## A\n{{type: {quoted}}}\n")
    rows = [{"prompt": HARD, "completion": HARD}, {"prompt": HARD}, {HARD: HARD}, {"prompt": "", "completion": HARD}]
    (folder / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows) + HARD + "\n")
    answers = {"how-will-you-prevent-overfitting": HARD, "early-stopping-conditions": HARD}
    save_answers(folder / "answers" / f"{KEY}.yaml", load_page(KEY), answers, partial=True)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hard") / "<img src=x onerror=window.__x=1>"
    folder.mkdir()
    plant(folder)
    with running(folder) as found:
        yield found


def untouched(page):
    assert page.evaluate("() => window.__x") is None
    assert page.locator("[data-canary], iframe, main script, main img[src=x]").count() == 0


def shows(page, text=SHOWN):
    assert text in page.locator("body").inner_text()
    untouched(page)


def test_hard_text_on_the_home_view(page, studio):
    page.goto(studio.base)
    page.locator("#runs a").first.wait_for()
    shows(page)
    assert page.locator(".foot code").inner_text().endswith("<img src=x onerror=window.__x=1>")
    page.locator("#search").fill("<script>")
    shows(page)


def test_hard_text_on_the_view_of_a_run_and_a_loss_that_is_not_a_number(page, studio):
    page.goto(f"{studio.base}/runs/hard-2")
    page.locator("#notice .notice").first.wait_for()
    shows(page)
    assert "3 steps whose value was not a number" in page.locator("#chart-note").inner_text()
    page.locator("#log-box summary").click()
    page.get_by_text(SHOWN).last.wait_for()
    untouched(page)


def test_hard_answers_on_the_view_of_a_run_and_one_of_a_megabyte(page, studio):
    page.goto(f"{studio.base}/runs/hard-1")
    page.locator(".pair").first.wait_for()
    assert page.locator(".said .tuned p").nth(1).inner_text().startswith(SHOWN)
    assert page.locator(".said .tuned p").first.text_content().endswith("x.png")
    untouched(page)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_hard_text_in_the_report(page, studio):
    page.goto(f"{studio.base}/runs/hard-1/report")
    page.locator(".pair").first.wait_for(timeout=60_000)
    shows(page)


@pytest.mark.parametrize("path", ["/runs/hard-1/review", "/compare?with=hard-1"])
def test_hard_answers_where_they_are_judged_and_compared(page, studio, path):
    page.goto(studio.base + path)
    page.get_by_text(SHOWN).first.wait_for(timeout=60_000)
    untouched(page)


def test_hard_text_on_a_page_of_ones_own_and_in_its_faults(page, studio):
    for key in ("own-mine", "own-broken"):
        page.goto(f"{studio.base}/pages/{key}")
        page.locator("h1").wait_for()
        untouched(page)
    page.goto(f"{studio.base}/pages/own-mine")
    assert SHOWN in page.locator("h1").inner_text()


def test_hard_answers_on_a_page_and_what_is_read_of_them(page, studio):
    page.goto(f"{studio.base}/pages/{KEY}")
    field = page.locator("[data-id=how-will-you-prevent-overfitting] textarea")
    page.wait_for_function("() => document.querySelector('[data-id=how-will-you-prevent-overfitting] textarea').value")
    assert field.input_value().startswith(SHOWN)
    field.fill(f"{HARD} again, or after 3 epochs")
    page.locator(".reading:not([hidden])").first.wait_for()
    page.locator("#model").fill(HARD)
    page.get_by_text("Answers kept").wait_for()
    untouched(page)


def test_hard_rows_and_a_hard_file_name_on_the_data_view(page, studio):
    page.goto(f"{studio.base}/data")
    page.locator("#model").fill("")
    page.locator("#file").select_option(NAME)
    page.locator("#go").click()
    page.locator(".findings li").first.wait_for(timeout=60_000)
    untouched(page)


def test_a_hard_name_that_does_not_exist(page, studio):
    for path in (f"/runs/{SHOWN}", f"/pages/{SHOWN}", f"/data?file={HARD}", f"/?{HARD}", f"/{SHOWN}"):
        page.goto(studio.base + path.replace("#", ""))
        untouched(page)
    page.faults.clear()  # the browser itself says that what was asked for is not there


def test_a_canary_would_sing(page, studio):
    """The oracle works: the same text as markup makes the element (its scripts are stopped by the policy)."""
    page.goto(studio.base)
    page.evaluate("text => document.querySelector('main').insertAdjacentHTML('beforeend', text)", HARD)
    with pytest.raises(AssertionError):
        untouched(page)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("() => window.__x") is None, "and even then the policy lets nothing run"
    page.close()  # what the browser says of it may come late
    page.faults.clear()


@pytest.fixture
def page(chromium, studio):
    """As in conftest, over this module's one studio."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    found = context.new_page()
    found.faults = faults = []
    watch(found, studio, faults)
    found.goto(studio.address)
    yield found
    context.close()
    assert not faults
