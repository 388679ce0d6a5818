"""The review queue: what its policies pick, blind order, verdicts that are only ever appended, agreement."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.evaluate.runs import base_answer, held_out, make_run, reference, samples, tuned_answer
from tunebook.data.open import open_data
from tunebook.errors import RunError
from tunebook.evaluate.fixed import fixed_rows, write_fixed
from tunebook.evaluate.report import make_report
from tunebook.evaluate.report_html import to_html
from tunebook.evaluate.report_markdown import to_markdown
from tunebook.evaluate.review import (
    agreement,
    judge_answer,
    judge_checkpoint,
    queue,
    read_reviews,
    rejected_steps,
    summary,
    waiting,
)
from tunebook.files import write_json


@pytest.fixture
def run(tmp_path):
    """A run with answers at steps 20, 40 and 60, and held-out losses at 20 and 60."""
    made = make_run(tmp_path / "run")
    for step in (20, 40):
        write_json(made.folder / "samples" / f"step-{step}.json", samples([tuned_answer(n) for n in range(12)], step))
    losses = [2.0 - 0.01 * n for n in range(30)]
    write_json(made.folder / "evaluation" / "heldout-base.json", held_out([2.0] * 30, 0))
    worse = [loss + {3: 0.5, 7: 0.9}.get(n, -0.5) for n, loss in enumerate(losses)]
    write_json(made.folder / "evaluation" / "heldout-step-20.json", held_out(worse, 20))
    return made


def test_all_is_every_answer_of_every_checkpoint(run):
    assert [(item.step, item.id) for item in queue(run.folder, "all")] == [
        (step, f"row-{n}") for step in (60, 20, 40) for n in range(12)
    ], "the result first, which is seen blindly"


def test_none_is_empty_and_the_plan_decides_when_nothing_is_given(run):
    assert queue(run.folder) == []
    assert queue(run.folder, "none") == []


def test_random_is_a_sample_of_each_checkpoint_the_same_every_time(run):
    items = queue(run.folder, "random", 4)
    assert [item.step for item in items] == [60] * 4 + [20] * 4 + [40] * 4
    assert items == queue(run.folder, "random", 4)
    picks = [tuple(item.id for item in items if item.step == step) for step in (20, 40, 60)]
    assert len(set(picks)) > 1
    assert all(len(set(pick)) == 4 for pick in picks)


def test_difficult_puts_the_worst_regressions_first_then_the_highest_losses(run):
    items = [item for item in queue(run.folder, "difficult", 4) if item.step == 20]
    assert [item.id for item in items] == ["row-7", "row-3", "row-0", "row-1"]
    assert items[0].change == pytest.approx(0.83)
    assert items[2].change == pytest.approx(-0.5)


def test_difficult_without_measurements_keeps_the_order(run):
    assert [item.id for item in queue(run.folder, "difficult", 2) if item.step == 40] == ["row-0", "row-1"]


def test_the_order_is_blind_the_same_for_a_reviewer_and_about_even(run):
    items = queue(run.folder, "all")
    for item in items:
        expected = (item.base, item.tuned) if item.first("ann") == "base" else (item.tuned, item.base)
        assert item.blind("ann") == expected
        assert item.first("ann") == item.first("ann")
    firsts = [item.first(name) for item in items for name in ("ann", "bob", "eve", "joe")]
    assert 0.35 < firsts.count("base") / len(firsts) < 0.65
    assert any(item.first("ann") != item.first("bob") for item in items)


def test_verdicts_are_appended_and_the_last_of_a_reviewer_counts(run):
    one, two, *_ = queue(run.folder, "all")
    judge_answer(run.folder, one, "ann", "worse", "reject")
    before = (run.folder / "reviews.jsonl").read_bytes()
    judge_answer(run.folder, two, "ann", "same")
    judge_answer(run.folder, one, "bob", "worse")
    judge_answer(run.folder, one, "ann", "better", note="on second thought")
    assert (run.folder / "reviews.jsonl").read_bytes().startswith(before)
    found = [(row["reviewer"], row["id"], row["verdict"]) for row in read_reviews(run.folder)]
    assert found == [("ann", two.id, "same"), ("bob", one.id, "worse"), ("ann", one.id, "better")]
    assert read_reviews(run.folder)[0]["first"] == two.first("ann")


def test_what_was_judged_leaves_the_queue_of_that_reviewer_alone(run):
    items = queue(run.folder, "all")
    judge_answer(run.folder, items[0], "ann", "same")
    reviews = read_reviews(run.folder)
    assert waiting(items, reviews, "ann") == items[1:]
    assert waiting(items, reviews, "bob") == items


def test_a_line_that_a_crash_cut_short_is_no_verdict_and_harms_no_other(run):
    items = queue(run.folder, "all")
    judge_answer(run.folder, items[0], "ann", "same")
    with (run.folder / "reviews.jsonl").open("ab") as file:
        file.write(b'{"kind": "answer", "reviewer": "ann", "st')
    assert len(read_reviews(run.folder)) == 1
    judge_answer(run.folder, items[1], "ann", "worse")
    assert [row["verdict"] for row in read_reviews(run.folder)] == ["same", "worse"]


def test_a_checkpoint_is_rejected_until_who_did_it_takes_it_back(run):
    judge_checkpoint(run.folder, 40, "ann", note="rude")
    judge_checkpoint(run.folder, 20, "bob")
    judge_checkpoint(run.folder, 40, "bob", rejected=False)
    assert rejected_steps(run.folder) == {20, 40}
    judge_checkpoint(run.folder, 40, "ann", rejected=False)
    assert rejected_steps(run.folder) == {20}


def test_a_fix_needs_a_text_and_a_text_needs_a_fix(run):
    item = queue(run.folder, "all")[0]
    for action, fixed in (("fix", None), ("fix", " "), ("keep", "text")):
        with pytest.raises(ValueError, match="fixed answer"):
            judge_answer(run.folder, item, "ann", "same", action, fixed)
    assert not (run.folder / "reviews.jsonl").exists()


def test_a_verdict_that_cannot_be_written_is_said(run):
    (run.folder / "reviews.jsonl").mkdir()
    with pytest.raises(RunError, match="could not be written"):
        judge_checkpoint(run.folder, 20, "ann")


def verdicts(table):
    """Rows of (reviewer, answer, verdict) from one string a reviewer; '.' is no verdict."""
    return [
        {"step": 1, "id": str(place), "reviewer": name, "verdict": letter}
        for name, text in table.items()
        for place, letter in enumerate(text)
        if letter != "."
    ]


def test_alpha_equals_the_published_value_for_three_coders_with_gaps():
    # The worked example of nominal alpha with missing values in Wikipedia's article on Krippendorff's alpha: 0.691.
    table = {"a": ".....34121133.3", "b": "1.213343.......", "c": "..21344.21133.4"}
    assert agreement(verdicts(table))["alpha"] == pytest.approx(0.691, abs=5e-4)


def test_agreement_is_full_for_equal_verdicts_and_about_zero_for_opposite_coins():
    assert agreement(verdicts({"a": "xyzx", "b": "xyzx"})) == {"answers": 4, "equal": 1.0, "alpha": 1.0}
    assert agreement(verdicts({"a": "xxxx", "b": "xxxx"}))["alpha"] == 1.0
    assert agreement(verdicts({"a": "xxyy", "b": "xyxy"}))["alpha"] == pytest.approx(0.125)
    assert agreement(verdicts({"a": "xx..", "b": "..xx"})) is None


def test_the_report_counts_verdicts_and_rejected_checkpoints(run):
    assert summary(run.folder) is None
    items = queue(run.folder, "all")
    for name in ("ann", "bob"):
        judge_answer(run.folder, items[0], name, "better")
        judge_answer(run.folder, items[1], name, "worse", "fix", "right")
    judge_checkpoint(run.folder, 40, "ann")
    report = make_report(run.folder)
    found = report["reviews"]
    assert (found["judged"], found["verdicts"], found["better"], found["worse"], found["fixed"]) == (2, 4, 2, 2, 2)
    assert found["rejected_checkpoints"] == [40]
    assert found["agreement"] == {"answers": 2, "equal": 1.0, "alpha": 1.0}
    for text in (to_html(report), to_markdown(report)):
        assert "2 answers judged by 2 people in 4 verdicts" in text
        assert "Rejected checkpoints: 40." in text


def test_a_prompt_that_comes_again_is_not_judged_blindly_any_more(run):
    items = {(item.step, item.id): item for item in queue(run.folder, "all")}
    judge_answer(run.folder, items[60, "row-0"], "ann", "better")
    judge_answer(run.folder, items[60, "row-0"], "ann", "better", "fix", "right")
    judge_answer(run.folder, items[20, "row-0"], "ann", "worse")
    judge_answer(run.folder, items[20, "row-0"], "bob", "worse")
    judge_answer(run.folder, items[20, "row-1"], "ann", "same")
    judge_answer(run.folder, items[20, "row-1"], "ann", "better")
    blind = {(row["reviewer"], row["step"], row["id"]): row["blind"] for row in read_reviews(run.folder)}
    assert blind == {
        ("ann", 60, "row-0"): True,
        ("ann", 20, "row-0"): False,
        ("bob", 20, "row-0"): True,
        ("ann", 20, "row-1"): False,
    }
    found = summary(run.folder)
    assert (found["better"], found["same"], found["worse"], found["known"]) == (1, 0, 1, 2)
    assert found["result"] == {"step": 60, "better": 1, "same": 0, "worse": 0}
    text = to_markdown(make_report(run.folder))
    assert "3 answers judged by 2 people in 4 verdicts" in text
    assert "on the result, the checkpoint of step 60: 1 better than the base's, 0 the same, 0 worse" in text
    assert "Not counted there: 2 given when the reviewer knew" in text


def test_two_equal_answers_are_the_same_whatever_was_chosen(run):
    item = queue(run.folder, "all")[0]
    equal = replace(item, base=item.tuned)
    assert [equal.verdict("ann", chosen) for chosen in ("a", "b", "same")] == ["same"] * 3


@pytest.fixture
def with_data(run):
    """The same run with the data set that its answers come from."""
    from tunebook.data.conversation import Conversation, Message

    rows, ids = [], []
    for number in range(12):
        turns = [("system", "Be brief."), ("user", f"Question {number}?"), ("assistant", reference(number))]
        rows.append({"messages": [{"role": role, "content": text} for role, text in turns]})
        ids.append(Conversation(tuple(Message(role, text) for role, text in turns)).id)
    (run.folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step, write in ((0, base_answer), (60, tuned_answer)):
        value = samples([write(n) for n in range(12)], step)
        for row, name in zip(value["answers"], ids, strict=True):
            row["id"] = name
        write_json(run.folder / "samples" / f"step-{step}.json", value)
    return run, [item for item in queue(run.folder, "all") if item.step == 60]


def test_a_fixed_answer_becomes_the_row_it_came_from_with_that_answer(with_data, tmp_path):
    run, items = with_data
    judge_answer(run.folder, items[3], "ann", "worse", "fix", "Better said.")
    judge_answer(run.folder, items[4], "ann", "same")
    assert write_fixed(run.folder, tmp_path / "out.jsonl") == (1, [])
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert row["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Question 3?"},
        {"role": "assistant", "content": "Better said."},
    ]


def test_the_last_fix_counts_and_rows_that_left_the_data_are_named(with_data):
    run, items = with_data
    judge_answer(run.folder, items[3], "ann", "worse", "fix", "First try.")
    judge_answer(run.folder, items[3], "bob", "worse", "fix", "Second try.")
    judge_answer(run.folder, items[5], "ann", "worse", "fix", "Lost.")
    lines = (run.folder / "data.jsonl").read_text().splitlines()
    (run.folder / "data.jsonl").write_text("\n".join(lines[:5] + lines[6:]) + "\n")
    rows, lost = fixed_rows(run.folder)
    assert [row["messages"][-1]["content"] for row in rows] == ["Second try."]
    assert lost == [items[5].id]


def test_a_fixed_row_keeps_its_group_and_which_turns_are_not_trained(with_data, tmp_path):
    run, items = with_data
    turns = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello, I am a robot.", "train": False},
        {"role": "user", "content": "Count."},
        {"role": "assistant", "content": "One, two."},
    ]
    row = {"messages": turns, "group": "chat 7"}
    (run.folder / "data.jsonl").write_text(json.dumps(row) + "\n")
    (conversation,) = open_data(run.folder / "data.jsonl").conversations()
    judge_answer(run.folder, replace(items[0], id=conversation.id), "ann", "worse", "fix", "One, two, three.")
    ((fixed,), lost) = fixed_rows(run.folder)
    assert lost == []
    assert fixed == {"messages": [*turns[:3], turns[3] | {"content": "One, two, three."}], "group": "chat 7"}
    (tmp_path / "again.jsonl").write_text(json.dumps(fixed) + "\n")
    (again,) = open_data(tmp_path / "again.jsonl").conversations()
    assert [message.trained for message in again.messages] == [False, False, False, True]
    assert again.group == "chat 7"


def test_nothing_fixed_is_said(with_data):
    with pytest.raises(RunError, match="No answer of the run 'run' was fixed"):
        fixed_rows(with_data[0].folder)
