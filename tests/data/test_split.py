"""The split is decided by content: the same rows go to the same side, whatever stands around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebook.data.examples import Example, Examples, write_examples
from tunebook.data.split import split
from tunebook.errors import DataError
from tunebook.plan.schema import DataPlan

DATA = DataPlan(path="x", validation_share=0.2)


def examples_of(folder, groups: list[int], name: str = "examples.arrow") -> Examples:
    ids, trained = np.arange(3, dtype=np.int32), np.ones(3, np.bool_)
    rows = [
        Example(ids + place, trained, f"{group:032x}", place + 1, 1, "x", group) for place, group in enumerate(groups)
    ]
    return write_examples(folder / name, rows)


def held_groups(examples: Examples, seed: int = 42, data: DataPlan = DATA) -> set[int]:
    return set(examples.groups[split(examples, data, seed).validation_indices].tolist())


def test_the_two_sides_are_all_rows_once_and_share_no_group(tmp_path):
    groups = [number % 150 for number in range(400)]
    examples = examples_of(tmp_path, groups)
    parts = split(examples, DATA, 42)
    both = np.concatenate([parts.train_indices, parts.validation_indices])
    assert sorted(both.tolist()) == list(range(400))
    assert not set(examples.groups[parts.train_indices]) & set(examples.groups[parts.validation_indices])
    assert 0.1 < len(parts.validation_indices) / 400 < 0.3


def test_adding_rows_anywhere_moves_no_other_row(tmp_path):
    before = held_groups(examples_of(tmp_path, list(range(200))))
    after = held_groups(examples_of(tmp_path, [9000, *range(100), *range(5000, 5100), *range(100, 200)], "more.arrow"))
    assert after & set(range(200)) == before


def test_the_order_of_the_file_plays_no_part(tmp_path):
    one = held_groups(examples_of(tmp_path, list(range(100))))
    assert held_groups(examples_of(tmp_path, list(range(100))[::-1], "turned.arrow")) == one


def test_another_seed_holds_out_other_rows_and_the_same_seed_the_same(tmp_path):
    examples = examples_of(tmp_path, list(range(200)))
    assert split(examples, DATA, 1).fingerprint == split(examples, DATA, 1).fingerprint
    assert held_groups(examples, 1) != held_groups(examples, 2)
    assert split(examples, DATA, 1).fingerprint != split(examples, DATA, 2).fingerprint


@pytest.mark.slow
@settings(deadline=None)
@given(
    groups=st.lists(st.integers(0, 6), min_size=2, max_size=20), share=st.floats(0.001, 0.999), seed=st.integers(0, 99)
)
def test_neither_side_is_empty_when_there_are_two_groups(groups, share, seed, tmp_path_factory):
    examples = examples_of(tmp_path_factory.mktemp("split"), groups)
    parts = split(examples, DATA.model_copy(update={"validation_share": share}), seed)
    assert len(parts.train_indices)
    assert bool(len(parts.validation_indices)) == (len(set(groups)) > 1)


def test_no_share_holds_nothing_out(tmp_path):
    parts = split(examples_of(tmp_path, [1, 2, 3]), DATA.model_copy(update={"validation_share": 0.0}), 42)
    assert len(parts.validation_indices) == 0
    assert parts.train_indices.tolist() == [0, 1, 2]


def test_a_group_of_more_than_half_of_the_rows_trains(tmp_path):
    for seed in range(20):
        assert 7 not in held_groups(examples_of(tmp_path, [7] * 60 + list(range(100, 130))), seed)


def test_rows_that_the_validation_file_holds_too_are_left_out_of_training(tmp_path):
    train = examples_of(tmp_path, list(range(10)))
    held = examples_of(tmp_path, [3, 8, 77], "held.arrow")
    parts = split(train, DATA, 42, held)
    assert parts.left_out.tolist() == [3, 8]
    assert parts.train_indices.tolist() == [0, 1, 2, 4, 5, 6, 7, 9]
    assert parts.validation_indices.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="none is left to train on"):
        split(train, DATA, 42, examples_of(tmp_path, list(range(10)), "all.arrow"))


def test_groups_of_the_same_name_in_the_validation_file_take_nothing_from_training(tmp_path):
    held = [replace(example, id=f"{place:032x}") for place, example in enumerate(examples_of(tmp_path, [1, 2]), 500)]
    parts = split(
        examples_of(tmp_path, [1, 2, 3], "train.arrow"), DATA, 42, write_examples(tmp_path / "held.arrow", held)
    )
    assert parts.train_indices.tolist() == [0, 1, 2]
    assert parts.left_out.tolist() == []
