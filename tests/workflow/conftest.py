"""A tiny base model, a small data set, and plans over them."""

from __future__ import annotations

import json

import pytest

from tests.tiny import save_tiny

COLOURS = ("red", "blue", "green", "black", "white")
THINGS = ("fox", "dog", "cat", "band", "line", "word", "list", "file")


def write_rows(path, count=40, first=0):
    """Chat rows that a tiny model can learn: repeat the colour, name the thing."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is the {COLOURS[i % 5]} {THINGS[i % 8]} number {i}?"},
                {"role": "assistant", "content": f"The {THINGS[i % 8]} is {COLOURS[i % 5]}."},
            ]
        }
        for i in range(first, first + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder to work in, with a cache and runs of its own."""
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TUNEBOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def values(home, base):
    """The plain values of a small plan."""
    return {
        "model": {"name": str(base)},
        "data": {"path": str(write_rows(home / "rows.jsonl")), "validation_share": 0.2, "max_length": 128},
        "training": {
            "learning_rate": 3e-3,
            "batch_size": 8,
            "epochs": {"min": 1, "max": 2},
            "dropout": 0.1,
            "micro_batch_tokens": 150,
        },
        "lora": {"rank": 4},
        "evaluation": {"schedule": "every 3 steps", "prompts": 3, "max_new_tokens": 12, "retention": False},
        "checkpoints": {"every": 2, "keep": 2},
        "export": {"formats": []},  # a fresh process costs seconds; tests that need one ask for it
    }
