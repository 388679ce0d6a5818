"""No name reaches a shell or is taken for an option, and nothing that is read is run."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.studio.oracle import watched
from tests.studio.security.conftest import KEY, SOURCE, change
from tunebook.studio import command

HARD_NAMES = [
    "$(touch canary).jsonl",
    "; touch canary;.jsonl",
    "`touch canary`.jsonl",
    "--debug.jsonl",
    "-rf.jsonl",
    "a b'\".jsonl",
]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_command_injection_by_a_name_reaches_no_shell_and_is_no_option(client, place, name, monkeypatch):
    (place.folder / name).write_text('{"prompt": "a", "completion": "b"}\n')
    calls = []

    def run(words, **options):
        assert not options.get("shell")
        calls.append(words)
        return subprocess.CompletedProcess(words, 1, "", "refused")

    monkeypatch.setattr(command.subprocess, "run", run)
    change(client, "POST", "/api/data/check", {"file": name, "model": name})
    change(client, "POST", "/api/data/show", {"file": name, "model": name, "row": 1})
    assert calls
    for words in calls:
        place_of_dashes = words.index("--")
        assert words[place_of_dashes + 1 :] == [str(place.folder / name)], "a name stands behind `--`, whole"
        assert all(word.startswith("--model=") for word in words[:place_of_dashes] if name in word)
    assert not (place.folder / "canary").exists()


@pytest.mark.parametrize("model", ["m\0m", "m\ud800"])
def test_a_character_that_no_command_takes_is_said(client, place, model):
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    answer = change(client, "POST", "/api/data/show", {"file": "rows.jsonl", "model": model, "row": 1})
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["what"]


@pytest.mark.parametrize(
    "name", ["$(touch x)", "-rf", "--help", "a b", "a\nb", "a;b", "A", "é", "..", ".x", "a/b", "x" * 65]
)
def test_command_injection_by_the_name_of_a_run_is_refused(client, place, name):
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with watched() as seen:
        body = {"page": KEY, "data": "rows.jsonl", "model": "m", "name": name}
        assert change(client, "POST", "/api/runs", body).status_code == 409
    assert not seen.commands


def test_no_file_of_the_house_calls_a_shell_or_reads_a_pickle():
    """What a linter's rules also forbid, said of the text itself."""
    forbidden = "|".join(
        (
            r"shell\s*=\s*True",
            r"os\.(system|popen)\(",
            r"\bpickle\b.*\bload",
            r"torch\.load\(",
            r"yaml\.(unsafe_|full_)load\(",
            r"allow_pickle=True",
            r"trust_remote_code=True",
        )
    )
    found = [
        f"{path.name}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(forbidden, line)
    ]
    assert not found
