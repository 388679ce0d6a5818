"""What the gate lets through, what it refuses, and that the work is done once."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.templates import DEEPSEEK_R1, QWEN3, SMOLLM2
from tests.tiny import CHATML, tiny_tokenizer
from tunebook.data import gate, read, survey
from tunebook.data.conversation import Row
from tunebook.data.findings import Findings
from tunebook.data.gate import check_data
from tunebook.data.split import split
from tunebook.errors import DataError
from tunebook.plan.schema import DataPlan


def pairs(count: int, start: int = 0) -> list[dict]:
    return [{"prompt": f"question {i} about {i * i}", "completion": f"answer {i}"} for i in range(start, start + count)]


def save(path: Path, rows: list) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def check(folder: Path, rows: list, tokenizer=None, **settings):
    save(folder / "rows.jsonl", rows)
    plan = DataPlan(path="rows.jsonl", **settings)
    return check_data(plan, folder, tokenizer or tiny_tokenizer(), folder / "cache")


def test_good_rows_come_through_in_file_order(tmp_path):
    checked = check(tmp_path, pairs(30))
    assert checked.examples.lines.tolist() == list(range(1, 31))
    assert [example.reference for example in checked.examples] == [f"answer {i}" for i in range(30)]
    assert (checked.findings.rows, checked.findings.good, checked.findings.examples) == (30, 30, 30)
    tokens = checked.findings.tokens
    assert tokens is not None
    assert tokens.total == checked.examples.lengths.sum()
    assert tokens.trained == checked.examples.trained_counts.sum()
    assert sum(tokens.histogram.values()) == 30


def test_bad_rows_up_to_the_share_are_left_out_and_above_it_the_run_is_refused(tmp_path):
    rows = [*pairs(19), "no json"]
    assert len(check(tmp_path, rows).examples) == 19
    with pytest.raises(DataError) as refused:
        check(tmp_path, [*rows, "{}"])
    told = str(refused.value)
    assert "2 of 21 rows of rows.jsonl are bad (10%), more than the 5% allowed: 1 bad_json, 1 missing_key" in told
    assert "line 20: not valid JSON" in told
    assert "line 21: there is no prompt" in told
    quarantine = Path(told.split("They are in ")[1].split("quarantine.jsonl")[0]) / "quarantine.jsonl"
    assert len(quarantine.read_text().splitlines()) == 2
    assert len(check(tmp_path, [*rows, "{}"], max_bad_share=0.5).examples) == 19


def test_the_template_that_makes_a_mask_impossible_stops_the_run(tmp_path):
    with pytest.raises(DataError) as refused:
        check(tmp_path, pairs(3), DEEPSEEK_R1.tokenizer())
    assert "impossible to tell what to train in 3 of 3 rows" in str(refused.value)
    assert "<think>" in str(refused.value)


LONG = {"prompt": "word " * 60, "completion": "short"}
HOPELESS = {"prompt": "why", "completion": "word " * 60}


def test_long_rows_are_dropped_cut_or_refused_and_every_cost_is_told(tmp_path):
    rows = [*pairs(3), LONG, HOPELESS]
    dropped = check(tmp_path, rows, max_length=60)
    tokens = dropped.findings.tokens
    assert tokens is not None
    assert dropped.examples.lines.tolist() == [1, 2, 3]
    assert (tokens.rows_over, tokens.lost.rows, tokens.if_dropped.rows, tokens.if_cut.rows) == (2, 2, 2, 1)
    cut = check(tmp_path, rows, max_length=60, too_long="cut")
    assert cut.examples.lines.tolist() == [1, 2, 3, 4]
    assert int(cut.examples.lengths.max()) == 60
    tokens = cut.findings.tokens
    assert tokens is not None
    whole = check(tmp_path, rows, max_length=4096).examples
    assert tokens.lost.answer_tokens == whole.trained_counts[4]
    assert tokens.if_dropped.answer_tokens == whole.trained_counts[3] + whole.trained_counts[4]
    assert {item.code for item in cut.findings.problems} == {"answer_too_long"}
    with pytest.raises(DataError, match="2 of 5 rows of rows.jsonl have more than 60 tokens"):
        check(tmp_path, rows, max_length=60, too_long="refuse")


def test_nothing_left_to_train_is_refused(tmp_path):
    with pytest.raises(DataError, match="none of its 1 rows is left"):
        check(tmp_path, [HOPELESS], max_length=20)


def test_duplicates_are_dropped_or_kept_and_told_either_way(tmp_path):
    rows = [*pairs(10), *pairs(2)]
    dropped = check(tmp_path, rows)
    assert dropped.examples.lines.tolist() == list(range(1, 11))
    assert dropped.findings.duplicates == 2
    assert [(item.line, item.code, item.severity) for item in dropped.findings.problems] == [
        (11, "duplicate", "warning"),
        (12, "duplicate", "warning"),
    ]
    kept = check(tmp_path, rows, duplicates="keep")
    assert len(kept.examples) == 12
    assert kept.findings.duplicates == 2
    groups = kept.examples.groups
    assert groups[0] == groups[10]
    assert groups[1] == groups[11]


def test_near_duplicates_and_rows_of_one_conversation_stay_on_one_side_for_every_seed(tmp_path):
    story = "once upon a time there lived a fox who counted all the stars of the night sky one by one until dawn came "
    story += "and then slept in the warm grass until a bird woke it with a song about the sea and its many colours"
    rows = [
        *pairs(30),
        *({"prompt": f"tell {i}", "completion": story + " " + "again " * i} for i in range(3)),
        *(
            {"conversation_id": f"c{i % 3}", "prompt": f"part {i} of it", "completion": f"line {i * 7}"}
            for i in range(9)
        ),
    ]
    rows = [{"conversation_id": f"own {number}", **row} for number, row in enumerate(rows)]
    checked = check(tmp_path, rows, validation_share=0.4)
    assert checked.findings.near_duplicates == 2
    for seed in range(15):
        parts = split(checked.examples, DataPlan(path="x", validation_share=0.4), seed)
        held = np.isin(np.arange(len(rows)), parts.validation_indices)
        assert len(set(held[30:33])) == 1
        for own in range(3):
            assert len(set(held[33 + own :: 3])) == 1


def test_adding_rows_to_the_file_moves_no_other_row(tmp_path):
    plan = DataPlan(path="x", validation_share=0.3)

    def held(rows):
        examples = check(tmp_path, rows).examples
        return {examples[int(place)].reference for place in split(examples, plan, 7).validation_indices}

    before = held(pairs(100))
    after = held(
        [*pairs(20, 500), *pairs(50), *pairs(30, 700), *pairs(50, 50), pairs(1)[0] | {"completion": "another"}]
    )
    mine = {f"answer {i}" for i in range(100)}
    assert after & mine == before


def test_planted_leaks_into_the_validation_file_are_left_out_of_training_and_told(tmp_path):
    story = (
        "the long river runs from the high hills past the mill and the old town down to the wide and quiet sea at last"
    )
    held = [*pairs(5, 900), pairs(1, 3)[0], {"prompt": "describe the river", "completion": story}]
    save(tmp_path / "held.jsonl", held)
    rows = [*pairs(20), {"prompt": "Describe the RIVER!", "completion": story.title() + "."}]
    checked = check(tmp_path, rows, validation_path="held.jsonl")
    assert checked.validation is not None
    assert checked.findings.leaks == 2
    assert [(item.line, item.code) for item in checked.findings.problems if item.code == "leak"] == [
        (4, "leak"),
        (21, "leak"),
    ]
    assert checked.examples.lines.tolist() == [line for line in range(1, 21) if line != 4]
    assert len(checked.validation.examples) == 7


def test_rows_that_share_a_counter_or_a_greeting_with_the_validation_file_are_trained(tmp_path):
    def counted(rows):
        return [{"conversation_id": number, **row, "prompt": "Hi"} for number, row in enumerate(rows)]

    save(tmp_path / "held.jsonl", counted(pairs(4, 900)))
    checked = check(tmp_path, counted(pairs(20)), validation_path="held.jsonl")
    assert checked.validation is not None
    parts = split(checked.examples, DataPlan(path="x"), 42, checked.validation.examples)
    assert len(parts.train_indices) == 20


def test_the_work_is_done_once_for_the_same_file_tokenizer_and_settings(tmp_path, monkeypatch):
    passes = []
    run = survey.Survey.run
    monkeypatch.setattr(survey.Survey, "run", lambda self: passes.append(1) or run(self))
    first = check(tmp_path, pairs(5))
    again = check(tmp_path, pairs(5))
    assert len(passes) == 1
    assert again.findings.to_json() == first.findings.to_json()
    assert again.examples.fingerprint == first.examples.fingerprint
    (tmp_path / "rows.jsonl").rename(tmp_path / "moved.jsonl")
    check_data(DataPlan(path="moved.jsonl"), tmp_path, tiny_tokenizer(), tmp_path / "cache")
    assert len(passes) == 1, "the content counts, not the name"
    check(tmp_path, pairs(6))
    check(tmp_path, pairs(5), max_length=99)
    check(tmp_path, pairs(5), duplicates="keep")
    check(tmp_path, pairs(5), too_long="cut")
    check(tmp_path, pairs(5), columns={"prompt": "completion", "completion": "prompt"})
    check(tmp_path, pairs(5), SMOLLM2.tokenizer())
    check(tmp_path, pairs(5), tiny_tokenizer(QWEN3.template))
    assert len(passes) == 8


def test_a_pass_that_fails_leaves_nothing_in_the_cache(tmp_path, monkeypatch):
    def fails(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(survey.Survey, "run", fails)
    with pytest.raises(DataError, match="No space left on device"):
        check(tmp_path, pairs(3))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DataError, match="TUNEBOOK_CACHE"):
        check(tmp_path, pairs(3))


@pytest.mark.parametrize("name", ["examples.arrow", "findings.json"])
def test_a_damaged_result_in_the_cache_is_made_again(name, tmp_path):
    first = check(tmp_path, pairs(5))
    fingerprint, file = first.examples.fingerprint, first.quarantine.parent / name
    file.write_bytes(file.read_bytes()[:100])
    assert check(tmp_path, pairs(5)).examples.fingerprint == fingerprint


def test_what_no_one_used_for_a_month_is_forgotten_and_what_is_used_stays(tmp_path):
    cache = tmp_path / "cache"
    kept = check(tmp_path, pairs(3)).quarantine.parent
    old = check(tmp_path, pairs(4)).quarantine.parent
    torn = cache / f".{old.name}.x"
    torn.mkdir()
    long_ago = time.time() - 31 * 86_400
    for folder in (kept, old, torn):
        os.utime(folder, (long_ago, long_ago))
    check(tmp_path, pairs(3))
    new = check(tmp_path, pairs(5)).quarantine.parent
    assert set(cache.iterdir()) == {kept, new}


def test_what_others_keep_in_the_cache_folder_is_never_removed(tmp_path):
    others = [tmp_path / "cache" / name for name in ("photos", ".settings", ".git", "0123abc")]
    for folder in others:
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))
    check(tmp_path, pairs(3))
    assert all(folder.is_dir() for folder in others)


def test_data_that_cannot_be_read_to_its_end_is_told_as_such_and_not_as_a_fault_of_the_cache(tmp_path, monkeypatch):
    def torn(path):
        yield from (Row(number, row) for number, row in enumerate(pairs(1000), 1))
        raise OSError(5, "Input/output error")

    monkeypatch.setitem(read.READERS, "jsonl", torn)
    with pytest.raises(DataError) as refused:
        check(tmp_path, pairs(3))
    assert "rows.jsonl cannot be read (Input/output error)" in str(refused.value)


def test_columns_of_text_that_are_not_used_are_told(tmp_path):
    rows = [{**row, "title": "A day", "year": 1900, "id": f"row {row['prompt']}"} for row in pairs(3)]
    found = check(tmp_path, rows).findings
    assert [(item.code, item.severity) for item in found.problems] == [("unused_columns", "warning")]
    assert "not used: title, id;" in found.problems[0].message
    assert not check(tmp_path, pairs(3)).findings.problems


def test_a_template_that_writes_the_date_is_told(tmp_path):
    dated = tiny_tokenizer("{{ strftime_now('%d %b %Y') }}" + CHATML)
    assert check(tmp_path, pairs(5), dated).findings.counts["dated_template"] == 1
    assert not check(tmp_path, pairs(5)).findings.counts["dated_template"]


def test_progress_is_told_while_rows_are_read(tmp_path):
    told: list[int] = []
    path = save(tmp_path / "rows.jsonl", pairs(600))
    gate.examine(path, None, None, survey.Settings(), tmp_path / "cache", told.append)
    assert told == [256, 512, 600]


def test_without_a_tokenizer_rows_and_duplicates_are_still_looked_at(tmp_path):
    path = save(tmp_path / "rows.jsonl", [*pairs(3), *pairs(1), "broken"])
    found = gate.examine(path, None, None, survey.Settings(), tmp_path / "cache").findings
    assert (found.rows, found.good, found.bad, found.duplicates, found.tokens) == (5, 4, 1, 1, None)


def test_findings_come_back_from_json_as_they_were(tmp_path):
    found = check(tmp_path, [*pairs(40), "broken", LONG, *pairs(2)], max_length=60).findings
    assert Findings.from_json(json.loads(json.dumps(found.to_json()))).to_json() == found.to_json()


def test_many_problems_are_counted_whole_and_kept_in_part(tmp_path):
    path = save(tmp_path / "rows.jsonl", ["broken"] * 1500 + [pairs(1)[0]] * 300)
    found = gate.examine(path, None, None, survey.Settings(), tmp_path / "cache").findings
    assert found.counts == {"bad_json": 1500, "duplicate": 299}
    assert len(found.errors) == 1000
    assert len(found.problems) == 1100


def test_a_template_that_ends_no_turn_is_told(tmp_path):
    template = (
        "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    tokens = check(tmp_path, pairs(3), tiny_tokenizer(template)).findings.tokens
    assert tokens is not None
    assert not tokens.end_of_turn_trained
    assert tokens.end_of_turn is None


def test_two_beginnings_and_tokens_across_the_border_are_told(tmp_path):
    double = tiny_tokenizer("{{ bos_token }}" + tiny_tokenizer().chat_template)
    tokens = check(tmp_path, pairs(3), double).findings.tokens
    assert tokens is not None
    assert tokens.rows_with_double_bos == 3
    spaced = tiny_tokenizer(
        tiny_tokenizer().chat_template.replace("assistant\\n' }}{% endif", "assistant ' }}{% endif")
    )
    spaced.chat_template = spaced.chat_template.replace(
        "message['role'] + '\\n'", "message['role'] + (' ' if message['role'] == 'assistant' else '\\n')"
    )
    rows = [{"prompt": "what is it", "completion": "capital of France"}]
    tokens = check(tmp_path, rows, spaced).findings.tokens
    assert tokens is not None
    assert tokens.rows_that_differ_at_inference == 1


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_a_file_of_many_batches_is_whole(duplicates, tmp_path):
    checked = check(tmp_path, pairs(1500), duplicates=duplicates)
    assert [example.reference for example in checked.examples] == [f"answer {i}" for i in range(1500)]
    assert checked.examples[-1].line == 1500
    assert checked.examples[1024].prompt_ids.tolist() == checked.examples[1024:1025][0].prompt_ids.tolist()
