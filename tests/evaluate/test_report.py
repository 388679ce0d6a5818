"""The report says what the run folder says, in three forms, and no text of a run can break out of them."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from tests.evaluate.runs import base_answer, make_run, samples
from tunebook.evaluate.chart import interval_line, loss_curves, nice_ticks
from tunebook.evaluate.prompts import bare_prompts
from tunebook.evaluate.report import make_report, shown_name, write_report
from tunebook.evaluate.report_html import to_html
from tunebook.evaluate.report_markdown import to_markdown
from tunebook.evaluate.report_words import score_rows
from tunebook.files import read_json, write_json
from tunebook.runs.events import EventWriter

EVIL = "</p><script>alert(1)</script> `x` | [a](javascript:1) <img src=x onerror=1> \x00\u202e & é 🙂\n````\n<i>out</i>"


class Page(HTMLParser):
    """Tags opened and closed, attributes, and the text between."""

    EMPTY = frozenset({"meta"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "some-run-7")
    return run, write_report(run.folder)


def test_the_three_files_are_written_and_the_json_is_what_is_returned(finished):
    run, report = finished
    assert read_json(run.folder / "report.json") == json.loads(json.dumps(report))
    assert to_html(report) == (run.folder / "report.html").read_text()
    assert to_markdown(report) == (run.folder / "report.md").read_text()


def test_it_holds_indicators_curves_answers_and_how_training_ended(finished):
    _, report = finished
    assert [item["verdict"] for item in report["indicators"]] == ["yes"] * 4
    assert (
        report["headline"]
        == "Measured by the references, the tuned model answers better than its base, and it kept its general ability."
    )
    assert report["curves"]["validation"]["step"] == [0, 20, 40, 60]
    assert len(report["curves"]["training"]["value"]) == 60
    assert len(report["answers"]) == 12
    assert report["answers"][0]["prompt"] == "How do I copy a file? (0)"
    assert report["end"] == {
        "reason": "the planned steps are done",
        "step": 60,
        "planned_steps": 60,
        "early": False,
        "result_step": 60,
        "chosen_of": 3,
        "epoch": 3.0,
        "stopping": [],
    }
    assert report["lengths"]["tuned"]["unended"] == 0
    assert report["not_understood"] == ["feel the vibe"]
    assert report["export"] is None


def test_name_folder_and_time_stand_in_the_json_alone(finished):
    run, report = finished
    for file in ("report.md", "report.html"):
        text = (run.folder / file).read_text()
        assert run.name not in text
        assert str(run.folder.parent) not in text
    shorter = report | {"name": "x", "folder": "y", "seconds": 1.0, "parts": {}}
    assert to_html(shorter) == to_html(report)
    assert to_markdown(shorter) == to_markdown(report)


def test_training_that_has_not_ended_is_not_told_as_ended(finished):
    _, report = finished
    early = report | {"state": "running", "end": report["end"] | {"reason": "", "step": 12}}
    for text in (to_html(early), to_markdown(early)):
        assert "Training is under way, 12 optimizer steps of 60 planned." in text
        assert "ended after" not in text


def test_a_reason_that_names_the_run_and_its_folder_is_told_without_them(tmp_path):
    run = make_run(tmp_path / "night-3")
    events = EventWriter(run.events)
    reason = f"The run 'night-3' was stopped. It is in {run.folder}. `tunebook resume night-3` goes on."
    events.emit("warning", code="x", message=reason)
    events.emit("run", state="stopped", reason=reason)
    report = make_report(run.folder)
    for text in (to_html(report), to_markdown(report)):
        assert "tunebook resume RUN" in text
        assert "night-3" not in text


def test_the_page_is_whole_and_asks_nothing_from_elsewhere(finished):
    run, _ = finished
    page = Page((run.folder / "report.html").read_text())
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    for words in (
        "Does training loss fall?",
        "What to try next",
        "feel the vibe",
        "Reference",
        "How do I stop a process?",
    ):
        assert words in page.text
    assert page.tags.count("svg") == 6  # four intervals, the loss curves, lengths of answers


def spoiled(tmp_path):
    """A run whose every text tries to break out."""
    run = make_run(tmp_path / "run", not_understood=[EVIL], model={"name": EVIL}, data={"path": "<b>.jsonl"})
    for file in (run.folder / "samples").iterdir():
        value = read_json(file)
        for row in value["answers"]:
            row |= {
                "prompt": row["prompt"] + EVIL,
                "reference": row["reference"] + EVIL,
                "answer": row["answer"] + EVIL,
            }
        write_json(file, value)
    events = EventWriter(run.events)
    events.emit("warning", code="x", message=EVIL)
    events.emit("run", state="failed", reason=EVIL)
    return run


def test_no_text_breaks_out_of_the_page(tmp_path):
    page = Page(to_html(make_report(spoiled(tmp_path).folder)))
    assert page.open == []
    assert not {"script", "img", "a"} & set(page.tags)
    assert "alert(1)" in page.text
    assert "\x00" not in page.text
    assert "\u202e" not in page.text


def test_no_text_breaks_out_of_the_markdown(tmp_path):
    tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown(make_report(spoiled(tmp_path).folder)))
    flat = [part for token in tokens for part in [token, *(token.children or [])]]
    assert not [token.type for token in flat if token.type in ("html_block", "html_inline", "link_open", "image")]
    rows = [token for token in flat if token.type == "tr_open"]
    assert len([token for token in flat if token.type == "td_open"]) == 3 * 4 + 5 * (len(rows) - 6)
    assert any("alert(1)" in token.content for token in flat if token.type == "fence")


def test_regressions_are_worst_first_and_only_what_got_worse(tmp_path):
    run = make_run(tmp_path / "run")
    path = run.folder / "evaluation" / "heldout-tuned.json"
    value = read_json(path)
    for place, nats in ((3, 900.0), (8, 1200.0)):
        value["per_example"][place]["nats"] = nats
    write_json(path, value)
    found = make_report(run.folder)["regressions"]
    assert [row["id"] for row in found] == ["row-8", "row-3"]
    assert found[0]["tuned"] == 40


def test_export_and_deployment_are_told(tmp_path):
    run = make_run(tmp_path / "run")
    parity = {"ok": True, "mean_kl": 2e-7, "answers_equal": 4, "answers": 4}
    entry = {"folder": "export/safetensors", "bytes": 5_000_000, "parity": parity}
    write_json(run.folder / "export" / "export.json", {"formats": {"safetensors": entry}, "parity": parity})
    write_json(run.folder / "export" / "deployment.json", {"verdict": "passed", "equal": 12, "total": 12})
    report = make_report(run.folder)
    assert (report["export"]["folder"], report["export"]["parity"]) == ("export/safetensors", parity)
    text = Page(to_html(report)).text
    assert "the same model when loaded again" in text
    assert "12 of 12 answers" in text
    assert "Deployment test passed: from the exported files alone" in to_markdown(report)


def exported(run, parity, **deployment):
    """The report's text on an export with this parity and deployment test."""
    entry = {"folder": "export/gguf", "bytes": 5_000_000, "parity": parity}
    write_json(run.folder / "export" / "export.json", {"formats": {"gguf": entry}, "parity": parity})
    write_json(run.folder / "export" / "deployment.json", deployment)
    return make_report(run.folder)


