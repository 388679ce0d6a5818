"""The numbers of a comparison, against formulas written down once more."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tests.export.making import NEW_TOKENS, prompts_of
from tests.tiny import tiny_model, tiny_tokenizer
from tunebook.evaluate.generate import Answer
from tunebook.export.check import difference
from tunebook.export.parity import _compare_answers, _logit_faults, _logit_numbers
from tunebook.export.reference import LONGEST, TEXTS, Reference, measure, spread


def test_kl_is_that_of_the_export_from_the_tuned_model() -> None:
    torch.manual_seed(0)
    mine, theirs = [torch.randn(5, 30), torch.randn(3, 30)], [torch.randn(5, 30), torch.randn(3, 30)]
    numbers = _logit_numbers(mine, theirs)
    p, q = torch.cat(mine), torch.cat(theirs)
    expected = F.kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="batchmean")
    assert math.isclose(numbers["mean_kl"], float(expected), rel_tol=1e-5)
    assert math.isclose(numbers["max_logit_difference"], float((p - q).abs().max()), rel_tol=1e-6)
    assert numbers["top1"] == float((p.argmax(-1) == q.argmax(-1)).float().mean())
    assert numbers["positions"] == 8


def test_equal_logits_pass_and_others_do_not() -> None:
    row = [torch.randn(4, 9)]
    assert _logit_faults(_logit_numbers(row, row)) == []
    assert len(_logit_faults(_logit_numbers(row, [-row[0]]))) == 2


def test_a_number_that_is_none_is_a_fault() -> None:
    row, broken = [torch.zeros(4, 9)], [torch.full((4, 9), float("nan"))]
    assert _logit_faults(_logit_numbers(row, broken))
    assert _logit_faults(_logit_numbers(row, [torch.zeros(4, 8)]))


def answer(ids: list[int], ended: bool = True) -> Answer:
    return Answer(tuple(ids), str(ids), ended)


@pytest.mark.parametrize(("gap", "tied"), [(0.004, 1), (0.3, 0), (None, 0)])
def test_answers_may_part_only_where_two_tokens_tie(gap: float | None, tied: int) -> None:
    reference = _reference([answer([1, 2]), answer([3])])
    result = [
        {"text": "[1, 5]", "ended": True, "difference": {"at": 1, "gap": gap}},
        {"text": "[3]", "ended": True, "difference": None},
    ]
    found, faults = _compare_answers(reference, {"answers": result}, 0.01)
    assert found == tied
    assert len(faults) == 1 - tied


def test_an_answer_that_no_longer_ends_is_a_fault() -> None:
    result = [{"text": "[3]", "ended": False, "difference": None}]
    assert _compare_answers(_reference([answer([3])]), {"answers": result}, 0.01)[1]


def test_the_gap_is_between_the_two_tokens_where_answers_part() -> None:
    model = tiny_model(initializer_range=0.2)
    prompt, given, expected = [1, 5, 9], [7, 8, 30], [7, 8, 40, 50]
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, 7, 8]])).logits[0, -1]
        found = difference(model, prompt, given, expected, [2])
        early = difference(model, prompt, [7, 8], expected, [2, 4])
    assert found is not None
    assert early is not None
    assert found["at"] == 2
    assert math.isclose(found["gap"], abs(float(logits[30] - logits[40])), abs_tol=1e-5)
    assert math.isclose(early["gap"], abs(float(logits[[2, 4]].max() - logits[40])), abs_tol=1e-5)
    assert difference(model, prompt, given, given, [2]) is None


def test_the_rows_of_the_reference_stay_small_and_hold_answers() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    prompts = prompts_of(tokenizer, 30)
    found = measure(model, tokenizer, prompts, NEW_TOKENS)
    assert sum(map(len, found.logits)) <= 256
    assert found.rows[1] == [*prompts[0], *found.answers[0].ids]
    assert len(found.rows) == 1 + 30 + len(TEXTS)
    share = 256 // len(found.rows)
    assert [len(row) for row in found.logits] == [min(share, len(row)) for row in found.rows]
    with torch.no_grad():
        for row, logits in zip(found.rows, found.logits, strict=True):
            expected = model(torch.tensor([row])).logits[0, spread(len(row), share)]
            assert torch.allclose(logits, expected, atol=1e-5)


def test_positions_are_spread_over_a_row_up_to_its_end() -> None:
    assert spread(10, 5) == [1, 3, 5, 7, 9]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(1535, 3) == [511, 1023, 1534]


def test_one_row_is_as_long_as_the_model_takes_so_that_windows_and_rotary_scaling_show() -> None:
    found = measure(tiny_model(max_position_embeddings=300), tiny_tokenizer(), [], NEW_TOKENS)
    assert len(found.rows[0]) == 299
    longer = measure(tiny_model(max_position_embeddings=4096), tiny_tokenizer(), [], NEW_TOKENS)
    assert len(longer.rows[0]) == LONGEST


def _reference(answers: list[Answer]) -> Reference:
    return Reference([], [], [[1]] * len(answers), answers, 4, "", [], [], (2,), 2)
