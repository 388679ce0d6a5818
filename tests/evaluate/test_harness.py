"""Tasks of the lm-evaluation-harness: scores as one plain pass a choice would give them, and what cannot be asked."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.evaluate.test_retention import TOKENIZER, nats, talker
from tunebook.errors import DataError

pytest.importorskip("lm_eval")
from tunebook.evaluate.harness import _scores, measure_tasks  # noqa: E402

ROWS = [
    {"query": "What is the capital of France? It is", "choices": ["Paris", "the quick brown fox", "a dog"], "gold": 0},
    {"query": "The band plays", "choices": ["on", "over the lazy dog", "in the capital"], "gold": 2},
    {"query": "list files:", "choices": ["find", "sort"], "gold": 1},
    {"query": "The quick brown", "choices": ["fox", "lazy", "capital"], "gold": 0},
]


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    value = {
        "task": "small_questions",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{query}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}],
    }
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.mark.slow
def test_each_question_is_right_where_the_right_choice_is_likeliest(task):
    model = talker()
    expected = []
    for row in ROWS:
        start = len(TOKENIZER(row["query"])["input_ids"])
        costs = [nats(model, TOKENIZER(f"{row['query']} {choice}")["input_ids"], start) for choice in row["choices"]]
        expected.append(float(costs.index(min(costs)) == row["gold"]))
    assert measure_tasks(model, TOKENIZER, [str(task)], 100) == {"small_questions": tuple(expected)}
    assert measure_tasks(model, TOKENIZER, [str(task)], 2) == {"small_questions": tuple(expected[:2])}


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["data", "task"])
def test_what_cannot_be_asked_is_said_in_a_sentence(task, missing, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if missing == "data":
        (task.parent / "rows.jsonl").unlink()
    name = str(task) if missing == "data" else "no_such_task"
    with pytest.raises(DataError, match="cannot be asked"):
        measure_tasks(talker(), TOKENIZER, [name], 2)


def test_a_task_that_reads_answers_in_two_ways_counts_each_question_once():
    ways = {"strict-match": (0.0, 1.0, 0.0), "flexible-extract": (1.0, 1.0, 1.0)}
    rows = [
        {"doc_id": place, "filter": way, "exact_match": score}
        for way, scores in ways.items()
        for place, score in reversed(list(enumerate(scores)))
    ]
    assert _scores(rows) == ways["strict-match"]
