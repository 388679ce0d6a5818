"""Scores equal the values that sacrebleu and rouge-score publish; style sees what it says it sees."""

from __future__ import annotations

import pytest
from rouge_score import rouge_scorer

from tunebook.evaluate.scores import corpus_scores, lengths, score_answers, signatures

# The example of sacrebleu's README, with the values that its own tests (test/test_bleu.py) expect.
REFERENCES = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]
ANSWERS = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]


def test_bleu_equals_sacrebleus_published_value_and_keeps_the_signature():
    scores = corpus_scores(ANSWERS, REFERENCES)
    assert scores["bleu"] == pytest.approx(48.530827, abs=1e-6)
    assert signatures(REFERENCES)["bleu"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_chrf_equals_sacrebleus_published_value():
    scores = corpus_scores(ANSWERS, REFERENCES)
    assert scores["chrf"] == pytest.approx(59.73, abs=0.005)
    assert "nc:6" in signatures(REFERENCES)["chrf"]


def test_empty_answers_are_counted_and_score_zero():
    assert corpus_scores(["", "", ""], REFERENCES)["bleu"] == 0


# Sentence chrF values from sacrebleu's test/test_chrf.py; they smooth, which at this length shows in the fourth digit.
@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        (
            "Lapali po dechu, jejich životy skončily dřív, než skutečně začaly.",
            "Lapali po dechu a pak jejich život skončil - dřív, než skutečně mohl začít, připomněli.",
            57.15704367,
        ),
        (
            "Nebo prostě nemají vybavení, které by jim pomohlo, uvedli lékaři.",
            "A někdy nemáme ani potřebný materiál, abychom jim pomohli, popsali lékaři.",
            31.22557079,
        ),
    ],
)
def test_one_answers_chrf_equals_the_published_sentence_value(answer, reference, expected):
    assert score_answers([answer], [reference])[0].chrf == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("answer", ["The quick brown dog jumps on the log.", "", "fox quick", "over_the lazy DOG 9!"])
def test_rouge_l_equals_rouge_score_on_english(answer):
    reference = "The quick brown fox jumps over the lazy dog."
    expected = rouge_scorer.RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure
    assert score_answers([answer], [reference])[0].rouge_l == pytest.approx(100 * expected)


def test_rouge_l_reads_letters_of_every_script():
    cyrillic, han = score_answers(["кошка спит", "我爱你们"], ["кошка ест", "我爱他们"])
    assert cyrillic.rouge_l == pytest.approx(50)
    assert han.rouge_l == pytest.approx(75)


def test_exact_match_ignores_space_around_and_nothing_else():
    assert [score.exact_match for score in score_answers([" ls -a\n", "ls -A"], ["ls -a", "ls -a"])] == [100, 0]


HOUSE = "In short: Use `ls -a`.\n- It lists all.\n- Dots too.\nNext: Try it."


def test_format_likeness_is_full_for_the_same_layout_with_other_words():
    other = "In brief: Call `df -h`.\n- One disk.\n- Two disks.\nThen: Read it."
    score = score_answers([other], [HOUSE])[0]
    assert score.format_likeness == 100
    assert score.likeness < 60


def test_format_likeness_falls_as_the_layout_is_lost():
    one_list, plain, chatty = score_answers(
        [
            "In short: Use `ls -a`.\n- It lists all.",
            "use ls -a",
            "Sure! Great question!\n\n## Listing\n\n```\nls -a\n```",
        ],
        [HOUSE] * 3,
    )
    assert 100 > one_list.format_likeness > plain.format_likeness > 0
    assert chatty.format_likeness < one_list.format_likeness


def test_length_ratio_and_likeness_say_how_much_too_long_an_answer_is():
    score = score_answers(["one two three four five six"], ["one two three"])[0]
    assert score.length_ratio == 2
    assert score.length_likeness == 50
    assert score_answers([""], [""])[0].length_likeness == 100


def test_length_distribution_gives_the_share_that_never_ended():
    found = lengths([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [True] * 8 + [False] * 3)
    assert (found["tenth"], found["median"], found["ninetieth"]) == (2, 6, 10)
    assert found["unended"] == pytest.approx(3 / 11)
    assert lengths([], []) == {}
