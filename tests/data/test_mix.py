"""Several data sets as one, with weights; and data sets of the hub, by a stand-in for the library that streams them."""

from __future__ import annotations

import json
import sys
import types

import pytest

from tests.tiny import tiny_tokenizer
from tunebook.data.gate import check_data
from tunebook.data.open import open_data
from tunebook.data.split import split
from tunebook.errors import DataError
from tunebook.plan.schema import DataPlan


def save(path, rows) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def check(folder, **settings):
    plan = DataPlan(path="mix.yaml", **settings)
    return check_data(plan, folder, tiny_tokenizer(), folder / "cache"), plan


@pytest.fixture
def mixed(tmp_path):
    save(tmp_path / "a.jsonl", [{"prompt": f"a question {i}", "completion": f"one {i}"} for i in range(20)])
    save(tmp_path / "b.jsonl", [{"text": f"b question {i}", "label": f"two {i}"} for i in range(100)])

    def write(weight_a: float, weight_b: float):
        (tmp_path / "mix.yaml").write_text(
            f"datasets:\n  - {{path: a.jsonl, weight: {weight_a}}}\n"
            f"  - {{path: b.jsonl, weight: {weight_b}, columns: {{prompt: text, completion: label}}}}\n"
        )
        return tmp_path

    return write


def test_a_weight_repeats_training_rows_and_a_fraction_takes_some_by_content(mixed):
    checked, plan = check(mixed(2, 0.3), validation_share=0.2)
    references = [example.reference for example in checked.examples]
    taken = [name for name in references if name.startswith("two")]
    assert references[:20] == [f"one {i}" for i in range(20)]
    assert 15 < len(taken) < 45
    parts = split(checked.examples, plan, 42)
    trained = [references[place] for place in parts.train_indices]
    held = [references[place] for place in parts.validation_indices]
    assert all(trained.count(name) == (2 if name.startswith("one") else 1) for name in trained)
    assert len(held) == len(set(held))
    assert not set(held) & set(trained)
    more, _ = check(mixed(2, 0.5))
    assert set(taken) <= {example.reference for example in more.examples}, "a greater weight drops no row"


def test_rows_and_problems_say_where_they_stood(mixed, tmp_path):
    folder = mixed(1, 1)
    save(tmp_path / "a.jsonl", [{"prompt": "q", "completion": "a"}, "broken", {"prompt": "r", "completion": "b"}])
    checked, _ = check(folder)
    (problem,) = checked.findings.errors
    assert problem.line == 2
    assert problem.message.startswith("a.jsonl line 2: not valid JSON")
    assert checked.examples.lines.tolist() == [1, 3, *range(4, 104)]
    assert checked.findings.format == "prompt"


def test_a_change_of_any_file_or_weight_is_checked_anew(mixed, tmp_path):
    first = check(mixed(1, 1))[0].examples.fingerprint
    assert check(mixed(1, 1))[0].examples.fingerprint == first
    assert check(mixed(1, 0.5))[0].examples.fingerprint != first
    save(tmp_path / "a.jsonl", [{"prompt": "new", "completion": "row"}])
    assert check(mixed(1, 1))[0].examples.fingerprint != first


def test_a_mix_file_with_faults_names_all_of_them(tmp_path):
    (tmp_path / "mix.yaml").write_text("datasets:\n  - {path: a.jsonl, weight: -1}\n  - {file: b.jsonl}\n")
    with pytest.raises(DataError) as refused:
        open_data(tmp_path / "mix.yaml")
    told = str(refused.value)
    assert "datasets.0.weight" in told
    assert "datasets.1.path" in told
    assert "datasets.1.file" in told
    (tmp_path / "mix.yaml").write_text("datasets: [")
    with pytest.raises(DataError, match="not valid YAML"):
        open_data(tmp_path / "mix.yaml")


class Library(types.ModuleType):
    """What is used of the library: `load_dataset` that streams."""

    def __init__(self) -> None:
        super().__init__("datasets")
        self.asked: list[tuple] = []

    def load_dataset(self, name, configuration, *, split, streaming):
        self.asked.append((name, configuration, split))
        assert streaming
        if name == "no/such":
            raise FileNotFoundError("Dataset 'no/such' doesn't exist")
        return Stream({"prompt": f"{split} {i}", "completion": f"answer {i}"} for i in range(50))


class Stream:
    def __init__(self, rows) -> None:
        self.rows = rows

    def take(self, count):
        return (row for row, _ in zip(self.rows, range(count), strict=False))

    def __iter__(self):
        return iter(self.rows)


@pytest.fixture
def library(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path / "own"))
    made = Library()
    monkeypatch.setitem(sys.modules, "datasets", made)
    return made


def test_one_mapping_of_columns_for_a_whole_mix_is_refused(tmp_path):
    save(tmp_path / "a.jsonl", [{"prompt": "q", "completion": "a", "note": "n"}])
    (tmp_path / "mix.yaml").write_text("datasets:\n  - {path: a.jsonl}\n")
    with pytest.raises(DataError, match="one mapping of columns cannot be applied"):
        open_data(tmp_path / "mix.yaml", {"prompt": "q"})
    assert open_data(tmp_path / "mix.yaml").unused == ("note of a.jsonl",)


def test_a_hub_data_set_is_streamed_once_into_a_local_file(library, tmp_path):
    plan = DataPlan(path="hub:owner/name#plain@validation")
    checked = check_data(plan, tmp_path, tiny_tokenizer(), tmp_path / "cache")
    assert len(checked.examples) == 50
    assert library.asked == [("owner/name", "plain", "validation")]
    check_data(plan, tmp_path / "elsewhere", tiny_tokenizer(), tmp_path / "cache")
    assert len(library.asked) == 1


def test_nulls_that_arrow_fills_in_and_nan_are_left_out_of_the_local_file(library, tmp_path, monkeypatch):
    call = {"name": "f", "arguments": {"x": 1, "y": None}}
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    stream = Stream([{"messages": turns, "score": float("nan"), "note": None}])
    monkeypatch.setattr(library, "load_dataset", lambda *_, **__: stream)
    (conversation,) = open_data(tmp_path / "hub:owner/name").conversations()
    (called,) = conversation.messages[1].extra["tool_calls"]
    assert called["function"]["arguments"] == {"x": 1}


def test_a_mix_takes_the_first_rows_of_a_hub_data_set(library, tmp_path):
    (tmp_path / "mix.yaml").write_text("datasets:\n  - {path: 'hub:owner/name', rows: 7}\n")
    assert len(check(tmp_path)[0].examples) == 7
    assert library.asked == [("owner/name", None, "train")]


def test_a_hub_data_set_that_is_not_there_or_a_missing_library_is_told(library, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no/such, split train, cannot be read .Dataset 'no/such' doesn't exist."):
        open_data(tmp_path / "hub:no/such")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'tunebook\[hub\]'"):
        open_data(tmp_path / "hub:other/name")
