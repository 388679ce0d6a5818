"""Estimates learn: what finished runs took corrects the next one, and what was off widens its band."""

from __future__ import annotations

import json
import math

import pytest

from tests.evaluate.runs import make_run
from tests.workflow.conftest import base, home, values  # noqa: F401  (fixtures)
from tunebook.plan.files import make_plan
from tunebook.runs.events import EventWriter
from tunebook.train.state import TrainState
from tunebook.workflow import timings
from tunebook.workflow.timings import PARTS, Pair, corrections, pairs, parts_taken, spread

SAID = dict.fromkeys(PARTS, 10.0)


def pair(factor=1.0, told=80.0, **taken):
    return Pair("m", SAID, told, {name: factor * seconds for name, seconds in SAID.items()} | taken)


def test_without_runs_nothing_is_corrected():
    assert corrections([]) == dict.fromkeys(PARTS, 1.0)


def test_each_finished_run_brings_the_correction_nearer_to_what_runs_take():
    factors = [corrections([pair(training=15.0)] * count)["training"] for count in range(12)]
    assert factors == sorted(factors)
    assert factors[1] == pytest.approx(math.sqrt(1.5))
    assert 1.45 < factors[-1] < 1.5
    assert corrections([pair(training=15.0)] * 5)["export"] == 1.0


def test_one_odd_run_among_many_changes_little():
    assert corrections([pair()] * 8 + [pair(training=900.0)])["training"] == pytest.approx(1.0)


def test_the_band_widens_with_how_far_totals_were_off_and_narrows_where_they_were_right():
    unknown, right, wrong = spread([]), spread([pair()] * 8), spread([pair(factor) for factor in (0.6, 1.6) * 4])
    assert right < unknown < wrong
    assert spread([pair()] * 2) > right


def test_a_run_that_ended_early_corrects_what_it_finished_and_not_the_band():
    early = pair()
    short = Pair("m", SAID, 80.0, {name: 30.0 for name in PARTS if name not in ("training", "evaluations")})
    assert corrections([early, short])["training"] == 1.0
    assert corrections([short])["export"] > 1
    assert spread([short]) == spread([])


def whole(folder, steps=60, planned=60):
    run = make_run(folder, steps=steps)
    run.events.unlink()
    events = EventWriter(run.events)
    events.emit("run", state="started", reason="")
    events.emit("step", id="train", state="running")
    events.emit("totals", optimizer_steps=planned, steps_per_epoch=20)
    events.emit("parts", parts={"forward": 6.0, "validation": 4.0, "checkpoint": 1.0})
    evidence = {"seconds": 20.0, "optimizer_steps": steps}
    events.emit("step", id="train", state="done", seconds=23.0, evidence=evidence)
    for name, seconds in (("monitor", 2.0), ("export", 7.0), ("deploy", 8.0)):
        events.emit("step", id=name, state="done", seconds=seconds, evidence={})
    return run


def test_what_a_run_took_is_read_from_its_events_part_by_part(tmp_path):
    run = whole(tmp_path / "run")
    began = json.loads(run.events.read_text().splitlines()[1])["time"]
    taken = parts_taken(run, began - 5.0)
    assert taken == pytest.approx(
        {
            "start": 5.0,
            "base": 3.0,
            "training": 15.0,
            "evaluations": 4.0,
            "checkpoints": 1.0,
            "result": 2.0,
            "export": 7.0,
            "test": 8.0,
        }
    )
    assert {"training", "evaluations"}.isdisjoint(parts_taken(whole(tmp_path / "early", 30, 60), began))


def test_a_resumed_run_is_not_learned_from(tmp_path):
    run = whole(tmp_path / "run")
    EventWriter(run.events).emit("run", state="started", reason="")
    assert parts_taken(run, 0.0) is None


def test_a_run_is_laid_beside_the_last_estimate_of_its_plan(home, values):  # noqa: F811
    plan, other = (make_plan(values | {"lora": {"rank": rank}}) for rank in (4, 8))
    timings.remember_estimate(plan, SAID, 70.0)
    timings.remember_estimate(plan, SAID, 80.0)
    timings.remember_estimate(other, SAID, 99.0)
    timings._append({"kind": "run", "plan": timings._key(plan), "model": "m", "parts": SAID})
    timings._append({"kind": "run", "plan": "never estimated", "model": "m", "parts": SAID})
    assert [found.told for found in pairs("m")] == [80.0]


def test_runs_of_the_same_model_count_alone_where_there_are_enough(home, values):  # noqa: F811
    plan = make_plan(values)
    timings.remember_estimate(plan, SAID, 80.0)
    for model in ("a", "b", "a", "a"):
        timings._append({"kind": "run", "plan": timings._key(plan), "model": model, "parts": SAID})
    assert {found.model for found in pairs("a")} == {"a"}
    assert {found.model for found in pairs("b")} == {"a", "b"}


def test_a_damaged_line_costs_that_line_and_the_file_stays_short(home, values, monkeypatch):  # noqa: F811
    plan = make_plan(values)
    timings.remember_estimate(plan, SAID, 80.0)
    with timings._file().open("a") as file:
        file.write("{half\n[1]\n")
    timings._append({"kind": "run", "plan": timings._key(plan), "model": "m", "parts": SAID})
    assert len(pairs("m")) == 1
    monkeypatch.setattr(timings, "_LINES", 10)
    for _ in range(30):
        timings.remember_estimate(plan, SAID, 80.0)
    assert len(timings._file().read_text().splitlines()) <= 10


def left(tmp_path, monkeypatch, plan, steps, looked):
    from tunebook.workflow import time_left

    monkeypatch.setattr(time_left, "loaded_bytes", lambda *_: 0)
    return time_left.TimeLeft(make_run(tmp_path / "run"), plan, steps, 10, looked)


def test_time_left_counts_evaluations_and_saves_ahead_and_what_follows_training(home, values, tmp_path, monkeypatch):  # noqa: F811
    sections = {
        "evaluation": {"schedule": "every 10 steps", "retention": False},
        "checkpoints": {"every": 100},
        "metrics": ["validation_loss"],
    }
    plan = make_plan(values | sections)
    told = left(tmp_path, monkeypatch, plan, 40, {"held_out_seconds": 5.0, "answer_seconds": 7.0})
    after = 7.0 + 1.0  # the result's answers and the report
    early = TrainState(100, step=5, seconds=10.0, parts={"forward": 10.0})
    assert told(early) == pytest.approx(35 * 2.0 + 4 * 5.0 + after)
    # a step is told before the evaluation that is due at it
    late = TrainState(100, step=30, seconds=72.0, parts={"validation": 8.0, "checkpoint": 4.0}, evaluations=2)
    assert told(late) == pytest.approx(10 * 2.0 + 2 * 4.0 + 2 * 2.0 + after)
    last = TrainState(100, step=40, seconds=98.0, parts={"validation": 12.0, "checkpoint": 6.0}, evaluations=3)
    assert told(last) == pytest.approx(4.0 + 2.0 + after)


def test_time_left_counts_evaluations_by_the_clock(home, values, tmp_path, monkeypatch):  # noqa: F811
    sections = {"evaluation": {"schedule": "every 1 minutes", "retention": False}, "metrics": ["validation_loss"]}
    told = left(tmp_path, monkeypatch, make_plan(values | sections), 400, {"held_out_seconds": 5.0})
    assert told(TrainState(100, step=100, seconds=100.0)) == pytest.approx(300 + 6 * 5.0 + 1.0)
