"""Comparisons: what a name means, what is asked, that answers are the models' own, and what is made of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.call import call
from tests.export.making import NEW_TOKENS, STEP
from tunebook.compare.answering import Answers, Reply
from tunebook.compare.comparison import compare, find_sides, list_comparisons
from tunebook.compare.questions import Question, from_file, from_run
from tunebook.compare.scoring import changes, findings, review_verdicts, score_side, summary
from tunebook.compare.settings import Settings, from_answers
from tunebook.compare.sides import find_side
from tunebook.errors import DataError, ModelError, PlanError, RunError
from tunebook.evaluate.generate import generate
from tunebook.evaluate.review import Item, judge_answer
from tunebook.files import read_json, write_json
from tunebook.model.four_bits import FourBitLinear
from tunebook.pages.answers import Answers as PageAnswers
from tunebook.pages.answers import load_answers
from tunebook.pages.catalog import load_page
from tunebook.plan.files import save_plan
from tunebook.runs.store import Run
from tunebook.versions.store import RECORD

pytestmark = pytest.mark.slow  # seconds together

SHORT = Settings(max_new_tokens=NEW_TOKENS)


def correct(text: str) -> str:
    """The reference to any question of the data."""
    number = int(text.split()[2])
    return f"The sum is {number + number}."


def test_a_run_alone_is_held_against_its_base_with_the_answers_that_both_gave_in_training(
    made: Run, runs: Path
) -> None:
    found = compare(["tiny-1"], SHORT, runs)
    base, tuned = found["sides"]
    assert (base["name"], base["kind"], tuned["name"], tuned["detail"]) == ("tiny-1@base", "base", "tiny-1", "step 7")
    assert found["questions"] == {"from": "the held-out part of tiny-1", "count": 6, "with_reference": 6}
    samples = read_json(made.folder / "samples" / f"step-{STEP}.json")["answers"]
    said = [row["answers"][1] for row in found["rows"]]
    assert [(a["text"], a["tokens"], a["ended"]) for a in said] == [
        (s["answer"], s["tokens"], s["ended"]) for s in samples
    ]
    assert [row["answers"][0]["text"] for row in found["rows"]] != [answer["text"] for answer in said]
    assert [row["reference"] for row in found["rows"]][:2] == ["The sum is 0.", "The sum is 2."]


def test_scores_have_intervals_and_lengths_and_speed_are_measured(runs: Path) -> None:
    found = compare(["tiny-1@base", "tiny-1@3", "tiny-1"], SHORT, runs)
    for side in found["sides"]:
        assert set(side["scores"]) == {"likeness", "exact_match", "rouge_l", "chrf", "bleu"}
        exact, likeness = side["scores"]["exact_match"], side["scores"]["likeness"]
        assert exact["low"] <= exact["mean"] <= exact["high"]
        assert (likeness["low"], likeness["high"]) == (None, None), "six answers are too few for a bootstrap"
        assert side["speed"]["tokens_per_second"] > 0
        assert side["lengths"]["most"] <= NEW_TOKENS
    assert "changes" not in found["sides"][0]
    assert [item["about"] for item in found["sides"][2]["findings"]] == list(Settings().order)
    change = found["sides"][2]["changes"]["likeness"]
    means = [side["scores"]["likeness"]["mean"] for side in found["sides"]]
    assert change["mean"] == pytest.approx(means[2] - means[0])


def test_an_address_that_answers_rightly_is_found_better_than_the_base(runs: Path, server: Any) -> None:
    address = server(correct)
    found = compare(["tiny-1@base", address], SHORT, runs)
    side = found["sides"][1]
    assert (side["kind"], side["detail"]) == ("address", "other-7b")
    assert side["scores"]["exact_match"]["mean"] == 100
    assert side["lengths"]["mean"] == 4
    better = {item["about"]: item["verdict"] for item in side["findings"]}
    assert (better["answers"], better["form"], better["length"]) == ("yes", "yes", "yes")
    assert found["rows"][3]["answers"][1]["text"] == "The sum is 6."


def test_the_worse_side_is_told_to_be_worse_and_the_same_side_is_not(runs: Path, server: Any) -> None:
    address = server(correct)
    _, worse, same = compare([address, "tiny-1@base", f"{address}#other-7b"], SHORT, runs)["sides"]
    assert {item["about"]: item["verdict"] for item in worse["findings"]}["answers"] == "no"
    assert {item["about"]: item["verdict"] for item in same["findings"]}["answers"] == "unclear"


def test_a_judge_compares_each_side_with_the_first(runs: Path, server: Any) -> None:
    address = server(correct)

    def likes_sums(text: str) -> str:
        return "A" if text.split("Answer A:\n")[1].startswith("The sum") else "B"

    judge = server(likes_sums)
    settings = Settings(max_new_tokens=NEW_TOKENS, judge=judge)
    judged = compare(["tiny-1@base", address], settings, runs)["sides"][1]["judge"]
    assert (judged["better"], judged["worse"]) == (6, 0)


def test_the_judge_reads_the_conversation_and_not_the_last_message_alone(
    runs: Path, server: Any, tmp_path: Path
) -> None:
    path = tmp_path / "chats.jsonl"
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1 + 1?"}]
    path.write_text(json.dumps({"messages": turns}) + "\n")
    seen: list[str] = []

    def neither(text: str) -> str:
        seen.append(text)
        return "S"

    judge = server(neither)
    settings = Settings(max_new_tokens=4, prompts=path, judge=judge)
    compare(["tiny-1@base", server(lambda text: "It is 2.")], settings, runs)
    assert "System: Be brief.\n\nUser: What is 1 + 1?" in seen[0]


def test_a_judge_that_does_not_answer_is_told_before_anything_is_loaded(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebook.compare.comparison.answer", None)
    with pytest.raises(ModelError, match="The judge at http://127.0.0.1:9/v1 could not be asked"):
        compare(["tiny-1"], Settings(judge="http://127.0.0.1:9/v1"), runs)


def test_a_judge_that_is_gone_after_the_answers_is_a_warning(
    runs: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pairs: Any, address: str) -> None:
        raise ModelError("The judge is gone.")

    monkeypatch.setattr("tunebook.compare.comparison.judge_pairs", gone)
    found = compare(["tiny-1"], Settings(max_new_tokens=4, judge=server(correct)), runs)
    assert "The judge is gone." in found["warnings"]
    assert found["sides"][1]["judge"] is None
    assert len(found["rows"]) == 6


def test_every_side_is_timed_alike_once_it_is_warm(runs: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunebook.compare import answering

    asked: list[tuple[int, int]] = []  # prompts and most new tokens of each call, and whether adapters are inside
    inside: list[bool] = []

    def watched(model: Any, tokenizer: Any, prompts: Any, *, max_new_tokens: int, **more: Any) -> Any:
        asked.append((len(prompts), max_new_tokens))
        inside.append(all(layer.merged for layer in model.modules() if hasattr(layer, "lora_A")))
        return generate(model, tokenizer, prompts, max_new_tokens=max_new_tokens, **more)

    monkeypatch.setattr(answering, "generate", watched)
    texts: list[str] = []

    def said(text: str) -> str:
        texts.append(text)
        return correct(text)

    found = compare(["tiny-1", server(said)], SHORT, runs)
    assert asked == [(1, answering.WARMING), *[(1, NEW_TOKENS)] * 3, (3, NEW_TOKENS)]
    assert all(inside)
    assert len(texts) == 1 + len(found["rows"])


def test_verdicts_of_people_are_wins_ties_and_losses_against_the_base_only(
    made: Run, runs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny-1"
    shutil.copytree(made.folder, folder)
    words: list[Any] = ["better", "better", "same", "worse"]
    for number, word in enumerate(words):
        judge_answer(folder, Item(STEP, f"held-{number}", "", "", "", ""), "ann", word)
    judge_answer(folder, Item(3, "held-0", "", "", "", ""), "ann", "worse")
    base, tuned, early = (find_side(f"tiny-1{which}", tmp_path) for which in ("@base", "", "@3"))
    told = review_verdicts(tuned, base)
    assert told is not None
    assert (told["better"], told["same"], told["worse"], told["reviewers"]) == (2, 1, 1, 1)
    assert told["interval"]["mean"] == 0.25
    plain = find_side(made.plan().model.name, tmp_path)
    assert review_verdicts(tuned, plain) == told, "the base by its own name"
    assert review_verdicts(tuned, early) is None
    judge_answer(folder, Item(STEP, "held-0", "", "", "base", "tuned"), "bob", "worse")
    told = review_verdicts(tuned, base)
    assert told is not None
    assert (told["better"], told["same"], told["worse"], told["reviewers"]) == (1, 2, 1, 2), "answers, not verdicts"
    assert review_verdicts(early, base) is None, "the base's answer was known by then"


def test_a_base_that_is_gone_costs_no_comparison(made: Run, tmp_path: Path) -> None:
    folder = tmp_path / "tiny-1"
    shutil.copytree(made.folder, folder)
    judge_answer(folder, Item(STEP, "held-0", "", "", "", ""), "ann", "better")
    plan = made.plan()
    gone = plan.model_copy(update={"model": plan.model.model_copy(update={"name": str(tmp_path / "gone")})})
    save_plan(gone, folder / "plan.yaml")
    assert review_verdicts(find_side("tiny-1", tmp_path), find_side(plan.model.name, tmp_path)) is None


def test_the_base_of_a_run_in_4_bits_is_the_rounded_one(made: Run, tmp_path: Path) -> None:
    folder = tmp_path / "tiny-1"
    shutil.copytree(made.folder, folder)
    plan = made.plan()
    rounded = plan.model_copy(update={"model": plan.model.model_copy(update={"quantization": "nf4"})})
    save_plan(rounded, folder / "plan.yaml")
    load = find_side("tiny-1@base", tmp_path).load
    assert load is not None
    assert any(isinstance(module, FourBitLinear) for module in load()[0].modules())


def test_questions_that_a_side_was_trained_on_are_told(made: Run, runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"What is {n} + {n}?", "completion": f"The sum is {n + n}."} for n in (5, 6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = compare(["tiny-1"], Settings(max_new_tokens=4, prompts=path), runs)
    assert "tiny-1 was trained on 1 of the 2 questions, answers and all." in found["warnings"]
    assert any("were cut at 4 tokens" in text for text in found["warnings"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lines.txt", "What is 1 + 1?\n\nAnd 2 + 2?\n"),
        ("prompts.jsonl", '{"prompt": "What is 1 + 1?"}\n{"prompt": "And 2 + 2?"}\n'),
        (
            "chats.jsonl",
            '{"messages": [{"role": "user", "content": "What is 1 + 1?"}]}\n'
            '{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And 2 + 2?"}]}\n',
        ),
        ("rows.json", '[{"prompt": "What is 1 + 1?"}, {"prompt": "And 2 + 2?", "system": "Be brief."}]'),
        ("table.csv", "prompt\nWhat is 1 + 1?\nAnd 2 + 2?\n"),
    ],
)
def test_questions_without_answers_come_from_lines_or_rows(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = from_file(path, None)
    assert [question.text for question in found] == ["What is 1 + 1?", "And 2 + 2?"]
    assert {question.reference for question in found} == {None}
    assert len(from_file(path, 1)) == 1


def test_questions_without_references_are_compared_by_length_and_speed_alone(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("What is 1 + 1?\nAnd 2 + 2?\n")
    found = compare(["tiny-1"], Settings(max_new_tokens=4, prompts=path), runs)
    side = found["sides"][1]
    assert (side["scores"], side["changes"]) == ({}, {})
    assert side["findings"][0]["why"] == "The questions have no references to compare with."
    assert side["lengths"]["mean"] > 0
    assert found["rows"][0]["answers"][0]["likeness"] is None


def test_a_file_of_questions_that_cannot_be_used_is_told_line_by_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        from_file(tmp_path / "nothing.jsonl", None)
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\nnot json\n{"prompt": "c", "completion": ""}\n')
    with pytest.raises(DataError, match=r"(?s)cannot be asked.*line 2.*line 3"):
        from_file(path, None)
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    with pytest.raises(DataError, match="holds no question"):
        from_file(empty, None)


def test_held_out_rows_that_left_the_data_are_told(made: Run, tmp_path: Path) -> None:
    folder = tmp_path / "tiny-1"
    shutil.copytree(made.folder, folder)
    lines = (folder / "data.jsonl").read_text().splitlines(keepends=True)
    (folder / "data.jsonl").write_text("".join(lines[2:]))
    with pytest.raises(RunError, match=r"2 of the 6 held-out rows .* no longer in its data.*--prompts"):
        from_run(Run(folder), 20)


def test_what_a_name_means(made: Run, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = made.plan().model.name
    kinds = {name: find_side(name, runs).kind for name in ("tiny-1", "tiny-1@base", "tiny-1@3", base)}
    assert kinds == {"tiny-1": "run", "tiny-1@base": "base", "tiny-1@3": "checkpoint", base: "model"}
    assert find_side("https://example.org/v1#big", runs).kind == "address"
    version = tmp_path / "elsewhere" / ".versions" / "house@1"
    write_json(version / RECORD, {"format": 1, "run": "tiny-1", "step": STEP, "parent": {}, "weights_sha256": ""})
    write_json(version.parent / "house.json", {"format": 1, "line": [1], "log": []})
    side = find_side("house", tmp_path / "elsewhere")
    assert (side.kind, side.detail, side.step) == ("version", "house@1, from the run tiny-1", STEP)


def test_a_name_that_a_run_and_a_version_have_is_not_guessed(made: Run, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "house")
    version = tmp_path / ".versions" / "house@3"
    write_json(version / RECORD, {"format": 1, "run": "house", "step": STEP, "parent": {}, "weights_sha256": ""})
    write_json(version.parent / "house.json", {"format": 1, "line": [3], "log": []})
    for name in ("house", "house@3"):
        with pytest.raises(RunError, match=f"'{name}' is a run's name and a version's.*{version}"):
            find_side(name, tmp_path)
        assert find_side(str(tmp_path / name), tmp_path).run == Run(tmp_path / "house")
    assert find_side("house@base", tmp_path).kind == "base"


def test_names_that_mean_nothing_are_told_at_once_before_anything_is_loaded(runs: Path) -> None:
    with pytest.raises(ModelError, match="no run, no version and no model 'nobody'"):
        find_sides(["tiny-1", "nobody"], runs)
    with pytest.raises(RunError, match=r"(?s)'nobody'.*no good checkpoint '9'.*tiny-1@3, tiny-1@7"):
        find_sides(["nobody", "tiny-1@9"], runs)
    with pytest.raises(RunError, match="needs two sides"):
        find_sides(["tiny-1@base", "tiny-1@base"], runs)


def test_without_a_run_there_are_no_held_out_questions(made: Run, runs: Path, server: Any) -> None:
    address = server(correct)
    with pytest.raises(RunError, match="no held-out questions.*--prompts"):
        compare([address, made.plan().model.name], SHORT, runs)


def test_an_address_where_nobody_answers_is_one_sentence(runs: Path) -> None:
    with pytest.raises(ModelError, match="The model at http://127.0.0.1:9/v1 could not be asked"):
        compare(["http://127.0.0.1:9/v1", "tiny-1"], SHORT, runs)


def answered(**values: Any) -> PageAnswers:
    return PageAnswers(load_page("phase-4-model-comparison"), values)


def test_the_answers_of_the_page_choose_what_is_compared_and_how(tmp_path: Path) -> None:
    page = answered(
        **{
            "models": "tiny-1@base\ntiny-1@3\n\n tiny-1 \n/models/my base",
            "questions": "mine.txt",
            "judge": "http://127.0.0.1:8000/v1",
            "prompts": "7",
            "answer-length": "33",
            "general-ability": "no (saves time)",
            "scores": ["rouge_l (how much of the reference stands in the answer, in order)"],
            "priorities": ["The model answers as fast as before", "The answers have the right length"],
        }
    )
    names, settings = from_answers(page, tmp_path)
    assert names == ["tiny-1@base", "tiny-1@3", "tiny-1", "/models/my base"]
    assert settings == Settings(
        count=7,
        max_new_tokens=33,
        scores=("rouge_l",),
        ability=False,
        judge="http://127.0.0.1:8000/v1",
        order=("speed", "length", "answers", "ability", "form"),
        prompts=tmp_path / "mine.txt",
    )
    assert from_answers(answered(), tmp_path) == ([], Settings(ability=True))


def test_every_priority_of_the_page_is_one_that_a_comparison_finds_out() -> None:
    page = load_page("phase-4-model-comparison")
    (ranking,) = [part for part in page.questions if part.id == "priorities"]
    lines = [item.text for item in ranking.choices]
    for line in lines:
        order = from_answers(answered(priorities=[line]), Path())[1].order
        assert len(order) == len(lines) == 5
    firsts = {from_answers(answered(priorities=[line]), Path())[1].order[0] for line in lines}
    assert len(firsts) == 5


def test_another_pages_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="says nothing about a comparison"):
        from_answers(PageAnswers(load_page("phase-3-fine-tuning"), {}), tmp_path)


def test_the_command_line_compares_draws_and_keeps(made: Run, runs: Path, tmp_path: Path) -> None:
    done = call("compare", "tiny-1", "--count", "2", "--max-new-tokens", "4", "--show", "1")
    assert done.code == 0, done.err
    assert "tiny-1 against tiny-1@base" in done.out
    assert "Better answers" in done.out
    assert "What is " in done.out
    (name, kept), *_ = list_comparisons(runs)
    assert name == "tiny-1@base-vs-tiny-1-1"
    assert kept["questions"]["count"] == 2
    answers = tmp_path / "compare.yaml"
    assert call("page", "play", "phase-4-model-comparison", "--answers", str(answers), "--defaults").code == 0
    out = tmp_path / "kept.json"
    given = ("--count", "2", "--max-new-tokens", "4", "--no-ability", "-o", str(out), "--json")
    shutil.rmtree(runs / ".comparisons")
    (runs / ".comparisons").write_text("no folder")
    lost = call("compare", "tiny-1", "--count", "2", "--max-new-tokens", "4")
    (runs / ".comparisons").unlink()
    assert lost.code == 1
    assert "tiny-1 against tiny-1@base" in lost.out, "what was measured is printed before it is lost"
    told = call("compare", "tiny-1", "--answers", str(answers), *given)
    assert told.code == 0, told.err
    assert json.loads(told.out) == read_json(out) | {"file": str(out)}
    assert load_answers(answers).page.id == "phase-4-model-comparison"


def test_the_command_line_without_sides_says_how_to_name_them() -> None:
    done = call("compare")
    assert done.code == 2
    assert "Phase 4" in done.err


def test_a_model_that_answers_more_briefly_is_not_called_slower() -> None:
    first = Answers([Reply("a b", 120, True, 0.2 + 120 / 100)])
    brief = Answers([Reply("a", 10, True, 0.2 + 10 / 100)])
    (found,) = findings(["speed"], {}, first, brief)
    assert found["verdict"] == "unclear"
    assert "of 10 tokens against 120" in found["why"]


def test_a_few_answers_have_no_interval_and_questions_of_one_conversation_count_as_one() -> None:
    questions = [Question(f"q{n}", [], reference=f"The sum is {n}.", group=f"chat {n % 2}") for n in range(10)]
    answers = Answers([Reply(f"It is {n}", 3, True) for n in range(10)])
    scores = score_side(questions, answers)
    apart = [replace(question, group="") for question in questions]
    assert summary(apart, answers, scores, ["rouge_l"])["scores"]["rouge_l"]["low"] is not None
    assert summary(questions, answers, scores, ["rouge_l"])["scores"]["rouge_l"]["low"] is None
    exact = summary(apart, answers, scores, ["exact_match"])["scores"]["exact_match"]
    assert (exact["mean"], exact["low"]) == (0, pytest.approx(0))
    assert exact["high"] > 20
    assert {change.n for change in changes(questions, scores, scores).values()} == {2}


@pytest.mark.parametrize(("seconds", "verdict"), [(1.05, "yes"), (1.25, "unclear"), (2.0, "no"), (None, "unclear")])
def test_speed_is_judged_against_the_first_side(seconds: float | None, verdict: str) -> None:
    first, other = (Answers([Reply("a b", 50, True, taken)]) for taken in (1.0, seconds))
    (found,) = findings(["speed"], {}, first, other)
    assert found["verdict"] == verdict
