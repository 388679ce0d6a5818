"""Planted faults: each is found with its line and its code, and the rows around it are kept."""

from __future__ import annotations

import json

import pytest

from tests.data.templates import GEMMA3
from tests.tiny import tiny_tokenizer
from tunebook.data.conversation import Conversation, Problem
from tunebook.data.gate import examine
from tunebook.data.jsonl import MAX_ROW_BYTES
from tunebook.data.read import open_source
from tunebook.data.survey import Settings

# In a file of prompt and completion. None in place of a line: it is made below, being huge.
PROMPT_FAULTS = [
    (b'{"prompt": "a\xff", "completion": "b"}', "bad_utf8"),
    (b'{"prompt": "a", "completion": "\xc0\xaf"}', "bad_utf8"),
    (b'{"prompt": "a", "completion": "\xed\xa0\x80"}', "bad_utf8"),
    (b'{"prompt": "a", "completion": "b', "bad_json"),
    (b'{"prompt": "a" "completion": "b"}', "bad_json"),
    (b"{'prompt': 'a', 'completion': 'b'}", "bad_json"),
    (b'{"prompt": "a", "completion": "b",}', "bad_json"),
    (b'{"prompt": "a", "completion": "b"} // note', "bad_json"),
    (b'{"prompt": "a", "completion": "b"}{"prompt": "a", "completion": "b"}', "bad_json"),
    (b'{"prompt": "a\tb", "completion": "b"}', "bad_json"),
    (b'{"prompt": "a\x00b", "completion": "b"}', "bad_json"),
    (b"\xef\xbb\xbf" + b'{"prompt": "a", "completion": "b"}', "bad_json"),
    (b"prompt,completion", "bad_json"),
    (b'{"prompt": "a", "completion": "b", "score": NaN}', "not_finite"),
    (b'{"prompt": "a", "completion": "b", "score": Infinity}', "not_finite"),
    (b'{"prompt": "a", "completion": "b", "score": [-Infinity]}', "not_finite"),
    (b'{"prompt": "a", "completion": "b", "completion": "c"}', "duplicate_key"),
    (b'{"prompt": "a", "completion": "b", "more": {"x": 1, "x": 2}}', "duplicate_key"),
    (b'{"prompt": "a", "completion": "b", "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
    (None, "line_too_long"),
    (b'["a", "b"]', "not_object"),
    (b'"a"', "not_object"),
    (b"5", "not_object"),
    (b"null", "not_object"),
    (b"true", "not_object"),
    (b"{}", "missing_key"),
    (b'{"prompt": "a"}', "missing_key"),
    (b'{"completion": "b"}', "missing_key"),
    (b'{"prompt": null, "completion": "b"}', "missing_key"),
    (b'{"Prompt": "a", "completion": "b"}', "missing_key"),
    (b'{"prompt": "a", "completion": null}', "empty_answer"),
    (b'{"prompt": "a", "completion": ""}', "empty_answer"),
    (b'{"prompt": "a", "completion": "  \\n\\t "}', "empty_answer"),
    (b'{"prompt": "a", "completion": "\\u00a0\\u200b\\u3000"}', "empty_answer"),
    (b'{"prompt": "", "completion": "b"}', "no_question"),
    (b'{"prompt": "a", "completion": 5}', "wrong_type"),
    (b'{"prompt": "a", "completion": true}', "wrong_type"),
    (b'{"prompt": "a", "completion": ["b"]}', "wrong_type"),
    (b'{"prompt": "a", "completion": {"text": "b"}}', "wrong_type"),
    (b'{"prompt": 5, "completion": "b"}', "wrong_type"),
    (b'{"prompt": "a", "completion": "b\\ud800"}', "lone_surrogate"),
    (b'{"prompt": "\\udc00\\ud800", "completion": "b"}', "lone_surrogate"),
    (b'{"prompt": "a", "completion": "b\\u0000c"}', "nul"),
    (b'{"prompt": "a", "completion": "b<|im_end|>"}', "special_token"),
    (b'{"prompt": "<|im_start|>system\\nobey", "completion": "b"}', "special_token"),
]
USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


def call(**function):
    return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}


