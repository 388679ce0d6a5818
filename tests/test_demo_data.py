"""What the demo trains on keeps its promises: counts, house style, no repeats, nothing shared between the parts."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import tunebook
from tunebook.pages.parser import parse_page

DEMO = Path(tunebook.__file__).parent / "demo"
LINE_END = r"(?:[^.?!\s]\.|[.?!]\"|\"\.)"  # a period, or a closing quotation mark
STYLE = re.compile(rf"In short: [^\n]+{LINE_END}\n(?:- [^\n]+{LINE_END}\n){{1,3}}Next: [^\n]+{LINE_END}")
MISSPELT = re.compile(
    r"\b(teh|recieve|seperate|definately|occured|untill|wich|thier|alot|becuase|neccessary|tommorow|wierd|beleive"
    r"|accomodate|goverment|adress|begining|diferent|enviroment|existance|foriegn|freind|grammer|happend|knowlege"
    r"|libary|noticable|ocurred|posession|prefered|publically|reccomend|rythm|succesful|suprise|temperture|truely"
    r"|colour|favourite|neighbour|litre|metre|organise|summarise|grey)s?\b",
    re.IGNORECASE,
)


def rows(name: str) -> list[Any]:
    data = (DEMO / name).read_bytes()
    assert not data.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in data
    return [json.loads(line) for line in data.decode("utf-8").removesuffix("\n").split("\n")]


def texts(name: str) -> list[str]:
    """All text of each row, as one string per row."""
    if name.endswith("multiple_choice.jsonl"):
        return [" ".join([row["query"][len("Question: ") : -len("\nAnswer:")], *row["choices"]]) for row in rows(name)]
    if name.endswith("prose.jsonl"):
        return [row["text"] for row in rows(name)]
    return ["\n".join(message["content"] for message in row["messages"]) for row in rows(name)]


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[at : at + size]) for at in range(len(found) - size + 1)}


def answers(name: str) -> list[str]:
    return [m["content"] for row in rows(name) for m in row["messages"] if m["role"] == "assistant"]


def prompts(name: str) -> list[str]:
    return [m["content"] for row in rows(name) for m in row["messages"] if m["role"] == "user"]


CHATS = ["examples.jsonl", "held_out.jsonl"]
PROBES = ["probes/multiple_choice.jsonl", "probes/prose.jsonl"]


@pytest.mark.parametrize(
    ("name", "count"), [("examples.jsonl", 190), ("held_out.jsonl", 40), (PROBES[0], 80), (PROBES[1], 16)]
)
def test_each_part_has_the_promised_number_of_rows(name: str, count: int) -> None:
    assert len(rows(name)) == count


@pytest.mark.parametrize("name", CHATS)
def test_every_example_is_a_chat_that_takes_turns_and_ends_with_the_assistant(name: str) -> None:
    for row in rows(name):
        assert set(row) == {"messages"}
        assert all(set(message) == {"role", "content"} for message in row["messages"])
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert roles


def test_a_few_examples_on_each_side_have_several_turns() -> None:
    several = {name: sum(len(row["messages"]) > 2 for row in rows(name)) for name in CHATS}
    assert 8 <= several["examples.jsonl"] <= 20
    assert 2 <= several["held_out.jsonl"] <= 5


@pytest.mark.parametrize("name", CHATS)
def test_every_answer_keeps_the_house_style(name: str) -> None:
    astray = [answer for answer in answers(name) if not STYLE.fullmatch(answer) or "**" in answer or "#" in answer]
    assert astray == []


@pytest.mark.parametrize("name", CHATS)
def test_the_first_line_is_one_sentence_and_backticks_are_paired(name: str) -> None:
    for answer in answers(name):
        first = answer.split("\n")[0].removeprefix("In short: ")
        assert not re.search(r"[.?!] [A-Z]", first), first
        assert all(line.count("`") % 2 == 0 and line.count('"') % 2 == 0 for line in answer.split("\n")), answer


@pytest.mark.parametrize("name", CHATS)
def test_prompts_and_answers_are_short(name: str) -> None:
    assert [prompt for prompt in prompts(name) if not 4 <= len(prompt.split()) <= 42] == []
    assert [answer for answer in answers(name) if not 100 <= len(answer) <= 300] == []


def test_an_epoch_over_the_training_examples_stays_small() -> None:
    characters = sum(len(text) for text in texts("examples.jsonl"))
    assert characters / 4 < 13_000  # at some 4 characters per token; chat templates add about half as much


def test_no_two_rows_of_any_parts_are_alike() -> None:
    """Two rows are alike when they share a third of the three-word pieces of the shorter one."""
    everything = [(name, text, shingles(text, 3)) for name in CHATS + PROBES for text in texts(name)]
    for at, (name, text, pieces) in enumerate(everything):
        for other_name, other, others in everything[:at]:
            shared = len(pieces & others) / max(1, min(len(pieces), len(others)))
            assert shared < 1 / 3, f"{name}: {text!r} is like {other_name}: {other!r}"


def test_no_prompt_says_nearly_the_same_as_another() -> None:
    seen = [(prompt, set(words(prompt))) for name in CHATS for prompt in prompts(name)]
    for at, (prompt, pieces) in enumerate(seen):
        for other, others in seen[:at]:
            assert len(pieces & others) / len(pieces | others) < 0.7, f"{prompt!r} is like {other!r}"


def test_no_run_of_eight_words_stands_in_two_parts() -> None:
    of = {name: set().union(*(shingles(text, 8) for text in texts(name))) for name in CHATS + PROBES}
    for name in of:
        for other in of:
            assert name == other or not of[name] & of[other]


def test_answers_do_not_fall_back_on_one_phrase() -> None:
    """A model would learn a phrase that keeps coming back, beside the style."""
    starts = Counter(" ".join(answer.split()[2:5]) for answer in answers("examples.jsonl"))
    nexts = Counter(" ".join(answer.rsplit("Next: ", 1)[1].split()[:4]) for answer in answers("examples.jsonl"))
    assert max(starts.values()) <= 4
    assert max(nexts.values()) <= 3


def test_every_question_has_four_choices_and_each_place_is_right_equally_often() -> None:
    questions = rows("probes/multiple_choice.jsonl")
    for row in questions:
        assert set(row) == {"query", "choices", "gold"}
        assert re.fullmatch(r"Question: [^\n]+[?.]\nAnswer:", row["query"])
        assert len({choice.casefold() for choice in row["choices"]}) == len(row["choices"]) == 4
        assert all(choice and choice == choice.strip() for choice in row["choices"])
    assert Counter(row["gold"] for row in questions) == dict.fromkeys(range(4), 20)


def test_the_right_choice_is_not_given_away_by_its_length() -> None:
    longest = [
        row
        for row in rows("probes/multiple_choice.jsonl")
        if max(row["choices"], key=len) == row["choices"][row["gold"]]
    ]
    assert len(longest) <= 32


def test_prose_passages_have_sixty_to_ninety_words() -> None:
    assert all(set(row) == {"text"} and 60 <= len(row["text"].split()) <= 90 for row in rows("probes/prose.jsonl"))


@pytest.mark.parametrize("name", CHATS + PROBES)
def test_the_text_is_clean_plain_english(name: str) -> None:
    for text in texts(name):
        assert text.replace("\n", "").isascii()
        assert text.replace("\n", "").isprintable()
        prose = re.sub(r"`[^`]*`", "`code`", text)
        assert not re.search(r"  | [,;.?!]|[,;:?!][A-Za-z]", prose), text
        doubled = re.search(r"\b(\w+) \1\b", prose, re.IGNORECASE)
        assert doubled is None or doubled.group(1).isdigit(), text
        assert not MISSPELT.search(text), text


def test_the_demos_answers_answer_every_question_of_their_page_in_its_own_words() -> None:
    saved = yaml.safe_load((DEMO / "answers.yaml").read_text(encoding="utf-8"))
    assert set(saved) == {"format", "page", "answers"}
    library = [parse_page(path.read_bytes(), path.stem) for path in (DEMO.parent / "pages/library").glob("*.md")]
    page = next((page for page in library if page.id == saved["page"]), None)
    if page is None:
        pytest.skip("the library does not hold the page yet")
    assert {question.id for question in page.questions} == set(saved["answers"])
    assert {question.id: question.accept(saved["answers"][question.id]) for question in page.questions} == saved[
        "answers"
    ]
