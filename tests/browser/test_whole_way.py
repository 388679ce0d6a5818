"""The whole way in one browser: page, plan, a real run of a tiny model, review, report, a talk, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.browser.conftest import running, watch
from tests.tiny import save_tiny
from tests.workflow.conftest import write_rows
from tunebook.steps import STEPS

pytestmark = pytest.mark.heavy
REFERENCE = Path(__file__).parents[3] / "shared" / "seed" / "phase-3-fine-tuning.md"
PROSE = {
    "overfitting": "weight decay 0.05, dropout 5%",
    "stopping": "no improvement for 50 evaluations",
    "quality": "compare 4 answers with the base",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TUNEBOOK_RUNS", raising=False)
    save_tiny(tmp_path / "tiny")
    write_rows(tmp_path / "rows.jsonl", 600)
    return tmp_path


def order_with_the_keyboard(page):
    """Put the steps in the table's order: lift a row with Space, move it with arrows, drop it with Space."""
    rows = page.locator("rank-list li")
    for place, step in enumerate(STEPS):
        texts = rows.evaluate_all("rows => rows.map(row => row.dataset.text)")
        at = texts.index(step.title)
        if at == place:
            continue
        page.locator(".grip").nth(at).focus()
        for key in (" ", *["ArrowUp"] * (at - place), " "):
            page.keyboard.press(key)
    page.get_by_text("This order works.").wait_for()


def answer_everything(page):
    for question in page.locator(".question").all():
        asks, about = question.get_attribute("data-asks"), question.get_attribute("data-about")
        if asks == "one":
            question.locator(".choice").first.click()
        elif asks == "many":
            for choice in question.locator(".choice").all():
                choice.locator("input").check()
        elif asks == "prose":
            question.locator("textarea").fill(PROSE.get(about, ""))
    page.get_by_text("Answers kept").wait_for()
    page.locator("[data-about=stopping] .read").wait_for()


def wait_for_step(page, step):
    page.wait_for_function(
        "step => Number(document.querySelector('#stats b')?.textContent.replaceAll(',', '')) >= step",
        arg=step,
        timeout=120_000,
    )


def test_the_whole_way(chromium, folder):
    pages = [REFERENCE] if REFERENCE.exists() else []
    key = "own-phase-3-fine-tuning" if pages else "phase-3-fine-tuning"
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    faults: list[str] = []
    with running(folder, *pages) as studio:
        page = context.new_page()
        watch(page, studio, faults)
        page.goto(studio.address)
        page.locator(f'a[href="/pages/{key}"]').click()
        page.locator(".judged:not([hidden])").wait_for()

        order_with_the_keyboard(page)
        answer_everything(page)
        page.locator("#model").fill("tiny")
        page.locator("#data").select_option("rows.jsonl")
        page.locator("#plan").get_by_text("optimizer steps").wait_for(timeout=60_000)
        page.get_by_role("button", name="Start the run").click()
        page.wait_for_url("**/runs/rows-1", timeout=120_000)

        wait_for_step(page, 5)
        assert not faults
        studio.kill()
        page.get_by_text("Waiting for the studio").wait_for()
        studio.start()
        second = context.new_page()
        second.goto(studio.address)  # as `tunebook studio` opens it: the tab that waits has the new key, too
        second.close()
        page.locator("#line[hidden]").wait_for(state="attached", timeout=30_000)
        assert all("WebSocket" in fault or "ERR_CONNECTION" in fault for fault in faults), faults
        faults.clear()
        page.locator("#state.finished").wait_for(timeout=240_000)
        assert page.locator(".steps li.done").count() >= 9
        steps = page.evaluate("() => document.querySelector('#chart canvas') !== null")
        assert steps

        page.get_by_role("link", name="Review").click()
        for _ in range(3):
            page.locator(".question").wait_for()
            page.keyboard.press("a")
            page.locator(".told").wait_for()
            page.keyboard.press("k")
            page.locator(".told").wait_for(state="detached")
        rows = [json.loads(line) for line in (folder / "runs/rows-1/reviews.jsonl").read_text().splitlines()]
        assert len({row["id"] for row in rows}) == 3

        page.goto(f"{studio.base}/runs/rows-1/report")
        page.locator(".sign").nth(3).wait_for(timeout=60_000)
        page.get_by_text("3 answers judged in blind order").wait_for()
        adapter = page.locator(".formats li", has_text="Adapter")
        adapter.get_by_role("button").click()
        page.get_by_text("Done.", exact=True).wait_for(timeout=120_000)
        assert (folder / "runs/rows-1/export/adapter/adapter_model.safetensors").is_file()

        page.goto(f"{studio.base}/compare?with=rows-1")
        page.locator("#question").fill("What is the red fox?")
        page.keyboard.press("Enter")
        page.get_by_text("a second").nth(1).wait_for(timeout=120_000)
        assert page.locator("#talk .said > div").count() == 2
        page.close()
    context.close()
    assert not faults
    kept = yaml.safe_load((folder / "answers" / f"{key}.yaml").read_text())["answers"]
    assert "no improvement for 50 evaluations" in kept.values()