def test_each_exported_file_is_told_and_a_quantized_one_is_not_called_the_same_model(tmp_path):
    small = {"ok": True, "mean_kl": 0.2, "answers_equal": 1, "answers": 4, "changed_answers": ["x"]}
    parity = {"ok": True, "mean_kl": 1e-7, "answers_equal": 4, "answers": 4, "file": "model-f16.gguf"}
    parity["files"] = {"model-q8_0.gguf": small}
    text = Page(to_html(exported(make_run(tmp_path / "run"), parity, verdict="passed", equal=4, total=4))).text
    assert "gguf, 5.0 MB: model-f16.gguf is the same model when loaded again, divergence 1.0e-07 nats" in text
    assert (
        "gguf: model-q8_0.gguf is a quantized form of the model, divergence 2.0e-01 nats, 1 of 4 answers equal" in text
    )


def test_a_server_that_did_not_start_is_told_as_that_and_not_as_other_answers(tmp_path):
    checks = [{"check": "files", "ok": True, "detail": ""}, {"check": "start", "ok": False, "detail": "no port"}]
    sentence = "Do not deploy this model yet: start failed."
    found = {"method": "http", "verdict": "failed", "sentence": sentence, "checks": checks, "differences": []}
    report = exported(make_run(tmp_path / "run"), {"ok": True}, equal=0, total=0, left_out=0, **found)
    text = to_markdown(report)
    assert f"Deployment test failed: {sentence}" in text
    assert "- start: no port" in text
    assert "0 of 0" not in text
    (advice,) = [item for item in report["next"] if item["do"].startswith("Do not deploy")]
    assert advice["why"] == "The deployment test failed: start."


