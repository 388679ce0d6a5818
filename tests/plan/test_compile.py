"""Answers become a plan: what each answer sets, where each value says it comes from, and every fault at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebook.errors import PlanError
from tunebook.pages.answers import check_answers, default_answers
from tunebook.pages.catalog import load_page
from tunebook.pages.page import Page
from tunebook.pages.parser import parse_page
from tunebook.pages.parts import Answer
from tunebook.plan.compile import compile_plan
from tunebook.plan.files import dump_plan, make_plan, origin_of, values_by_path
from tunebook.plan.rules.types import Budget, Plateau, Rise
from tunebook.plan.schema import Plan
from tunebook.plan.text import load_yaml

OVERFITTING = "how-will-you-prevent-overfitting"
STOPPING = "what-criteria-will-trigger-early-stopping"
SCHEDULE = "how-often-will-you-evaluate-the-model-during-training"
REVIEW = "what-manual-review-process-will-you-implement"
QUALITY = "how-will-you-assess-response-quality-during-training"


def plan_of(answers: dict[str, Answer] | None = None, *, page: Page | None = None, **more: Any) -> Plan:
    return compile_plan(page, answers or {}, "rows.jsonl", "smollm2-135m", **more)


def faults(answers: dict[str, Answer], **more: Any) -> dict[str, str]:
    with pytest.raises(PlanError) as caught:
        plan_of(answers, **more)
    return {fault.where: fault.message for fault in caught.value.faults}


def test_without_answers_a_plan_takes_the_defaults() -> None:
    plan = plan_of()
    assert (plan.training.learning_rate, plan.training.batch_size, plan.training.method) == (3e-5, 16, "lora")
    assert (plan.training.epochs.min, plan.training.epochs.max) == (3, 5)
    assert plan.evaluation.schedule == "every epoch"
    assert {origin_of(plan, path)[0] for path in values_by_path(plan)} == {"default", "set"}


def test_the_built_in_page_compiles_from_its_own_defaults() -> None:
    page = load_page("phase-3-fine-tuning")
    plan = plan_of(default_answers(page), page=page)
    assert plan.training.learning_rate == 3e-5
    assert plan.training.batch_size == 16
    assert (plan.training.epochs.min, plan.training.epochs.max) == (3, 5)
    assert plan.training.warmup.strategy == "linear"
    assert plan.metrics == tuple(name for name in plan.metrics if name != "bleu")
    assert len(plan.metrics) == 7
    assert plan.review.policy == "random"
    assert plan.workflow.order[0] == "initialize"
    for path in ("training.learning_rate", "training.epochs.max", "metrics", "review.policy", "workflow.order"):
        origin, why = origin_of(plan, path)
        assert origin == "answer"
        assert why


@pytest.mark.parametrize("name", ["phase-2-dataset-preparation", "phase-4-model-comparison"])
def test_the_other_built_in_pages_compile_from_their_own_defaults(name: str) -> None:
    page = load_page(name)
    plan_of(check_answers(page, default_answers(page), finished=False)[0], page=page)


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("learning-rate", "1e-4 (Very Aggressive)", {"training.learning_rate": 1e-4}),
        ("learning-rate", "0,0002", {"training.learning_rate": 2e-4}),
        ("batch-size", "32 (Large GPU)", {"training.batch_size": 32}),
        ("number-of-epochs", "1-2 (Minimal fine-tuning)", {"training.epochs.min": 1, "training.epochs.max": 2}),
        ("number-of-epochs", "6-10 (Extensive)", {"training.epochs.min": 6, "training.epochs.max": 10}),
        ("number-of-epochs", "10+ (Deep specialization)", {"training.epochs.min": 10, "training.epochs.max": 20}),
        ("number-of-epochs", "4", {"training.epochs.min": 4, "training.epochs.max": 4}),
        ("what-warmup-strategy-will-you-use", "No warmup (immediate full rate)", {"training.warmup.strategy": "none"}),
        ("what-warmup-strategy-will-you-use", "Cosine warmup (smooth)", {"training.warmup.strategy": "cosine"}),
        ("select-monitoring-metrics", ["BLEU scores (response similarity)"], {"metrics": ["training_loss", "bleu"]}),
        (
            "select-monitoring-metrics",
            ["Memory usage and efficiency", "Gradient norms and stability", "Training speed and throughput"],
            {"metrics": ["training_loss", "throughput", "memory", "gradient_norm"]},
        ),
        (SCHEDULE, "Every 100 steps", {"evaluation.schedule": "every 100 steps"}),
        (REVIEW, "Review all validation outputs", {"review.policy": "all"}),
        (REVIEW, "Focus on difficult examples", {"review.policy": "difficult"}),
        (REVIEW, "No manual review", {"review.policy": "none"}),
    ],
)  # fmt: skip
def test_an_answer_sets_its_values(name: str, answer: Answer, expected: dict[str, Any]) -> None:
    plan = plan_of({name: answer})
    values = values_by_path(plan)
    assert {path: values[path] for path in expected} == expected
    for path in expected:
        assert origin_of(plan, path)[0] == "answer"


def test_custom_answers_are_read_from_what_was_said_to_them() -> None:
    plan = plan_of(
        {
            "what-warmup-strategy-will-you-use": "Custom schedule",
            "what-warmup-strategy-will-you-use.custom": "(0, 0.1), (5%, 1), (0.5, 0.8)",
            "how-often-will-you-evaluate-the-model-during-training": "Custom schedule",
            "how-often-will-you-evaluate-the-model-during-training.custom": "At 10, 20, 50, then every 100",
        }
    )
    assert plan.training.warmup.strategy == "custom"
    assert plan.training.warmup.points == ((0, 0.1), (0.05, 1), (0.5, 0.8))
    assert plan.evaluation.schedule == "at 10, 20, 50, then every 100"


def test_a_custom_entry_among_others_stands_beside_them() -> None:
    name = "select-monitoring-metrics"
    plan = plan_of({name: ["Training Loss", "Custom measure", "Validation Loss"], f"{name}.custom": "BLEU"})
    assert list(plan.metrics) == ["training_loss", "validation_loss", "bleu"]


def test_a_warmup_in_a_sentence_is_read_and_one_below_nothing_is_not() -> None:
    name = "what-warmup-strategy-will-you-use"
    assert plan_of({name: "Custom", f"{name}.custom": "Linear over 5% of the steps."}).training.warmup.share == 0.05
    assert "train backwards" in str(faults({name: "Custom", f"{name}.custom": "(0, 0), (0.1, -1)"}))
    assert "not a warmup" in str(faults({name: "Custom", f"{name}.custom": "Linear over 5-10% of the steps."}))


def test_a_valid_order_of_the_readers_own_is_kept() -> None:
    order = ["configure", "validate", "split", "load", "logging", "initialize", "train", "monitor", "export", "deploy"]
    plan = plan_of({"arrange-fine-tuning-steps-in-correct-order": order})
    assert list(plan.workflow.order) == order


def test_an_order_that_cannot_work_names_every_wrong_pair() -> None:
    order = ["train", "initialize", "validate", "load", "configure", "logging", "split", "deploy", "export", "monitor"]
    found = faults({"arrange-fine-tuning-steps-in-correct-order": order})
    (message,) = found.values()
    for step in ("Split dataset", "Load the base model", "Configure hyper", "Set up logging", "Initialize training"):
        assert f"'{step}" in message
    assert "must come before 'Run training loop" in message
    assert "'Monitor training progress and loss curves' must come before 'Save and export" in message


def test_prose_about_overfitting_acts_on_the_plan() -> None:
    plan = plan_of(
        {
            "number-of-epochs": "3-5 (Standard)",
            OVERFITTING: "LoRA rank 8, dropout, weight decay 0.05, label smoothing 0.1, NEFTune alpha 5, "
            "clip gradients at 0.5, max epochs 2, hold out 20%, learning rate 1e-4, keep the best checkpoint, "
            "collect more data",
        }
    )
    assert (plan.training.method, plan.lora.rank) == ("lora", 8)
    assert (plan.training.dropout, plan.training.weight_decay) == (0.05, 0.05)
    assert (plan.training.label_smoothing, plan.training.noise_alpha, plan.training.max_grad_norm) == (0.1, 5, 0.5)
    assert (plan.training.epochs.min, plan.training.epochs.max) == (2, 2)
    assert plan.data.validation_share == 0.2
    assert plan.training.learning_rate == 1e-4
    assert plan.stopping.keep_best
    assert plan.not_understood == ("collect more data",)
    assert "0.05 is usual" in origin_of(plan, "training.dropout")[1]
    assert "lowered from 3" in origin_of(plan, "training.epochs.min")[1]


@pytest.mark.parametrize(
    "text", ["Weight decay and dropout. Weight decay 0.1, dropout 0.2.", "dropout 0.2, weight decay"]
)
def test_a_usual_value_only_fills_the_place_of_a_number_that_nobody_gave(text: str) -> None:
    plan = plan_of({OVERFITTING: text, STOPPING: "after 2 hours"})
    assert plan.training.dropout == 0.2
    assert plan.training.weight_decay == (0.1 if "0.1" in text else 0.01)
    assert plan.not_understood == ()


def test_early_stopping_that_is_turned_off_adds_no_rule() -> None:
    plan = plan_of({OVERFITTING: "early stopping: off"})
    assert not any(isinstance(rule, Plateau) for rule in plan.stopping.rules)
    assert plan.not_understood == ("early stopping: off",)


def test_a_limit_on_epochs_lowers_and_never_raises() -> None:
    for limit, expected in ((2, (2, 2)), (4, (3, 4)), (9, (3, 5))):
        plan = plan_of({"number-of-epochs": "3-5 (Standard)", OVERFITTING: f"max {limit} epochs"})
        assert (plan.training.epochs.min, plan.training.epochs.max) == expected
    assert "within the limit of 9" in origin_of(plan, "training.epochs.max")[1]


def test_a_value_out_of_range_is_named_with_the_words_it_comes_from() -> None:
    found = faults({OVERFITTING: "LoRA rank 5000"})
    assert "5000" in found["lora.rank"]
    assert "'rank 5000'" in found["lora.rank"]
    assert "number of epochs: 5-3" in faults({"number-of-epochs": "5-3"})["training.epochs"]


def test_early_stopping_without_a_condition_is_the_usual_plateau() -> None:
    assert plan_of({OVERFITTING: "early stopping"}).stopping.rules == (Plateau(source="early stopping"),)


def test_early_stopping_with_a_condition_anywhere_adds_nothing() -> None:
    plan = plan_of({OVERFITTING: "early stopping", STOPPING: "validation loss rises twice, or after 2 hours"})
    assert [type(rule) for rule in plan.stopping.rules] == [Rise, Budget]


def test_stopping_rules_keep_the_words_that_they_come_from() -> None:
    plan = plan_of({STOPPING: "Stop if val loss hasn't improved for 3 evals or when the moon is full"})
    (rule,) = plan.stopping.rules
    assert rule.source == "val loss hasn't improved for 3 evals"
    assert plan.not_understood == ("when the moon is full",)
    assert "val loss hasn't improved" in origin_of(plan, "stopping.rules")[1]


def test_what_a_rule_watches_is_computed() -> None:
    answers: dict[str, Answer] = {"select-monitoring-metrics": ["Training loss"], STOPPING: "BLEU drops twice"}
    assert plan_of(answers).metrics == ("training_loss", "bleu")
    assert "bleu" in plan_of({STOPPING: "BLEU drops twice"}).metrics


def test_prose_about_quality_sets_checks_and_review() -> None:
    plan = plan_of({QUALITY: "chrF, an LLM judge, and I read 25 answers by hand; vibes"})
    assert plan.quality.checks == ("compare_to_base", "chrf", "judge")
    assert (plan.review.policy, plan.review.count) == ("random", 25)
    assert "quality.judge" in plan.notes
    assert plan.not_understood == ("vibes",)


def test_prose_that_contradicts_itself_keeps_the_first_word_and_reports_the_other() -> None:
    plan = plan_of({OVERFITTING: "dropout 0.1, then dropout 0.2"})
    assert plan.training.dropout == 0.1
    assert plan.not_understood == ("dropout 0.2",)


def test_questions_that_set_nothing_are_kept_as_notes() -> None:
    plan = plan_of({"who-is-this-for": "our support team", "learning-rate": "1e-5"})
    assert plan.notes == {"who-is-this-for": "our support team"}


def test_every_fault_is_told_at_once() -> None:
    found = faults(
        {
            "learning-rate": "fast",
            "batch-size": "1.5",
            "number-of-epochs": "some",
            "what-warmup-strategy-will-you-use": "hot",
            "how-often-will-you-evaluate-the-model-during-training": "now and then",
            "select-monitoring-metrics": ["Mood"],
            "what-manual-review-process-will-you-implement": "perhaps",
        },
        settings=["training.sed=3", "lora.rank=0"],
    )
    assert set(found) == {
        "learning-rate",
        "batch-size",
        "number-of-epochs",
        "what-warmup-strategy-will-you-use",
        "how-often-will-you-evaluate-the-model-during-training",
        "select-monitoring-metrics",
        "what-manual-review-process-will-you-implement",
        "training.sed",
    }
    assert "is not one number, such as 3e-5" in found["learning-rate"]
    assert "write 'every epoch'" in found["how-often-will-you-evaluate-the-model-during-training"]
    assert "did you mean training.seed?" in found["training.sed"]


def test_set_wins_over_answers_and_says_so() -> None:
    plan = plan_of({"learning-rate": "3e-5"}, settings=["training.learning_rate=1e-3", "training.max_steps=7"])
    assert (plan.training.learning_rate, plan.training.max_steps) == (1e-3, 7)
    assert origin_of(plan, "training.learning_rate") == ("set", "given with --set")


def test_a_field_may_say_what_it_sets() -> None:
    page = parse_page(
        b"""---
