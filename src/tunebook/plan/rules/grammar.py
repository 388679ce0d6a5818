"""What ideas add up to: for each rule the ways of saying it, and the maker that turns what was found into the rule.

A pattern is a row of ideas (`words.py` says which words each stands for). `X?` may be missing, `X*` and `X+` repeat,
`(A | B)` is either, and names in small letters are the shorthands below. IN and TO may stand before any idea. At a
place the longest pattern wins, the earlier one among equals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tunebook.plan.rules.makers import (
    Maker,
    Purpose,
    budget,
    finite,
    gap,
    gap_ratio,
    human_review,
    metric_check,
    nothing,
    patience,
    plateau,
    rise,
    setting,
    threshold,
)

SHORTHANDS = {
    "quantity": "(COUNT | DURATION)",
    "spent": "(COUNT | DURATION | TOKEN_COUNT)",
    "amount": "(NUM | PERCENT)",
    "value": "(NUM | PERCENT | SIZE | RATE | TOKEN_COUNT)",
    "most": "(LIMIT | AT_MOST)",
    "compare": "(ABOVE | BELOW | MORE | LESS | AT_LEAST | AT_MOST)",
    "subject": "(METRIC | IT | VALIDATION)",
    "move": "(UP | DOWN | WORSE)",
    # for 3 evaluations in a row; over the last 3 evaluations; 3 times
    "window": "(AFTER | ABOVE | LAST | MORE | AT_LEAST | IN_A_ROW)* quantity IN_A_ROW*",
    "during": "(window | , IN window)?",
    # by more than 1 %; of at least 0.01
    "delta": "(BY? (MORE | AT_LEAST)? amount)",
    "patient": "(PATIENCE EQUALS? quantity | quantity PATIENCE)",
    "least": "(DELTA EQUALS? AT_LEAST? amount)",
    # , min delta 0.01, patience 3
    "tail": "(,? AND? EARLY_STOPPING? (least | patient) | window)*",
    "losses": "(PAIR | METRIC (AND | FROM)? METRIC)",
    "excess": "(BY? (MORE | AT_LEAST | ABOVE)? amount)",
    "settle": "(EQUALS | AT_LEAST | AT_MOST | LIMIT)",
    "nans": "(NAN ((OR | AND | ,) NAN)*)",
    "knob": "(WEIGHT_DECAY | DROPOUT | LABEL_SMOOTHING | LEARNING_RATE | NOISE_ALPHA)",
    "share": "(VALIDATION | VALIDATION_SHARE)",
}

When = Literal["condition", "config", "setting"]


@dataclass(frozen=True)
class Row:
    """Ways of saying one thing, and its maker.

    A `condition` joined to another by "and" has to hold together with it, which no rule can say; a `config` such as a
    patience or a limit, and a `setting`, is joined by "and" freely. `alone` rows are read only where no unread word
    stands next to them: "3 epochs" is a limit, the same words in "warm up for 3 epochs" are not.
    """

    make: Maker
    patterns: tuple[str, ...]
    when: When = "condition"
    alone: bool = False


RULES = (
    Row(
        plateau,
        (
            # validation loss has not improved by more than 1 % for 3 evaluations
            "subject? STALL delta? during delta? tail",
            "STALL delta? (METRIC | VALIDATION) delta? during delta? tail",
            "STALL delta? window METRIC delta?",
            # after 3 evaluations without improvement in validation loss
            "METRIC window STALL delta? tail",
            "window ,? METRIC? STALL delta? METRIC? delta? tail",
            # max 3 epochs without improvement: no budget
            "AFTER? most* quantity IN_A_ROW* most* STALL delta? METRIC? delta? tail",
            "subject? STALL delta? METRIC? delta? (IN | AFTER) most+ quantity IN_A_ROW* tail",
            # validation loss improves by less than 0.01 for 3 evaluations; a change in loss below 1 %
            "subject? (BETTER | CHANGE | move) METRIC? BY (LESS | BELOW | AT_MOST) amount window? tail",
            "subject? move LESS amount during tail",
            "subject? (BETTER | CHANGE) METRIC? DOWN? (LESS | BELOW | AT_MOST) amount window? tail",
        ),
    ),
    Row(plateau, ("EARLY_STOPPING MONITOR? EQUALS? METRIC tail",), "config"),
    Row(
        patience,
        (
            "(MONITOR? EQUALS? METRIC ,? AND?)? (least ,? AND?)? patient tail (,? MONITOR EQUALS? METRIC)?",
            "patient tail METRIC",
            "least (IN METRIC | window)* tail",
        ),
        "config",
    ),
    Row(
        rise,
        (
            # the moment it goes up; validation loss rises twice in a row; 3 consecutive increases in perplexity
            "(MOMENT IF?)? subject? MOMENT? move MOMENT? during tail",
            "(MOMENT IF?)? move METRIC during tail",
            "window ,? METRIC? move METRIC? IN_A_ROW*",
            "AFTER? most* quantity IN_A_ROW* most* move METRIC?",
        ),
    ),
    Row(
        threshold,
        (
            # validation loss above 3 for 2 evaluations; perplexity falls to 8; a BLEU of 30 or more
            "(MOMENT IF?)? subject MOMENT? (move | BETTER)? (STAYS | REACH)? (ABOVE | BELOW) value window? tail",
            "subject STAYS? compare value window? tail",
            "subject MOMENT? move? (REACH | TO | EQUALS)+ compare? value (OR_MORE | OR_LESS)? window? tail",
            "METRIC move? value (OR_MORE | OR_LESS) window?",
            "(REACH | TARGET) METRIC EQUALS? compare? value (OR_MORE | OR_LESS)?",
            "METRIC TARGET EQUALS? compare? value (OR_MORE | OR_LESS)?",
            "STOP METRIC EQUALS? value",
            "(REACH | TARGET | STOP | compare) value METRIC window?",
            "move? TAKES? compare (SIZE | RATE) window?",
            "ANSWERS move? (ABOVE | BELOW | MORE | LESS) (NUM | TOKEN_COUNT) window?",
        ),
    ),
    Row(
        nothing,
        (
            # rises by 0.1; rises for at most 3 epochs; is not below 2 after 3 epochs
            "subject? (move | BETTER | CHANGE) METRIC? BY? (MORE | AT_LEAST)? amount window?",
            "subject? move METRIC? (IN | AFTER) most+ quantity",
            "subject? STALL (BELOW | ABOVE | REACH) value window?",
            "AFTER? AT_LEAST spent",
        ),
    ),
    Row(
        gap,
        (
            # validation loss exceeds training loss by 20 %
            "METRIC (move | STAYS)? (ABOVE | MORE | BELOW) METRIC (PLUS? excess)? window? tail",
            "METRIC excess (ABOVE | BELOW | MORE) METRIC window?",
            "METRIC MINUS METRIC (move | REACH)? compare amount window? tail",
            "METRIC (UP | DIFFER) FROM METRIC excess? window?",
            # the gap between training and validation loss is above 0.3; a train/val gap of 20 %
            "GAP losses? (GAP | move | REACH)? (compare | TO | EQUALS)? amount window? tail",
            "losses GAP (move | REACH)? (compare | TO | EQUALS)? amount window? tail",
            "losses GAP (TOO_BIG | move)+ window? tail",
            "GAP losses? (TOO_BIG | move)+ window? tail",
            "compare? amount GAP losses? window?",
            "GAP compare? amount losses window?",
            "losses (UP | DIFFER) excess? window?",
            "losses GAP excess window?",
        ),
    ),
    Row(gap, ("losses GAP window?", "GAP losses? window?"), alone=True),
    Row(gap_ratio, ("METRIC (compare | UP)* COUNT METRIC window?",)),
    Row(
        budget,
        (
            # max 5 epochs; 2 hours at most; max_steps = 500
            "(LIMIT | AT_MOST)+ (TRAIN | IT)* EQUALS? LIMIT? spent LIMIT* TRAIN?",
            "spent (LIMIT | OR_LESS | AT_MOST)+",
            "LIMIT AFTER spent",
            "(LIMIT | AT_MOST)+ (UNIT | MINUTES | TOKENS) EQUALS? (LIMIT | AT_MOST)* NUM",
            "(UNIT | MINUTES | TOKENS) (LIMIT | AT_MOST) EQUALS? (NUM | spent)",
            "AFTER (MORE | ABOVE | AT_MOST | EQUALS)* spent TRAIN* LIMIT",
        ),
        "config",
    ),
    Row(
        budget,
        (
            # after 2 hours; at step 500
            "AFTER (MORE | ABOVE | AT_MOST | EQUALS)* spent TRAIN* PASSED?",
            "(AFTER | BY) UNIT NUM",
            "DOWN UNIT NUM",
            "UNIT (ABOVE | REACH | EQUALS) NUM",
        ),
    ),
    Row(
        budget,
        (
            # training takes longer than 2 hours; train for 3 epochs; 2h30
            "(TRAIN | IT | TIMES | PASSED)* TAKES? (ABOVE | MORE) spent",
            "(TRAIN | IT)+ TAKES? (BELOW | LESS) spent",
            "(REACH | TRAIN | IT | TAKES)* (spent | UNIT EQUALS? NUM) TRAIN* (PASSED | REACH | UP | ABOVE)?",
        ),
        alone=True,
    ),
    Row(finite, ("METRIC? (EQUALS | UP | REACH)? nans METRIC?", "METRIC? nans METRIC ((OR | AND | ,) METRIC)*")),
)

BOTH = (
    Row(setting("early_stopping", True), ("EARLY_STOPPING",), "setting"),
    Row(setting("keep_best", True), ("KEEP_BEST",), "setting"),
)

OVERFITTING = (
    Row(
        setting("weight_decay"),
        ("(UP | DOWN)? WEIGHT_DECAY settle* amount", "amount WEIGHT_DECAY", "WEIGHT_DECAY"),
        "setting",
    ),
    Row(setting("dropout", below=1), ("(UP | DOWN)? DROPOUT settle* amount", "amount DROPOUT", "DROPOUT"), "setting"),
    Row(
        setting("label_smoothing", below=1),
        ("(UP | DOWN)? LABEL_SMOOTHING settle* amount", "amount LABEL_SMOOTHING"),
        "setting",
    ),
    Row(setting("noise_alpha"), ("NOISE_ALPHA settle* NUM",), "setting"),
    Row(setting("max_grad_norm"), ("MAX_GRAD_NORM settle* NUM",), "setting"),
    Row(setting("learning_rate", below=1), ("(UP | DOWN)? LEARNING_RATE settle* NUM",), "setting"),
    Row(
        nothing,
        (
            # wishes without a number, or for a change that depends on what was there
            "(UP | DOWN) knob",
            "(UP | DOWN)? knob (UP | DOWN)? BY amount",
            "(WEIGHT_DECAY | DROPOUT | LABEL_SMOOTHING) settle* (RANGE | amount AND? amount)",
            # the share that is trained on
            "HOLD_OUT amount DATA? HOLD_OUT? TRAIN",
            "TRAIN HOLD_OUT settle* amount",
        ),
        "setting",
    ),
    Row(setting("method", "lora"), ("LORA",), "setting"),
    Row(setting("method", "full"), ("FULL",), "setting"),
    Row(setting("lora_rank", whole=True), ("(RANK | R) settle* NUM",), "setting"),
    Row(
        setting("validation_fraction", most=0.5),
        (
            "HOLD_OUT? amount HOLD_OUT? DATA? HOLD_OUT? share",
            "HOLD_OUT amount DATA?",
            "amount DATA? HOLD_OUT",
            "HOLD_OUT? share settle* amount DATA?",
            "(HOLD_OUT | PAIR | TRAIN | DATA | AND | share)* SPLIT (HOLD_OUT | PAIR | TRAIN | DATA | AND | share)*",
        ),
        "setting",
    ),
)

QUALITY = (
    Row(metric_check, ("METRIC",), "setting"),
    Row(setting("length_check", True), ("LENGTH",), "setting"),
    Row(setting("chrf", True), ("CHRF",), "setting"),
    Row(setting("rouge_l", True), ("ROUGE_L",), "setting"),
    Row(setting("exact_match", True), ("EXACT_MATCH",), "setting"),
    Row(setting("judge", True), ("JUDGE",), "setting"),
    Row(
        setting("compare_to_base", True),
        (
            "COMPARE (COMPARE | ANSWERS | AND | READ | TUNED | FROM)* BASE (AND | TUNED | ANSWERS | COMPARE)*",
            "BASE (AND | TUNED | ANSWERS | FROM)* COMPARE (COMPARE | TUNED)*",
            "TUNED (AND | BASE | ANSWERS)* BASE COMPARE",
            "BEFORE_AFTER COMPARE?",
        ),
        "setting",
    ),
    Row(
        human_review,
        (
            "NUM? (HUMAN | READ RATE* HUMAN) (HUMAN | READ | RATE | UNIT)* NUM? ANSWERS?",
            "NUM? RATE+ HUMAN",
            "(HUMAN | RATE)* READ+ (NUM | RATE)? ANSWERS HUMAN?",
            "(READ | RATE)+ NUM? ANSWERS AND? (HUMAN | READ)+ RATE? ANSWERS?",
            "NUM ANSWERS AND? (HUMAN | READ)+",
            "NUM ANSWERS (READ | RATE | UNIT | BY)* HUMAN",
        ),
        "setting",
    ),
)

ROWS: dict[Purpose, tuple[Row, ...]] = {
    "stopping": (*RULES, *BOTH),
    "overfitting": (*RULES, *OVERFITTING, *BOTH),
    "quality": QUALITY,
}


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern as an expression over the kinds of items, each of them followed by a space."""
    parts = []
    for part in re.findall(r"[a-z]+|[A-Z_]+|\S", pattern):
        if part in SHORTHANDS:
            parts.append(f"(?:{compiled(SHORTHANDS[part]).pattern})")
        elif part == ",":
            parts.append("(?:, )")
        else:
            parts.append(f"(?:(?:IN |TO )*{part} )" if part.isupper() else "(?:" if part == "(" else part)
    return re.compile("".join(parts))