def test_ties_and_prompts_left_out_of_the_deployment_test_are_told(tmp_path):
    run = make_run(tmp_path / "run")
    report = exported(run, {"ok": True}, method="reload", verdict="passed", equal=57, tied=3, total=60)
    assert "57 of 60 answers as the tuned model had, and 3 parted from them where two tokens tie." in to_markdown(
        report
    )
    report = exported(run, {"ok": True}, method="reload", verdict="loaded", equal=0, tied=0, total=0)
    assert "no held-out answers to compare with" in to_markdown(report)
    left = {"sentence": "It serves.", "checks": [], "equal": 0, "total": 0, "left_out": 12}
    report = exported(run, {"ok": True}, method="http", verdict="passed", **left)
    assert "12 held-out prompts could not be asked as conversations." in to_markdown(report)


def test_that_the_held_out_rows_chose_the_checkpoint_is_told(tmp_path):
    chosen = to_markdown(make_report(make_run(tmp_path / "best").folder))
    assert "chosen among 3 evaluations for its loss on the held-out examples, which also judge it" in chosen
    last = make_run(tmp_path / "last", stopping={"keep_best": False})
    assert "chosen among" not in to_markdown(make_report(last.folder))


def test_picked_answers_are_told_to_be_picked(tmp_path):
    few, many = (to_markdown(make_report(make_run(tmp_path / f"r{n}", prompts=n).folder)) for n in (10, 30))
    assert "Least gain first" in few
    assert "The 3 of 30 that gained least, then the 7 that gained most" in many


def test_scores_that_the_plan_asks_for_stand_first(tmp_path):
    run = make_run(tmp_path / "run", quality={"checks": ["compare_to_base", "exact_match"]})
    first, second, *_ = score_rows(make_report(run.folder))
    assert (first["name"], first["note"]) == ("Exact match", "word for word, asked for")
    assert (second["name"], second["note"]) == ("chrF", "characters in common")


def test_three_gains_are_no_sure_change(tmp_path):
    report = make_report(make_run(tmp_path / "run", prompts=3).folder)
    assert [(row["interval"], row["sure"]) for row in score_rows(report)] == [("", False)] * 9
    assert any(row["sure"] for row in score_rows(make_report(make_run(tmp_path / "more").folder)))
    along = report | {"along": report["along"] * 2}
    assert ("class", "sure") not in Page(to_html(along)).attributes


def test_a_resumed_try_supersedes_what_came_after_its_checkpoint(tmp_path):
    run = make_run(tmp_path / "run")
    events = EventWriter(run.events)
    events.emit("run", state="resumed", step=40, reason="")
    events.emit("metrics", step=41, epoch=2.05, values={"training_loss": 1.0, "trained_tokens": 5}, parts={})
    assert make_report(run.folder)["curves"]["training"]["step"][-2:] == [40, 41]
    assert make_report(run.folder)["curves"]["validation"]["step"] == [0, 20, 40]


def test_a_run_that_has_not_begun_is_reported_without_a_fault(tmp_path):
    run = make_run(tmp_path / "run")
    for name in ("samples", "evaluation"):
        shutil.rmtree(run.folder / name)
    run.events.unlink()
    report = write_report(run.folder)
    assert {item["verdict"] for item in report["indicators"]} == {"unclear"}
    assert Page((run.folder / "report.html").read_text()).open == []


