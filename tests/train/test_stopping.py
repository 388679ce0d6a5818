"""Stopping rules, by hand-made runs."""

from __future__ import annotations

import pytest

from tunebook.plan.rules.types import Budget, Gap, Plateau, Rise, Threshold
from tunebook.train.stopping import Moment, Stopper


def stops_at(
    rule, values, *, metric="validation_loss", min_epochs=1, per_epoch=1, minutes=1.0, training=None, again=None
):
    """The evaluation (from 1) at which `rule` ends a run of those values, or None; `again` is applied to its state."""
    stopper = Stopper([rule], min_epochs)
    for i, value in enumerate(values, 1):
        if again:
            stopper = Stopper([rule], min_epochs, again(stopper.state))
        seen = {metric: value} | ({"training_loss": training[i - 1]} if training else {})
        moment = Moment(10 * i, i / per_epoch, minutes * i, 100 * i, i, seen)
        if stopper.after_step(moment) or stopper.after_evaluation(moment):
            return i
    return None


def test_a_plateau_counts_from_the_last_improvement():
    assert stops_at(Plateau(patience=3), [3, 2, 1, 1, 1.2, 1.1, 0.5]) == 6
    assert stops_at(Plateau(patience=3), [3, 2, 1, 1, 1.2, 0.9, 1, 1]) is None


def test_a_plateau_asks_for_more_than_its_delta():
    assert stops_at(Plateau(patience=2, min_delta=0.1), [1, 0.95, 0.92, 0.5]) == 3
    assert stops_at(Plateau(patience=2, min_delta_percent=1), [100, 99.5, 99.2, 50]) == 3
    assert stops_at(Plateau(patience=2, min_delta_percent=1), [100, 98.5, 97, 95]) is None


def test_a_plateau_in_epochs_counts_epochs_not_evaluations():
    rule = Plateau(patience=2, unit="epochs")
    assert stops_at(rule, [1] * 20, per_epoch=4) == 9  # the best at epoch 0.25, two epochs later is 2.25


def test_a_metric_that_should_rise_stops_when_it_no_longer_does():
    assert stops_at(Plateau(metric="bleu", patience=2), [10, 12, 14, 14, 13], metric="bleu") == 5


def test_a_rise_must_be_in_a_row():
    assert stops_at(Rise(patience=2), [3, 2, 2.5, 2.4, 2.5, 2.6]) == 6
    assert stops_at(Rise(patience=1), [3, 2, 2.5]) == 3
    assert stops_at(Rise(patience=2), [3, 2, 2.5, 2.5, 2.5]) is None


def test_a_threshold_stops_at_once_or_after_its_patience():
    assert stops_at(Threshold(metric="validation_loss", op="<", value=1.0), [2, 1.0, 0.9]) == 3
    assert stops_at(Threshold(metric="validation_loss", op="<=", value=1.0), [2, 1.0, 0.9]) == 2
    assert stops_at(Threshold(metric="validation_loss", op="<", value=1, patience=2), [0.9, 1.1, 0.9, 0.8]) == 4


def test_a_gap_is_counted_in_value_or_percent():
    assert stops_at(Gap(value=0.5), [1.2, 1.4, 1.6], training=[1, 1, 1]) == 3
    assert stops_at(Gap(percent=30), [1.2, 1.4, 1.6], training=[1, 1, 1]) == 2
    assert stops_at(Gap(), [0.9, 1.0, 1.01], training=[1, 1, 1]) == 3


@pytest.mark.parametrize(
    ("rule", "at"),
    [
        (Budget(amount=30, unit="steps"), 3),
        (Budget(amount=2.5, unit="minutes"), 3),
        (Budget(amount=4, unit="epochs"), 4),
        (Budget(amount=250, unit="tokens"), 3),
    ],
)
def test_a_budget_ends_the_run_when_it_is_spent(rule, at):
    assert stops_at(rule, [1] * 6) == at


@pytest.mark.parametrize("rule", [Plateau(patience=1), Rise(patience=1), Gap(value=0)])
def test_plateau_rise_and_gap_wait_for_the_low_end_of_the_epochs(rule):
    assert stops_at(rule, [1, 1.1, 1.2, 1.3, 1.4], min_epochs=4, training=[1] * 5) == 4


def test_thresholds_and_budgets_do_not_wait():
    assert stops_at(Threshold(metric="validation_loss", op="<", value=2), [1, 1], min_epochs=9) == 1
    assert stops_at(Budget(amount=2, unit="epochs"), [1, 1, 1], min_epochs=9) == 2


def test_counters_survive_being_saved():
    import json

    again = lambda state: json.loads(json.dumps(state))  # noqa: E731
    assert stops_at(Plateau(patience=3), [3, 2, 1, 1, 1.2, 1.1], again=again) == 6


def test_the_state_is_told_in_words():
    stopper = Stopper([Plateau(patience=3)], 1)
    for i, value in enumerate([1.0, 1.1, 1.2], 1):
        stopper.after_evaluation(Moment(i, i, i, i, i, {"validation_loss": value}))
    assert stopper.statuses()[0].text == "2 of 3 evaluations without improvement"


def test_a_step_metric_counted_in_steps_is_looked_at_each_step():
    stopper = Stopper([Threshold(metric="gradient_norm", op=">", value=10, patience=2, unit="steps")], 1)
    reasons = [stopper.after_step(Moment(i, 0, 0, 0, 0, {"gradient_norm": 11})) for i in range(1, 4)]
    assert [bool(reason) for reason in reasons] == [False, True, True]


def test_a_rule_that_was_changed_between_two_tries_begins_to_count_anew():
    def changed(rule):
        stopper = Stopper([Plateau(patience=5)], 1)
        for i, loss in enumerate((1.9, 2.0, 2.0, 2.0), 1):
            stopper.after_evaluation(Moment(i, i, i, i, i, {"validation_loss": loss}))
        assert stopper.statuses()[0].count == 3
        again = Stopper([rule], 1, stopper.state)
        stops = again.after_evaluation(Moment(9, 9, 9, 9, 9, {"perplexity": 6.7}))
        return stops, again.statuses()[0].count

    assert changed(Plateau(metric="perplexity", patience=3)) == ("", 0)
    assert changed(Threshold(metric="bleu", op=">", value=30)) == ("", 0)
    assert changed(Plateau(patience=5, source="said another way"))[1] == 3


@pytest.mark.parametrize(
    "rule", [Threshold(metric="throughput", op="<", value=50, unit="minutes"), Gap(value=0.1, unit="epochs")]
)
def test_past_a_limit_for_a_minute_or_an_epoch_is_not_past_it_once(rule):
    stopper = Stopper([rule], 0)
    for i in range(1, 6):
        seen = {"throughput": 10, "validation_loss": 2.0, "training_loss": 1.0}
        moment = Moment(i, 0.3 * i, 0.3 * i, i, i, seen)
        if stopper.after_step(moment) or stopper.after_evaluation(moment):
            break
    assert i == 5  # from 0.3 to 1.5
