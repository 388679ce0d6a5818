"""Each sign of success says yes, no and unclear where it should, and chance does not fool it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.evaluate.runs import ability, base_answer, held_out, make_run, samples, tuned_answer
from tunebook.evaluate.ability import Retention
from tunebook.evaluate.indicators import answers, judge, retention, training_loss, validation
from tunebook.evaluate.record import HeldOutRow, read_record
from tunebook.files import write_json


def series(values, tokens=100):
    return [(step, value, tokens) for step, value in enumerate(values, 1)]


def rows(losses, tokens=30):
    return [HeldOutRow(f"row-{n}", loss * tokens, tokens) for n, loss in enumerate(losses)]


def noise(n, size, seed=0, start=0.0):
    return list(np.random.default_rng(seed).normal(start, size, n))


# training loss


def test_a_noisy_fall_is_a_fall_and_the_numbers_are_its_ends():
    values = [3 - 0.02 * step + bump for step, bump in enumerate(noise(60, 0.2))]
    found = training_loss(series(values))
    assert found.verdict == "yes"
    assert found.numbers["base"] == pytest.approx(np.mean(values[:6]))
    assert found.numbers["tuned"] == pytest.approx(np.mean(values[-6:]))
    tau, p = stats.kendalltau(range(60), values)
    assert (found.numbers["tau"], found.numbers["p"]) == pytest.approx((tau, p / 2))
    assert found.numbers["trend"]["low"] < -0.02 * 59 < found.numbers["trend"]["high"]


def test_a_quick_fall_that_then_stays_is_a_fall():
    values = [2 + 2 * np.exp(-step / 6) + bump for step, bump in enumerate(noise(200, 0.1))]
    assert training_loss(series(values)).verdict == "yes"


def test_a_run_that_diverges_at_the_end_did_not_fall():
    values = [3 - 0.03 * step for step in range(60)] + [4.0] * 12
    found = training_loss(series(values))
    assert found.verdict == "no"
    assert "did not fall" in found.why


def test_a_loss_that_came_back_up_did_not_fall_and_five_noisy_steps_settle_nothing():
    valley = [1 + 2 * abs(step / 50 - 0.8) + bump for step, bump in enumerate(noise(100, 0.1))]
    assert training_loss(series(valley)).verdict == "no"
    assert training_loss(series([3.0, 2.9, 3.2, 2.8, 3.1])).verdict == "unclear"


def test_a_level_series_stayed_and_a_short_noisy_one_is_unclear():
    assert training_loss(series(noise(2000, 0.05, start=2))).verdict == "no"
    assert training_loss(series(noise(12, 0.5, seed=3, start=2))).verdict == "unclear"
    assert training_loss(series([3, 2, 1])).verdict == "unclear"
    assert training_loss(series([2.0] * 50)).verdict == "no"


def test_a_long_run_is_judged_in_blocks_weighted_by_tokens():
    values = [(step, 5.0 if step % 2 else 2.0, 1 if step % 2 else 99) for step in range(10_000)]
    assert training_loss(values).numbers["base"] == pytest.approx(2.03)


@pytest.mark.slow
def test_noise_without_a_trend_passes_for_a_fall_in_about_1_percent():
    hits = sum(training_loss(series(noise(40, 0.3, seed, 2.0))).verdict == "yes" for seed in range(400))
    assert hits <= stats.binom.ppf(0.999, 400, 0.01)


# validation


def test_held_out_loss_that_falls_improves_and_says_by_how_much():
    base = noise(40, 0.5, start=3)
    found = validation((rows(base), rows([loss - 0.5 for loss in base])), [(20, 2.6), (40, 2.5)], 40)
    assert found.verdict == "yes"
    assert "improved" in found.why
    assert found.numbers["interval"]["mean"] == pytest.approx(-0.5)
    assert found.numbers["improved_share"] == 1
    assert "last" not in found.numbers


def test_held_out_loss_that_did_not_move_holds():
    base = rows(noise(40, 0.5, start=3))
    found = validation((base, base), [(20, 3.0)], 20)
    assert found.verdict == "yes"
    assert "held" in found.why


def test_a_surely_higher_loss_is_no_and_a_spread_one_unclear():
    base = noise(40, 0.5, start=3)
    assert validation((rows(base), rows([loss + 0.2 for loss in base])), [], 40).verdict == "no"
    spread = [loss + bump for loss, bump in zip(base, noise(40, 0.8, seed=9), strict=True)]
    assert validation((rows(base), rows(spread)), [], 40).verdict == "unclear"
    assert validation(None, [], None).verdict == "unclear"


def test_a_rise_after_the_best_checkpoint_is_told():
    base = noise(40, 0.5, start=3)
    found = validation((rows(base), rows([loss - 0.5 for loss in base])), [(20, 2.5), (40, 2.9), (60, 3.2)], 20)
    assert found.verdict == "yes"
    assert "After step 20 it rose to 3.200 by step 60" in found.why
    assert (found.numbers["last"], found.numbers["last_step"]) == (3.2, 60)


def test_long_examples_weigh_by_their_tokens():
    base = [HeldOutRow("a", 100.0, 100), HeldOutRow("b", 9.0, 1)]
    assert validation((base, base), [], 1).numbers["base"] == pytest.approx(109 / 101)


# answers


def texts(write, count=12):
    return samples([write(n) for n in range(count)], 0)["answers"]


WRITERS = (base_answer, tuned_answer)
BETTER = (rows(noise(30, 0.3, start=2.5)), rows(noise(30, 0.3, start=1.5)))


def test_answers_in_the_style_of_the_references_are_better():
    found = answers((texts(base_answer), texts(tuned_answer)), BETTER)
    assert found.verdict == "yes"
    assert found.numbers["tuned"] > found.numbers["base"] + 20
    assert found.numbers["interval"]["low"] > 0
    assert found.numbers["style"]["format_likeness"]["low"] > 0
    assert found.numbers["scores"]["tuned"]["bleu"] > found.numbers["scores"]["base"]["bleu"]


def test_the_same_answers_are_never_better_whatever_the_loss_says():
    found = answers((texts(base_answer), texts(base_answer)), BETTER)
    assert found.verdict == "no"
    assert "word for word" in found.why


def test_answers_that_got_worse_are_no():
    assert answers((texts(tuned_answer), texts(base_answer)), BETTER).verdict == "no"


def test_better_looking_answers_with_a_higher_held_out_loss_are_no():
    found = answers((texts(base_answer), texts(tuned_answer)), (BETTER[1], BETTER[0]))
    assert found.verdict == "no"
    assert "less likely" in found.why


def test_better_answers_with_a_held_out_loss_that_did_not_surely_fall_are_unclear():
    loss = noise(30, 0.5, start=2.5)
    spread = [value + bump for value, bump in zip(loss, noise(30, 0.5, seed=4), strict=True)]
    found = answers((texts(base_answer), texts(tuned_answer)), (rows(loss), rows(spread)))
    assert found.verdict == "unclear"


def test_few_answers_do_not_settle_it():
    found = answers((texts(base_answer, 4), texts(tuned_answer, 4)), BETTER)
    assert found.verdict == "unclear"
    assert "held-out loss fell" in found.why
    assert answers(None, BETTER).verdict == "unclear"


def test_without_held_out_loss_the_answers_alone_decide():
    assert answers((texts(base_answer), texts(tuned_answer)), None).verdict == "yes"


@pytest.mark.slow
def test_base_and_tuned_swapped_at_random_are_better_in_at_most_2_percent():
    chance, hits = random.Random(1), 0
    for _ in range(60):
        pairs = [(base_answer(n), tuned_answer(n)) for n in range(12)]
        pairs = [pair if chance.random() < 0.5 else pair[::-1] for pair in pairs]
        base, tuned = (samples(list(column), 0)["answers"] for column in zip(*pairs, strict=True))
        losses = [(one, two) if chance.random() < 0.5 else (two, one) for one, two in zip(*BETTER, strict=True)]
        hits += answers((base, tuned), tuple(map(list, zip(*losses, strict=True)))).verdict == "yes"
    assert hits <= 2


# retention


def kept(correct, weight, prose):
    return Retention.from_json(ability(correct, weight, prose))


RIGHT = [n % 10 < 7 for n in range(80)]
WEIGHT = [0.2 + 0.6 * (n % 7) / 6 for n in range(80)]
PROSE = noise(16, 0.4, start=3.5)


def test_ability_that_hardly_moved_is_kept():
    moved = [w + bump for w, bump in zip(WEIGHT, noise(80, 0.02), strict=True)]
    found = retention((kept(RIGHT, WEIGHT, PROSE), kept(RIGHT, moved, [loss + 0.02 for loss in PROSE])))
    assert found.verdict == "yes"
    assert found.numbers["base"] == 0.7
    assert found.numbers["prose"]["mean"] == pytest.approx(0.02)


def test_prose_that_became_hard_to_predict_is_ability_lost():
    found = retention((kept(RIGHT, WEIGHT, PROSE), kept(RIGHT, WEIGHT, [loss + 0.3 for loss in PROSE])))
    assert found.verdict == "no"


def test_right_answers_that_became_wrong_are_ability_lost():
    wrong = [right and n >= 30 for n, right in enumerate(RIGHT)]
    assert retention((kept(RIGHT, WEIGHT, PROSE), kept(wrong, WEIGHT, PROSE))).verdict == "no"


def test_weight_taken_from_right_choices_is_ability_lost():
    assert retention((kept(RIGHT, WEIGHT, PROSE), kept(RIGHT, [w - 0.15 for w in WEIGHT], PROSE))).verdict == "no"


def test_a_gain_in_ability_is_kept_too():
    better = kept([True] * 80, [w + 0.2 for w in WEIGHT], [loss - 1 for loss in PROSE])
    assert retention((kept(RIGHT, WEIGHT, PROSE), better)).verdict == "yes"


def test_what_could_be_inside_or_outside_the_margin_is_unclear():
    moved = [loss + bump for loss, bump in zip(PROSE, noise(16, 0.3, start=0.05), strict=True)]
    assert retention((kept(RIGHT, WEIGHT, PROSE), kept(RIGHT, WEIGHT, moved))).verdict == "unclear"
    beyond_on_average = [loss + bump for loss, bump in zip(PROSE, noise(16, 0.3, start=0.15), strict=True)]
    assert retention((kept(RIGHT, WEIGHT, PROSE), kept(RIGHT, WEIGHT, beyond_on_average))).verdict == "unclear"
    assert retention(None).verdict == "unclear"
    assert retention((kept([], [], []), kept([], [], []))).verdict == "unclear"


def test_a_harness_task_counts_as_the_shipped_questions_do():
    def with_task(right):
        return replace(kept(RIGHT, WEIGHT, PROSE), tasks={"arc": tuple(float(n < right) for n in range(100))})

    found = retention((with_task(70), with_task(69)))
    assert found.verdict == "yes"
    assert found.numbers["tasks"]["arc"]["tuned"] == 0.69
    assert "arc from 70.0 % to 69.0 %" in found.why
    assert retention((with_task(70), with_task(40))).verdict == "no"
    assert retention((with_task(70), with_task(63))).verdict == "unclear"


def test_prose_alone_or_questions_alone_are_enough():
    assert retention((kept([], [], PROSE), kept([], [], PROSE))).verdict == "yes"
    assert retention((kept(RIGHT, WEIGHT, []), kept(RIGHT, WEIGHT, []))).verdict == "yes"


# a whole run


def test_a_run_that_learned_has_four_times_yes(tmp_path):
    found = judge(read_record(make_run(tmp_path / "run").folder))
    assert [(one.id, one.verdict) for one in found] == [
        ("training_loss", "yes"),
        ("validation", "yes"),
        ("answers", "yes"),
        ("retention", "yes"),
    ]


def test_a_run_at_learning_rate_0_is_never_better(tmp_path):
    for seed in range(5):
        found = {
            one.id: one.verdict for one in judge(read_record(make_run(tmp_path / f"r{seed}", gain=0, seed=seed).folder))
        }
        assert found["answers"] == "no"
        assert found["training_loss"] != "yes"


def test_a_folder_with_nothing_in_it_is_unclear_throughout(tmp_path):
    assert {one.verdict for one in judge(read_record(tmp_path))} == {"unclear"}


def test_rows_are_paired_by_id_when_files_differ(tmp_path):
    run = make_run(tmp_path / "run")
    write_json(run.folder / "evaluation" / "heldout-tuned.json", held_out([2.0] * 10, 60) | {"step": 60})
    base, tuned = read_record(run.folder).held_out
    assert [row.id for row in base] == [row.id for row in tuned] == [f"row-{n}" for n in range(10)]


def test_a_damaged_file_is_named_and_the_rest_still_judged(tmp_path):
    run = make_run(tmp_path / "run")
    (run.folder / "evaluation" / "retention-tuned.json").write_text("{half")
    record = read_record(run.folder)
    assert [gap.split(" ")[0] for gap in record.gaps] == ["evaluation/retention-tuned.json"]
    assert [one.verdict for one in judge(record)] == ["yes", "yes", "yes", "unclear"]


@pytest.mark.parametrize("n", [1, 7])
def test_fewer_than_eight_held_out_examples_settle_nothing(n):
    better = validation((rows([2.0] * n), rows([1.5] * n)), [], 10)
    assert better.verdict == "unclear"
    assert "fewer than 8 examples" in better.why
    assert "99 % interval" not in better.why
    assert validation((rows([2.0] * n), rows([2.5] * n)), [], 10).verdict == "unclear"
    assert validation((rows([2.0] * 8), rows([1.5] * 8)), [], 10).verdict == "yes"


def test_one_slightly_worse_answer_does_not_say_that_answers_got_no_better():
    row = {"id": "a", "reference": "The sum is 4.", "tokens": 4, "ended": True}
    found = answers(([row | {"answer": "It is 4."}], [row | {"answer": "It is 5"}]), None)
    assert found.verdict == "unclear"


def test_many_turns_of_few_conversations_settle_nothing():
    names = [f"chat {n % 3}" for n in range(30)]
    base, tuned = ([replace(row, group=name) for row, name in zip(side, names, strict=True)] for side in BETTER)
    found = validation((base, tuned), [], 10)
    assert found.verdict == "unclear"
    assert "on 30 examples of 3 groups" in found.why
    grouped = [[row | {"group": name} for row, name in zip(texts(write, 30), names, strict=True)] for write in WRITERS]
    assert answers((grouped[0], grouped[1]), BETTER).verdict == "unclear"


def test_exact_matches_alike_in_all_answers_have_an_interval_with_width():
    right = [row | {"answer": row["reference"]} for row in texts(base_answer, 3)]
    style = answers((texts(base_answer, 3), right), None).numbers["style"]["exact_match"]
    assert (style["mean"], style["n"]) == (100, 3)
    assert style["low"] < 0