def test_advice_follows_from_what_was_measured(tmp_path):
    flat = make_report(make_run(tmp_path / "flat", gain=0, training={"learning_rate": 0}).folder)
    assert "training.learning_rate=3e-5" in [item["set"] for item in flat["next"]]
    few = make_run(tmp_path / "few", prompts=4)
    assert "evaluation.prompts=10" in [item["set"] for item in make_report(few.folder)["next"]]


def test_advice_is_a_value_that_the_plan_takes(tmp_path):
    from tunebook.plan.files import make_plan, set_values

    for number, options in enumerate([{"gain": 0}, {"prompts": 4}, {}]):
        report = make_report(make_run(tmp_path / f"run{number}", **options).folder)
        settings = [item["set"] for item in report["next"] if item["set"]]
        assert settings
        make_plan(set_values({"model": {"name": "m"}, "data": {"path": "d"}}, settings))


@pytest.mark.parametrize(
    ("prompts", "bare"),
    [
        (
            ["<s>user\nWhat is A?</s>\nassistant\n", "<s>user\nWhat is B?</s>\nassistant\n"],
            ["What is A?", "What is B?"],
        ),
        (["User: Hi\nAssistant:", "User: Hello\nAssistant:"], ["Hi", "Hello"]),
        (["[INST] Go [/INST]", "[INST] Golf [/INST]"], ["Go", "Golf"]),
        (
            [f"<|im_start|>user\nIn one line: {x}.\nBe brief.<|im_end|>\n<|im_start|>assistant\n" for x in "AB"],
            ["In one line: A.\nBe brief.", "In one line: B.\nBe brief."],
        ),
        (
            [f"<bos><start_of_turn>user\n<b>Now</b> {x}<end_of_turn>\n<start_of_turn>model\n" for x in "AB"],
            ["<b>Now</b> A", "<b>Now</b> B"],
        ),
        (
            [f"System: Help.\nUser: Translate: {x} [now]\nAssistant:" for x in "AB"],
            ["Translate: A [now]", "Translate: B [now]"],
        ),
        (["What is 1?", "What is 2?"], ["What is 1?", "What is 2?"]),
        (["same", "same"], ["same", "same"]),
        (["alone\n"], ["alone"]),
        ([], []),
    ],
)
def test_prompts_are_shown_without_the_templates_marks_and_with_all_that_was_written(prompts, bare):
    assert bare_prompts(prompts) == bare


def test_names_of_models_lose_their_folders_and_hub_ids_stay_whole():
    names = {"/home/me/models/tiny": "tiny", "./out": "out", "org/model": "org/model", "smollm2-135m": "smollm2-135m"}
    assert {name: shown_name(name) for name in names} == names
    assert shown_name("a/b/c.gguf") == "c.gguf"


@pytest.mark.parametrize("low_high", [(0, 1), (1.23, 1.26), (0.001, 9000), (-3, 5), (2, 2)])
def test_ticks_are_few_and_span_the_values(low_high):
    low, high = low_high
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-6
    assert ticks[-1] >= high - 1e-6
    assert 1 <= len(ticks) <= 8


def test_drawings_survive_odd_numbers():
    report = {
        "end": {"result_step": None},
        "curves": {name: {"step": [], "value": []} for name in ("training", "validation")},
    }
    assert loss_curves(report) == ""
    report["curves"]["training"] = {"step": [1, 2], "value": [3.0, 3.0]}
    assert "NaN" not in loss_curves(report)
    assert Page(loss_curves(report)).open == []
    flat = {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert Page(interval_line(flat)).open == []


def test_likeness_is_told_at_each_evaluation_with_its_change_from_the_base(tmp_path):
    run = make_run(tmp_path / "run")
    base = [base_answer(number) for number in range(12)]
    write_json(run.folder / "samples" / "step-20.json", samples(base, 20))
    early, late = make_report(run.folder)["along"]
    assert (early["step"], late["step"]) == (20, 60)
    assert early["change"]["mean"] == 0
    assert late["change"]["low"] > 0
    text = to_html(make_report(run.folder))
    assert "Answers along the way" in text
    assert f"{late['likeness']:.1f}" in text