title: Mine
---
## Ask
{type: form}

**Rate**
{type: select, id: r, sets: training.learning_rate, options: ["1e-3 (quick)", "1e-4"]}

**Longest**
{type: number, id: l, sets: data.max_length}

**When to stop**
{type: textarea, id: s, sets: stopping.rules}

**Full**
{type: select, id: m, sets: training.method, options: ["lora", "full (every weight)"]}

**Names**
{type: text, id: c, sets: data.columns}

**General**
{type: checkbox, id: g, sets: evaluation.retention}

**Wrong**
{type: text, id: w, sets: training.speed}
""",
        "mine",
    )
    answers, found = check_answers(
        page, {"r": "1e-3", "l": "256", "s": "max 3 epochs", "m": "full", "c": "{prompt: q}", "g": "no"}
    )
    assert not found
    plan = plan_of(answers, page=page)
    assert plan.training.learning_rate == 1e-3
    assert plan.data.max_length == 256
    assert plan.stopping.rules == (Budget(amount=3, unit="epochs", source="max 3 epochs"),)
    assert plan.training.method == "full"
    assert plan.data.columns == {"prompt": "q"}
    assert plan.evaluation.retention is False
    assert "training.speed, which is not a value of the plan" in faults({"w": "x"}, page=page)["w"]


@pytest.mark.parametrize(
    ("said", "method", "quantization"),
    [("LoRA", "lora", None), ("QLoRA (the base in 4 bits)", "lora", "nf4"), ("full (every weight)", "full", None)],
)
def test_a_method_is_read_by_its_name(said: str, method: str, quantization: str | None) -> None:
    text = f"""---
title: Mine
---
## Ask
{{type: form}}

**Method**
{{type: select, id: m, sets: training.method, options: ["{said}"]}}

**Typed**
{{type: text, id: t, sets: training.method}}
"""
    page = parse_page(text.encode(), "mine")
    answers, found = check_answers(page, {"m": said.split(" (")[0]})
    assert not found
    plan = plan_of(answers, page=page)
    assert (plan.training.method, plan.model.quantization) == (method, quantization)
    assert "no training method" in faults({"t": "prompt tuning"}, page=page)["t"]


@given(st.dictionaries(st.sampled_from([OVERFITTING, STOPPING, QUALITY, "other"]), st.text(max_size=80)))
def test_any_prose_makes_a_plan_that_comes_back_from_its_file(answers: dict[str, Answer]) -> None:
    plan = plan_of({name: text for name, text in answers.items() if "\ud800" not in ascii(text)})
    assert make_plan(load_yaml(dump_plan(plan))) == plan
