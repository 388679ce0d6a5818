"""Rules replayed on a stored run end it where they ended the live one; other rules, with their cost and saving."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest

from tests.evaluate.runs import make_run
from tunebook.errors import PlanError, RunError
from tunebook.evaluate.replay import replay, rules_from
from tunebook.files import write_json
from tunebook.plan.files import make_plan, save_plan
from tunebook.plan.rules.types import Budget, Gap, Plateau, Rise, Threshold
from tunebook.runs.events import EventWriter
from tunebook.runs.store import FORMAT, Run
from tunebook.train import loop
from tunebook.train.state import TrainState


def live(folder, rules, numbers, monkeypatch, *, evaluate="every 4 steps", epochs=(1, 12)):
    """Take the real training loop through made-up numbers, with its own clock and events; returns the run."""
    folder.mkdir()
    plan = make_plan(
        {
            "model": {"name": "m"},
            "data": {"path": "d"},
            "training": {"batch_size": 2, "epochs": {"min": epochs[0], "max": epochs[1]}},
            "evaluation": {"schedule": evaluate},
            "stopping": {"rules": [rule.model_dump() for rule in rules]},
        }
    )
    save_plan(plan, folder / "plan.yaml")
    write_json(folder / "run.json", {"format": FORMAT, "name": folder.name})
    events = EventWriter(folder / "events.jsonl")
    clock = iter(np.cumsum([0.5 + numbers.random() for _ in range(100_000)]))
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))

    def step(job, state):
        state.tokens += 50
        loss = max(0.1, 3 - 0.02 * state.step + numbers.gauss(0, 0.3))
        return {"training_loss": loss, "gradient_norm": numbers.expovariate(1), "tokens": 50, "trained_tokens": 20}

    def measure(state):
        loss = 3 - 0.04 * state.step + 0.0006 * state.step**2 + numbers.gauss(0, 0.05)
        return {"validation_loss": loss, "perplexity": float(np.exp(loss)), "bleu": numbers.uniform(5, 30)}

    monkeypatch.setattr(loop, "optimizer_step", step)
    parts = SimpleNamespace(seconds={}, add=lambda part, started: started + 0.25)
    model = SimpleNamespace(train=lambda: None, eval=lambda: None)
    engine = SimpleNamespace(parts=parts, model=model)
    rows = np.arange(16)
    job = loop.Job(plan, engine, {}, None, [None] * 16, rows, events.emit, measure, lambda state: None)
    events.emit("evaluation", step=0, epoch=0.0, values={"validation_loss": 9.0}, best=False, stopping=[])
    state = TrainState(100)
    ended = loop.train(job, state)
    events.emit("step", id="train", state="done", seconds=1.0, evidence={"ended": ended})
    return Run(folder)


RULES = {
    "plateau": Plateau(patience=3),
    "plateau in steps of a step metric": Plateau(metric="training_loss", patience=6, unit="steps"),
    "plateau in epochs with a delta": Plateau(patience=2, unit="epochs", min_delta=0.05),
    "plateau of the mean gradient norm": Plateau(metric="gradient_norm", patience=2),
    "rise": Rise(patience=2),
    "rise in minutes": Rise(patience=1, unit="minutes"),
    "threshold below": Threshold(metric="validation_loss", op="<", value=2.5),
    "threshold on perplexity, three times": Threshold(metric="perplexity", op="<", value=14, patience=3),
    "threshold on BLEU": Threshold(metric="bleu", op=">", value=25),
    "threshold on a step metric": Threshold(metric="gradient_norm", op=">", value=3.5, unit="steps"),
    "gap": Gap(percent=5),
    "budget of minutes": Budget(amount=1.0, unit="minutes"),
    "budget of tokens": Budget(amount=1500, unit="tokens"),
    "budget of epochs": Budget(amount=2.5, unit="epochs"),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_a_runs_own_rule_stops_it_again_at_the_very_step(name, seed, tmp_path, monkeypatch):
    rule, schedule = RULES[name], ("every 4 steps", "every epoch", "at 3, 9, then every 5")[seed % 3]
    epochs = (1, 12) if seed < 2 else (4, 12)
    run = live(tmp_path / "run", [rule], random.Random(seed), monkeypatch, evaluate=schedule, epochs=epochs)
    found = replay(run, [rule])
    assert found["actual"]["reason"] in (
        found["replayed"]["reason"] if found["stops"] else "the planned steps are done"
    )
    if found["stops"]:
        assert found["replayed"]["step"] == found["actual"]["step"]
        assert found["saved"]["steps"] == 0
        assert found["cost"] == 0


@pytest.mark.parametrize("seed", range(20))
def test_of_several_rules_the_one_that_stopped_the_run_stops_it_again(seed, tmp_path, monkeypatch):
    numbers = random.Random(1000 + seed)
    rules = numbers.sample(list(RULES.values()), numbers.randint(2, 5))
    schedule = numbers.choice(("every 3 steps", "every epoch", "every 1 minutes", "at 2, 7, then every 6"))
    low = numbers.randint(1, 8)
    run = live(tmp_path / "run", rules, numbers, monkeypatch, evaluate=schedule, epochs=(low, 12))
    found = replay(run, rules)
    if found["stops"]:
        assert found["replayed"]["step"] == found["actual"]["step"]
        assert found["replayed"]["reason"] == found["actual"]["reason"]
    else:
        assert found["actual"]["reason"] == "the planned steps are done"


def test_the_rules_above_do_stop_most_runs(tmp_path, monkeypatch):
    ended = [
        replay(live(tmp_path / str(number), [rule], random.Random(1), monkeypatch), [rule])["stops"]
        for number, rule in enumerate(RULES.values())
    ]
    assert sum(ended) >= 10


@pytest.mark.parametrize("name", RULES)
def test_a_rule_replayed_on_a_run_without_rules_ends_it_where_it_would_have(name, tmp_path, monkeypatch):
    rule = RULES[name]
    free = live(tmp_path / "free", [], random.Random(7), monkeypatch, evaluate="every 2 steps")
    bound = live(tmp_path / "bound", [rule], random.Random(7), monkeypatch, evaluate="every 2 steps")
    found, own = replay(free, [rule]), replay(bound, [rule])["actual"]
    if found["stops"]:
        assert found["replayed"]["step"] == own["step"]
        assert found["saved"]["steps"] == 96 - own["step"]
    else:
        assert own["step"] == 96


def test_cost_is_the_held_out_loss_given_away_and_saving_what_is_spared(tmp_path):
    run = make_run(tmp_path / "run")
    found = replay(run, [Budget(amount=30, unit="steps")])
    early, late = found["replayed"], found["actual"]
    assert (early["step"], early["best_step"], late["step"], late["best_step"]) == (30, 20, 60, 60)
    assert found["cost"] == pytest.approx(early["best_validation_loss"] - late["best_validation_loss"])
    assert found["cost"] > 0
    assert found["saved"]["steps"] == 30


def test_a_rule_on_what_was_not_recorded_never_fires_and_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    found = replay(run, [Threshold(metric="bleu", op=">", value=0)])
    assert not found["stops"]
    assert found["replayed"] is None
    assert found["not_measured"] == ["bleu"]


def test_steps_that_a_resumed_try_superseded_are_not_replayed(tmp_path):
    run = make_run(tmp_path / "run")
    events = EventWriter(run.events)
    events.emit("run", state="resumed", step=40, reason="")
    for step in range(41, 46):
        events.emit("metrics", step=step, epoch=step / 20, values={"training_loss": 9.0}, parts={})
    found = replay(run, [Threshold(metric="training_loss", op=">", value=8, unit="steps", patience=3)])
    assert found["actual"]["step"] == 45
    assert found["replayed"]["step"] == 43


def test_a_run_without_steps_and_a_text_without_rules_are_said(tmp_path):
    run = make_run(tmp_path / "run")
    run.events.unlink()
    with pytest.raises(RunError, match="no optimizer step yet"):
        replay(run, [Plateau()])
    with pytest.raises(PlanError, match="No stopping rule was understood in 'feel good'"):
        rules_from("feel good")


def test_text_becomes_rules():
    (rule,), unread = rules_from("Stop when validation loss has not improved for 3 evaluations")
    assert (rule.kind, rule.patience, rule.unit) == ("plateau", 3, "evaluations")
    assert unread == ()
