"""Duplicates and near-duplicates are found, whatever lies between them, and sketches are those of datasketch."""

from __future__ import annotations

import random

import numpy as np
import pytest
from datasketch import MinHash

from tunebook.data import duplicates as room
from tunebook.data.conversation import Conversation, Message
from tunebook.data.duplicates import RowIndex, find_duplicates, find_leaks
from tunebook.data.render import group_of
from tunebook.data.sketch import SIZE, normal, shingles, similarity, sketches

WORDS = [
    f"{a}{b}" for a in ("ba", "do", "fi", "gu", "le", "mo", "na", "pi", "ru", "so") for b in "bcdfghjklmnpqrstvwxyz"
]


def prose(seed: int, length: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def row(question: str, answer: str, line: int = 0) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)), line=line)


def index_of(folder, rows, at_once: int = 7) -> RowIndex:
    with RowIndex(folder) as index:
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            index.add(some, [group_of(each) for each in some])
    return index


def test_a_sketch_is_the_minhash_of_datasketch_over_the_same_triples():
    texts = [prose(seed, length) for seed, length in enumerate((1, 2, 3, 10, 200))] + ["", "¡Größe 数据 мир! 🦊"]
    made = sketches(texts)
    hashes, starts = shingles(texts)
    for text, sketch, start, end in zip(texts, made, starts, [*starts[1:], len(hashes)], strict=True):
        reference = MinHash(num_perm=SIZE, seed=1, scheme="affine32", hashfunc=int)
        reference.update_batch(hashes[start:end].tolist())
        np.testing.assert_array_equal(sketch, reference.hashvalues, err_msg=text)
        assert end - start == max(1, len(normal(text).split()))


def test_the_estimate_is_near_the_true_share_of_word_triples_in_common():
    def triples(text: str) -> set[tuple[str, ...]]:
        words = [*text.split(), "", ""]
        return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}

    for seed in range(20):
        one = prose(seed, 120)
        words = one.split()
        for place in random.Random(seed).sample(range(120), seed):
            words[place] = "changed"
        other = " ".join(words)
        true = len(triples(one) & triples(other)) / len(triples(one) | triples(other))
        made = sketches([one, other])
        assert similarity(made[:1], made[1:])[0] == pytest.approx(true, abs=0.16)


def test_case_punctuation_and_spaces_make_no_difference():
    made = sketches(["Hello, World!  How are you?", "hello world how\nare YOU", "good bye world how are you"])
    assert (made[0] == made[1]).all()
    assert (made[0] != made[2]).any()


def test_scripts_without_spaces_are_compared_by_character():
    one = "机器学习是人工智能的一个分支它使用数据和算法来模仿人类的学习方式"
    made = sketches([one, one.replace("分支", "部分"), "今天天气很好我们去公园散步吧然后一起吃午饭"])
    assert similarity(made[:1], made[1:2])[0] > 0.6
    assert similarity(made[:1], made[2:])[0] < 0.1


def test_planted_duplicates_and_near_duplicates_are_found_and_others_are_not(tmp_path):
    rows = [row(prose(seed), prose(seed + 10_000)) for seed in range(300)]
    rows[250] = row(prose(3), prose(10_003))
    rows[260] = row(prose(5).upper() + "!", prose(10_005))
    changed = prose(10_007).split()
    changed[20] = "other"
    rows[270] = row(prose(7), " ".join(changed))
    found = find_duplicates(index_of(tmp_path / "index", rows))
    assert np.flatnonzero(found.first != np.arange(300)).tolist() == [250]
    assert found.first[250] == 3
    assert found.near.tolist() == [[5, 260], [7, 270]]
    for earlier, later in ((3, 250), (5, 260), (7, 270)):
        assert found.groups[earlier] == found.groups[later]
    assert len(np.unique(found.groups)) == 297