MESSAGES_FAULTS = [
    ({"text": "a"}, "missing_key"),
    ({"messages": None}, "missing_key"),
    ({"messages": "hello"}, "wrong_type"),
    ({"messages": {"role": "user"}}, "wrong_type"),
    ({"messages": []}, "no_messages"),
    ({"messages": ["hello", "there"]}, "wrong_type"),
    ({"messages": [USER, {"content": "b"}]}, "missing_key"),
    ({"messages": [USER, {"role": "assistant"}]}, "missing_key"),
    ({"messages": [{"role": 1, "content": "a"}, ANSWER]}, "unknown_role"),
    ({"messages": [USER, {"role": "wizard", "content": "b"}]}, "unknown_role"),
    ({"messages": [USER, {"role": "assistant", "content": 5}]}, "wrong_type"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}, ANSWER]}, "not_text"),
    ({"messages": [USER]}, "no_answer"),
    ({"messages": [{"role": "system", "content": "a"}]}, "no_answer"),
    ({"messages": [ANSWER]}, "no_question"),
    ({"messages": [{"role": "user", "content": " "}, ANSWER]}, "no_question"),
    ({"messages": [USER, {"role": "assistant", "content": ""}]}, "empty_answer"),
    ({"messages": [USER, {"role": "assistant", "content": " "}, USER, ANSWER]}, "empty_answer"),
    ({"messages": [USER, {**ANSWER, "train": False}]}, "no_answer"),
    ({"messages": [USER, {**ANSWER, "weight": 0}]}, "no_answer"),
    ({"messages": [USER, {**ANSWER, "train": "yes"}]}, "wrong_type"),
    ({"messages": [USER, {**ANSWER, "weight": 2}]}, "wrong_type"),
    ({"messages": [USER, call(arguments={})]}, "bad_tool_call"),
    ({"messages": [USER, call(name="f", arguments="no json")]}, "bad_tool_call"),
    ({"messages": [USER, ANSWER], "tools": [{"description": "nameless"}]}, "bad_tools"),
    ({"messages": [USER, ANSWER], "tools": "search"}, "bad_tools"),
    ({"messages": [USER, {**ANSWER, "content": "", "tool_calls": []}]}, "empty_answer"),
    ({"messages": [USER, call(name="f", arguments={"x": ["a\0"]})]}, "nul"),
    ({"messages": [USER, call(name="f", arguments={"\ud800": 1})]}, "lone_surrogate"),
    ({"messages": [USER, call(name="f", arguments={"x": "<|im_end|>"})]}, "special_token"),
    ({"messages": [USER, {**ANSWER, "reasoning_content": "\ud800"}]}, "lone_surrogate"),
    ({"messages": [USER, {**ANSWER, "reasoning_content": "<|im_end|>"}]}, "special_token"),
    ({"messages": [USER, ANSWER], "tools": [{"name": "f", "description": "\0"}]}, "nul"),
    ({"messages": [USER, ANSWER], "tools": [{"name": "f", "description": "<|im_start|>"}]}, "special_token"),
]
SHAREGPT_FAULTS = [
    ({"conversations": [{"value": "a"}, {"from": "gpt", "value": "b"}]}, "missing_key"),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "narrator", "value": "b"}]}, "unknown_role"),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt"}]}, "missing_key"),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "run!"}]}, "bad_tool_call"),
]
ALPACA_FAULTS = [
    ({"input": "a", "output": "b"}, "missing_key"),
    ({"instruction": "a", "input": 7, "output": "b"}, "wrong_type"),
    ({"instruction": "a", "input": "", "output": "\n"}, "empty_answer"),
    ({"instruction": "a", "output": "b", "history": [["only one"]]}, "wrong_type"),
    ({"instruction": "a", "output": "b", "history": 3}, "wrong_type"),
    ({"instruction": "a", "output": "b", "history": True}, "wrong_type"),
]
CHOICES_FAULTS = [
    ({"query": "a", "choices": ["x", "y"], "gold": 2}, "wrong_type"),
    ({"query": "a", "choices": "x", "gold": 0}, "wrong_type"),
    ({"query": "a", "choices": ["x", "y"]}, "missing_key"),
]
GOOD = {
    "prompt": {"prompt": "q {}", "completion": "a {}"},
    "messages": {"messages": [{"role": "user", "content": "q {}"}, {"role": "assistant", "content": "a {}"}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q {}"}, {"from": "gpt", "value": "a {}"}]},
    "alpaca": {"instruction": "q {}", "input": "", "output": "a {}"},
    "choices": {"query": "q {}", "choices": ["a {}", "no"], "gold": 0},
}
CORPUS = {
    "prompt": PROMPT_FAULTS,
    "messages": [(json.dumps(row).encode(), code) for row, code in MESSAGES_FAULTS],
    "sharegpt": [(json.dumps(row).encode(), code) for row, code in SHAREGPT_FAULTS],
    "alpaca": [(json.dumps(row).encode(), code) for row, code in ALPACA_FAULTS],
    "choices": [(json.dumps(row).encode(), code) for row, code in CHOICES_FAULTS],
}


def plant(path, form):
    """A file of that form with good rows at odd lines and a fault at each even one; returns {line: code}."""
    expected = {}
    with path.open("wb") as file:
        for number, (line, code) in enumerate(CORPUS[form], 1):
            file.write(json.dumps(GOOD[form]).replace("{}", str(number)).encode() + b"\n")
            file.write((line if line is not None else b'{"prompt": "' + b"a" * MAX_ROW_BYTES) + b"\n")
            expected[2 * number] = code
    return expected


def test_the_corpus_has_some_sixty_faults_or_more():
    assert sum(map(len, CORPUS.values())) >= 60


@pytest.mark.parametrize("form", CORPUS)
def test_each_planted_fault_is_found_with_its_line_and_code_and_nothing_else_is(form, tmp_path):
    path = tmp_path / "planted.jsonl"
    expected = plant(path, form)
    checked = examine(path, None, tiny_tokenizer(), Settings(), tmp_path / "cache")
    found = {problem.line: problem.code for problem in checked.findings.errors}
    assert found == expected
    assert checked.findings.format == form
    assert checked.findings.bad == len(expected)
    assert checked.findings.good == len(expected) == len(checked.examples)
    assert checked.examples.lines.tolist() == [line - 1 for line in expected]


@pytest.mark.parametrize("form", CORPUS)
def test_bad_rows_stand_in_the_quarantine_file_with_line_reason_and_the_row(form, tmp_path):
    path = tmp_path / "planted.jsonl"
    expected = plant(path, form)
    checked = examine(path, None, tiny_tokenizer(), Settings(), tmp_path / "cache")
    rows = [json.loads(line) for line in checked.quarantine.read_text(encoding="utf-8").splitlines()]
    assert {row["line"]: row["code"] for row in rows} == expected
    assert all(row["message"] for row in rows)
    assert all(row["row"] is not None for row in rows if row["code"] not in ("line_too_long", "not_object"))


def test_a_turn_order_that_the_template_refuses_is_a_fault_of_that_row_alone(tmp_path):
    path = tmp_path / "order.jsonl"
    rows = [{"messages": [USER, ANSWER]}, {"messages": [USER, USER, ANSWER]}, {"messages": [USER, ANSWER, ANSWER]}]
    path.write_text("\n".join(map(json.dumps, rows)))
    checked = examine(path, None, GEMMA3.tokenizer(), Settings(), tmp_path / "cache")
    assert [(item.line, item.code) for item in checked.findings.errors] == [
        (2, "template_refused"),
        (3, "template_refused"),
    ]
    assert len(checked.examples) == 1


def test_a_mark_at_the_start_windows_line_ends_and_blank_lines_are_no_faults(tmp_path):
    path = tmp_path / "windows.jsonl"
    line = b'{"prompt": "a", "completion": "b"}\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n   \n" + line)
    rows = list(open_source(path).conversations())
    assert all(isinstance(row, Conversation) for row in rows)
    assert [row.line for row in rows] == [1, 4]
    assert rows[0].messages[1].content == "b"


def test_a_huge_line_costs_no_memory_and_the_next_line_is_read(tmp_path):
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.write(b'{"prompt": "a", "completion": "b"}\n{"prompt": "')
        for _ in range(40):
            file.write(b"x" * 2**20)
        file.write(b'", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n')
    first, huge, last = open_source(path).conversations()
    assert isinstance(huge, Problem)
    assert (huge.line, huge.code) == (2, "line_too_long")
    assert [first.line, last.line] == [1, 3]


def test_faults_in_csv_are_found_by_row(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'prompt,completion\na,b\na,b,c\na\n"two\nlines",b\na,\xff\na,""\n"a"x,b\nlast,row\n,b\n')
    rows = list(open_source(path).conversations())
    assert [(row.line, getattr(row, "code", "good")) for row in rows] == [
        (1, "good"),
        (2, "wrong_cells"),
        (3, "wrong_cells"),
        (4, "good"),
        (5, "bad_utf8"),
        (6, "empty_answer"),
        (7, "bad_csv"),
        (8, "good"),
        (9, "missing_key"),
    ]
    assert rows[3].messages[0].content == "two\nlines"


def test_blank_lines_in_csv_are_no_faults(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion\na,b\n\n  \nc,d\n\n")
    rows = list(open_source(path).conversations())
    assert [(row.line, getattr(row, "code", "good")) for row in rows] == [(1, "good"), (2, "good")]


@pytest.mark.parametrize("end", ["", 'x"y,z\n'], ids=["never closed", "closed by the next quote"])
def test_each_line_that_an_unclosed_quote_in_csv_swallows_is_a_bad_row(end, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\na,b\n"c,d\n' + "e,f\n" * 40 + end)
    first, *bad = open_source(path).conversations()
    assert isinstance(first, Conversation)
    assert [(row.line, row.code) for row in bad] == [(line, "bad_csv") for line in range(2, 43 + bool(end))]
    assert "(file line 30, behind a quote that line 3 opens)" in bad[27].message


def test_faults_in_a_json_array_are_found_by_row(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(
        b'[{"prompt": "a", "completion": "b"}, 5, {"prompt": "a", "prompt": "b"}, {"prompt": NaN, "completion": "b"},'
        b' {"prompt": "\xff", "completion": "b"}, {"prompt": "c", "completion": "d"}]'
    )
    rows = list(open_source(path).conversations())
    assert [(row.line, getattr(row, "code", "good")) for row in rows] == [
        (1, "good"),
        (2, "not_object"),
        (3, "duplicate_key"),
        (4, "not_finite"),
        (5, "bad_utf8"),
        (6, "good"),
    ]
