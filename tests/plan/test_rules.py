"""The rule reader against its table, its rulings, and whatever hypothesis can think of."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.plan.phrases import shown, table
from tunebook.plan.rules import Reading, read_rules
from tunebook.plan.rules.items import inflected, sentences, slots
from tunebook.plan.rules.judge import BESIDE
from tunebook.plan.rules.makers import Purpose
from tunebook.plan.rules.reader import LONGEST
from tunebook.plan.rules.types import Budget, Gap, Plateau, Rise, Threshold
from tunebook.plan.rules.words import FILLER, IDEAS

PURPOSES: tuple[Purpose, ...] = ("stopping", "overfitting", "quality")
TABLE = [(purpose, text, lines) for purpose in PURPOSES for text, lines in table(purpose)]


@pytest.mark.parametrize(("purpose", "text", "lines"), TABLE, ids=[text[:60] for _, text, _ in TABLE])
def test_the_table_holds(purpose: Purpose, text: str, lines: list[str]) -> None:
    assert shown(read_rules(text, purpose)) == lines


def test_the_table_is_large_and_covers_every_kind() -> None:
    said = {line.split()[0] if line[0] not in "=" else line.split()[1] for _, _, lines in TABLE for line in lines}
    assert len(TABLE) > 200
    assert {"plateau", "rise", "threshold", "gap", "budget", "?", "!"} <= said
    assert {"weight_decay", "dropout", "label_smoothing", "noise_alpha", "max_grad_norm", "max_epochs"} <= said
    assert {"validation_fraction", "lora_rank", "method", "early_stopping", "keep_best", "learning_rate"} <= said
    assert {
        "bleu",
        "chrf",
        "rouge_l",
        "exact_match",
        "judge",
        "compare_to_base",
        "human_review",
        "length_check",
    } <= said


def test_each_kind_has_exactly_its_fields() -> None:
    text = "patience 3; val loss rises; BLEU > 30; val loss exceeds train loss by 20%; after 2 hours"
    fields = {rule.kind: set(rule.model_dump()) - {"kind", "source"} for rule in read_rules(text).rules}
    assert fields == {
        "plateau": {"metric", "patience", "unit", "min_delta", "min_delta_percent"},
        "rise": {"metric", "patience", "unit"},
        "threshold": {"metric", "op", "value", "patience", "unit"},
        "gap": {"value", "percent", "patience", "unit"},
        "budget": {"amount", "unit"},
    }


def test_defaults_are_those_of_the_rulings() -> None:
    plateau, rise, threshold, gap = read_rules("loss plateaus; ppl rises; BLEU > 1; val loss above train loss").rules
    assert (plateau.patience, rise.patience, threshold.patience, gap.patience) == (3, 2, 1, 1)  # type: ignore[union-attr]
    assert isinstance(gap, Gap)
    assert (gap.value, gap.percent) == (0, None)


def test_a_source_is_the_very_piece_of_text() -> None:
    text = "We\twill stop when VAL  loss\n hasn’t improved for 3 evals; use the best checkpoint; dance"
    reading = read_rules(text)
    for source in (*(item.source for item in (*reading.rules, *reading.settings)), *reading.not_understood):
        assert source in text
    assert reading.rules[0].source == "VAL  loss\n hasn’t improved for 3 evals"
    assert reading.settings[0].source == "use the best checkpoint"
    assert reading.not_understood == ("dance",)


@pytest.mark.parametrize("text", ["Stop on NaN", "if the loss becomes infinite", "NaN or inf"])
def test_what_a_run_does_anyway_is_understood_and_adds_nothing(text: str) -> None:
    reading = read_rules(text)
    assert (reading.rules, reading.settings, reading.not_understood) == ((), (), ())
    assert reading.understood


@pytest.mark.parametrize("text", ["", "  \n ", "please", "the cat sat", "?!", "Stop training."])
def test_a_text_that_says_nothing_is_not_understood(text: str) -> None:
    reading = read_rules(text)
    assert not reading.understood
    assert reading.not_understood == ((text.strip(),) if re.search(r"\w", text) else reading.not_understood)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("one", 1),
        ("two", 2),
        ("three", 3),
        ("four", 4),
        ("five", 5),
        ("six", 6),
        ("seven", 7),
        ("eight", 8),
        ("nine", 9),
    ]
    + [("ten", 10), ("eleven", 11), ("twelve", 12), ("thirteen", 13), ("fourteen", 14), ("fifteen", 15)]
    + [("sixteen", 16), ("seventeen", 17), ("eighteen", 18)]
    + [
        ("nineteen", 19),
        ("twenty", 20),
        ("a couple of", 2),
        ("a few", 3),
        ("1e1", 10),
        ("1,000", 1000),
        ("10k", 10000),
    ],
)
def test_numbers_are_read(number: str, value: int) -> None:
    (rule,) = read_rules(f"no improvement for {number} steps").rules
    assert isinstance(rule, Plateau)
    assert (rule.patience, rule.unit) == (value, "steps")


@pytest.mark.parametrize(
    ("text", "value"),
    [("0,01", 0.01), ("1e-3", 0.001), ("1E-3", 0.001), (".5", 0.5), ("1,5", 1.5), ("1,234.5", 1234.5), ("2,000", 2000)],
)
def test_fractions_are_read(text: str, value: float) -> None:
    (rule,) = read_rules(f"perplexity below {text}").rules
    assert isinstance(rule, Threshold)
    assert rule.value == value


METRICS = {
    "training_loss": "train loss",
    "validation_loss": "val_loss",
    "perplexity": "ppl",
    "bleu": "BLEU score",
    "throughput": "tokens/s",
    "memory": "VRAM",
    "gradient_norm": "grad norm",
}


@given(
    st.sampled_from(sorted(METRICS)),
    st.integers(1, 10**6),
    st.sampled_from(["evaluations", "epochs", "steps", "minutes"]),
    st.sampled_from(
        ["{m} does not improve for {n} {u}", "no improvement in {m} for {n} {u}", "{n} {u} without {m} gains"]
    ),
)
def test_a_plateau_of_any_metric_patience_and_unit(metric: str, number: int, unit: str, form: str) -> None:
    text = form.format(m=METRICS[metric], n=number, u=unit)
    (rule,) = read_rules(text).rules
    assert rule == Plateau(metric=metric, patience=number, unit=unit, source=text)  # type: ignore[arg-type]


@given(st.sampled_from(sorted(METRICS)), st.sampled_from(["<", "<=", ">", ">="]), st.decimals(1, 10**6, places=2))
def test_a_threshold_of_any_metric(metric: str, op: str, value: object) -> None:
    assume(metric != "memory" or op[0] == ">")  # memory below a value is free memory, or a bound to keep
    (rule,) = read_rules(f"{METRICS[metric]} {op} {value}").rules
    assert isinstance(rule, Threshold)
    assert (rule.metric, rule.op, rule.value) == (metric, op, float(str(value)))


@given(st.integers(1, 10**6), st.sampled_from(["minutes", "steps", "epochs", "tokens"]))
def test_a_budget_of_any_size(amount: int, unit: str) -> None:
    assert read_rules(f"stop after {amount} {unit}").rules == (
        Budget(amount=amount, unit=unit, source=f"after {amount} {unit}"),  # type: ignore[arg-type]
    )


@given(st.lists(st.sampled_from([text for purpose, text, _ in TABLE if purpose == "stopping"]), min_size=2, max_size=4))
def test_lines_are_read_as_they_are_alone(texts: list[str]) -> None:
    """A text of several lines says what its lines say, unless one leans on another ("it", a lone patience)."""
    leaning = re.compile(r"\bit\b|patience|delta|improvement of|\n|\bgap\b", re.IGNORECASE)
    texts = [text for text in texts if not leaning.search(text)]
    together = read_rules("\n".join(f"- {text}" for text in texts))
    alone = [read_rules(text) for text in texts]
    assert [rule.kind for rule in together.rules if isinstance(rule, Rise | Threshold)] == _once(
        [rule for reading in alone for rule in reading.rules if isinstance(rule, Rise | Threshold)]
    )


def test_a_bullet_behind_a_number_is_no_range() -> None:
    reading = read_rules("- the loss is still above 3\n- 30 minutes without improvement")
    assert [rule.kind for rule in reading.rules] == ["threshold", "plateau"]


def _once(rules: list[Rise | Threshold]) -> list[str]:
    unique = {rule.model_copy(update={"source": ""}): rule.kind for rule in rules}
    return list(unique.values())


VOCABULARY = sorted(
    {word for phrases in IDEAS.values() for phrase in phrases for words, _ in slots(phrase) for word in words}
)
WORDY = st.lists(st.sampled_from([*VOCABULARY, *sorted(FILLER), ",", ".", "3", "5%", "0.1", "moon"]), max_size=20).map(
    " ".join
)


@given(st.text() | WORDY | st.text(alphabet="0123456789.,e-+%hkm /'\n()"), st.sampled_from(PURPOSES))
@example("1e999 steps, " + "9" * 400 + " epochs", "stopping")
@example("NaN " * 50, "stopping")
@example("²³ ½ ٣ İstanbul ﬁ", "overfitting")
def test_any_text_is_read_the_same_way_each_time_and_no_word_is_lost(text: str, purpose: Purpose) -> None:
    reading = read_rules(text, purpose)
    assert read_rules(text, purpose) == reading
    json.dumps([item.model_dump() for item in (*reading.rules, *reading.settings)], allow_nan=False)
    assert not _lost(text, reading)


def _lost(text: str, reading: Reading) -> set[str]:
    """Words of the text that stand in no source, in nothing unread, and carry a meaning."""
    pieces = (
        *(item.source for item in (*reading.rules, *reading.settings)),
        *reading.not_understood,
        *reading.adds_nothing,
    )
    assert all(piece in text for piece in pieces)
    ideas = {
        text[item.start : item.end] for sentence in sentences(text) for item in sentence if item.kind not in BESIDE
    }
    return {idea for idea in ideas if not any(idea.lower() in piece.lower() for piece in pieces)}


def test_a_book_is_read_in_part_and_says_so() -> None:
    text = "validation loss rises twice. " * 2000
    reading = read_rules(text)
    assert len(reading.rules) == 1
    assert reading.not_understood[-1] == text[LONGEST:].strip()


@pytest.mark.slow
@pytest.mark.parametrize("word", ["and", "in", "limit", "train", "to in", ",", "no", "3", "loss or", "loss rises and"])
def test_no_text_takes_long(word: str) -> None:
    """The longest text that is read, all of one word: in the square of its length this would take minutes."""
    text = f"{word} " * (LONGEST // (len(word) + 1))
    begin = time.process_time()
    read_rules(text)
    assert time.process_time() - begin < 10


def test_inflections() -> None:
    assert inflected("improve~") == ["improve", "improves", "improved", "improving"]
    assert inflected("drop~~") == ["drop", "drops", "dropped", "dropping"]
    assert inflected("vary~") == ["vary", "varies", "varied", "varying"]
    assert inflected("reach~") == ["reach", "reaches", "reached", "reaching"]
