"""The whole of JSONTestSuite, where it lies: the environment variable JSON_TEST_SUITE names its folder test_parsing.

git clone https://github.com/nst/JSONTestSuite
JSON_TEST_SUITE=JSONTestSuite/test_parsing pytest tests/data/test_json_suite.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunebook.data.json_text import BadJSON, parse_json

FOLDER = os.environ.get("JSON_TEST_SUITE")
CASES = sorted(Path(FOLDER).glob("*.json")) if FOLDER else []


def code_of(data: bytes) -> str:
    """`accepted`, or the code with which it is refused."""
    try:
        parse_json(data)
    except BadJSON as refused:
        return refused.code
    return "accepted"


@pytest.mark.skipif(not FOLDER, reason="JSON_TEST_SUITE names no folder")
@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_a_case_of_the_suite_is_accepted_or_refused_as_its_name_says(case):
    found = code_of(case.read_bytes())
    if "duplicated_key" in case.stem:
        assert found == "duplicate_key", "valid JSON, and no valid row: the second value would hide the first"
    elif case.stem.startswith("y_"):
        assert found == "accepted"
    elif case.stem.startswith("n_"):
        assert found in ("bad_json", "bad_utf8", "not_finite", "too_deep")
    else:
        assert case.stem.startswith("i_"), "what the standard leaves open need only not crash"
