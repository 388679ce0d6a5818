"""Secrets and personal data are counted by kind, and the text itself is nowhere to be found afterwards."""

from __future__ import annotations

import json

import pytest

from tests.tiny import tiny_tokenizer
from tunebook.data.gate import examine
from tunebook.data.private import find_private
from tunebook.data.survey import Settings

# Joined here, so that no scanner takes this file itself for a leak.
PLANTED = {
    "AWS key": "AKIA" + "IOSFODNN7EXAMPLE",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "x" * 20,
    "Hugging Face token": "hf_" + "aB" * 17,
    "OpenAI key": "sk-" + "a" * 20 + "T3BlbkFJ" + "b" * 20,
    "Anthropic key": "sk-ant-" + "api03-" + "c" * 30,
    "Google key": "AIza" + "d" * 35,
    "Slack token": "xoxb-" + "1234-5678-abcdef",
    "Stripe key": "sk_live_" + "e" * 24,
    "private key": "-----BEGIN RSA PRIVATE " + "KEY-----",
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0.abc",
    "password in an address": "https://user:" + "hunter2@example.org/",
    "email address": "jo.doe+lists@" + "example.co.uk",
    "telephone number": "+44 20 7946 " + "0958",
    "payment card": "4111 1111 " + "1111 1111",
    "bank account": "DE89 3704 0044 " + "0532 0130 00",
    "social security number": "078-05-" + "1120",
}
HARMLESS = [
    "on 2024-01-02 at 12:00:00, 3.14159265358979 times",
    "1234 5678 9012 3456 fails its check digit",
    "the ratio 1:2 at user@host and a+1 = 10, C++17, B-52",
    "find . -size +10000000 -print",
    "an IPv4 address 192.168.0.1 and version 10.15.7-2",
    "sk-learn, ask-me, eyJ, AKIA alone",
]


@pytest.mark.parametrize("kind", PLANTED)
def test_each_kind_is_found_in_the_text_that_holds_it(kind):
    assert find_private(["nothing here", f"x {PLANTED[kind]} y", "nor here"]) == [(1, kind, 1)]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_similar_is_not_counted(text):
    assert find_private([text]) == []


def test_a_pattern_does_not_reach_from_one_text_into_the_next():
    assert find_private(["4111 1111 ", "1111 1111", "jo@", "example.org"]) == []


def test_findings_name_kind_count_and_line_and_never_the_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    values = list(PLANTED.values())
    path.write_text("".join(json.dumps({"prompt": f"keep {value}", "completion": "ok"}) + "\n" for value in values))
    checked = examine(path, None, tiny_tokenizer(), Settings(max_length=2048), tmp_path / "cache")
    assert checked.findings.private == dict.fromkeys(PLANTED, 1)
    assert len(checked.examples) == len(PLANTED), "a warning leaves no row out"
    codes = {problem.line: problem.code for problem in checked.findings.problems if "looks like" in problem.message}
    assert codes[1] == "secret"
    assert codes[len(PLANTED)] == "personal_data"
    text = json.dumps(checked.findings.to_json())
    assert not [value for value in values if value in text]