def test_rows_of_one_first_question_are_one_group(tmp_path):
    rows = [row(prose(seed), prose(seed + 999)) for seed in range(20)] + [row(prose(4), prose(7777))]
    groups = find_duplicates(index_of(tmp_path / "index", rows)).groups
    assert groups[4] == groups[20]
    assert len(np.unique(groups)) == 20


def test_a_question_that_most_rows_share_holds_nothing_together(tmp_path):
    rows = [row("Tell me a joke.", prose(seed)) for seed in range(20)]
    assert len(np.unique(find_duplicates(index_of(tmp_path / "index", rows)).groups)) == 20


def test_a_chain_of_near_duplicates_is_one_group_named_after_its_first_row(tmp_path):
    words = prose(1, 60).split()
    chain = []
    for number in range(4):
        words[number * 15 : number * 15 + 4] = [f"new{number}"] * 4
        chain.append(" ".join(words))
    rows = [row(prose(50), prose(51)), *(row(text, "same") for text in chain), row(prose(60), prose(61))]
    found = find_duplicates(index_of(tmp_path / "index", rows))
    assert len(np.unique(found.groups[1:5])) == 1
    assert found.groups[1] == group_of(rows[1])
    assert len(np.unique(found.groups)) == 3


def test_a_system_prompt_that_all_rows_share_makes_no_near_duplicates(tmp_path):
    system = Message("system", prose(1, 300))
    rows = [Conversation((system, *row(prose(seed, 10), prose(seed + 99, 10)).messages)) for seed in range(30)]
    assert len(find_duplicates(index_of(tmp_path / "index", rows)).near) == 0


def test_many_equal_rows_are_all_named_after_the_first(tmp_path):
    rows = [row("same", "same") for _ in range(50)] + [row(prose(1), prose(2))]
    found = find_duplicates(index_of(tmp_path / "index", rows))
    assert found.first.tolist() == [0] * 50 + [50]
    assert len(found.near) == 0


def test_leaks_into_a_validation_file_are_found(tmp_path):
    train = [row(prose(seed), prose(seed + 500)) for seed in range(100)]
    held = [row(prose(seed), prose(seed + 500)) for seed in range(1000, 1040)]
    held[10] = train[33]
    held[11] = row(prose(44).title(), prose(544))
    pairs = find_leaks(index_of(tmp_path / "a", train), index_of(tmp_path / "b", held))
    assert pairs.tolist() == [[33, 10], [44, 11]]


def test_every_row_of_a_run_of_near_copies_that_reaches_into_the_validation_file_is_a_leak(tmp_path):
    words = prose(1, 60).split()
    run = []
    for number in range(5):
        words[number * 12 : number * 12 + 3] = [f"new{number}"] * 3
        run.append(row("the same", " ".join(words)))
    train = [row(prose(50), prose(51)), *run[1:], row(prose(60), prose(61))]
    held = [row(prose(70), prose(71)), run[0]]
    assert find_leaks(index_of(tmp_path / "a", train), index_of(tmp_path / "b", held)).tolist() == [
        [place, 1] for place in (1, 2, 3, 4)
    ]


def test_few_rows_or_none_are_no_trouble(tmp_path):
    empty = index_of(tmp_path / "none", [])
    one = index_of(tmp_path / "one", [row("a", "b")])
    assert len(find_duplicates(empty).first) == 0
    assert find_duplicates(one).first.tolist() == [0]
    assert len(find_leaks(empty, one)) == len(find_leaks(one, empty)) == 0


def test_pairs_are_compared_some_at_a_time(tmp_path, monkeypatch):
    rows = [row(prose(1, 50) + f" {number}", "same") for number in range(40)]
    whole = find_duplicates(index_of(tmp_path / "index", rows)).near
    monkeypatch.setattr(room, "_AT_ONCE", 3)
    np.testing.assert_array_equal(find_duplicates(RowIndex(tmp_path / "index")).near, whole)
    assert set(whole[:, 1]) == set(range(1, 40))
