"""A mapping that is given decides what is trained, and prompts that are chats are read as such."""

from __future__ import annotations

import json

import pytest

from tunebook.data.columns import find_shape, unused_texts
from tunebook.data.conversation import Conversation, Problem, Row
from tunebook.data.formats import to_conversation
from tunebook.errors import DataError

CHAT = [{"role": "user", "content": "other"}, {"role": "assistant", "content": "wrong"}]
TOOL = {"name": "f", "description": "d", "parameters": {}}


def read(row: dict, **columns: str) -> Conversation | Problem:
    return to_conversation(Row(1, row), find_shape([row], columns, "x.jsonl"))


def said(row: dict, **columns: str) -> list[tuple[str, str]]:
    made = read(row, **columns)
    assert isinstance(made, Conversation), made
    return [(turn.role, turn.content) for turn in made.messages]


@pytest.mark.parametrize(
    ("row", "columns", "asked"),
    [
        ({"messages": CHAT, "question": "q", "answer": "a"}, {"prompt": "question", "completion": "answer"}, "q"),
        ({"messages": CHAT, "question": "q", "answer": "a"}, {"prompt": "question"}, "q"),
        ({"instruction": "q", "output": "wrong", "gpt4_output": "a"}, {"completion": "gpt4_output"}, "q"),
        (
            {"instruction": "q", "input": "i", "output": "wrong", "gpt4_output": "a"},
            {"completion": "gpt4_output"},
            "q\n\ni",
        ),
        (
            {"query": "q", "response": "wrong", "options": ["wrong", "a"], "right": 1},
            {"choices": "options", "gold": "right"},
            "q",
        ),
        ({"prompt": "wrong", "completion": "wrong", "told": "q", "output": "a"}, {"instruction": "told"}, "q"),
    ],
)
def test_the_columns_that_are_given_are_trained_though_others_make_a_form_of_their_own(row, columns, asked):
    assert said(row, **columns) == [("user", asked), ("assistant", "a")]


def test_the_column_that_a_mapping_sets_aside_is_told():
    row = {"instruction": "q", "output": "wrong", "gpt4_output": "a"}
    assert unused_texts([row], find_shape([row], {"completion": "gpt4_output"}, "x")) == ["output"]


@pytest.mark.parametrize(
    ("row", "columns", "unread"),
    [
        ({"messages": CHAT, "q": "q"}, {"prompt": "q"}, "messages, which it comes nearest to, has no prompt"),
        ({"question": "q", "answer": "a"}, {"input": "question", "output": "answer"}, "has no output"),
        ({"prompt": "q", "completion": "a", "past": []}, {"history": "past"}, "has no history"),
    ],
)
def test_a_mapping_that_no_form_reads_is_refused(row, columns, unread):
    with pytest.raises(DataError) as refused:
        find_shape([row], columns, "x.jsonl")
    assert unread in str(refused.value)


def test_an_answer_that_stands_in_the_prompt_is_not_trained_unless_it_says_so():
    before = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    kept = {"role": "assistant", "content": "b", "train": True}
    row = {"prompt": [*before, kept, before[0]], "completion": [{"role": "assistant", "content": "c"}]}
    made = read(row)
    assert isinstance(made, Conversation)
    assert [turn.content for turn in made.messages if turn.trained] == ["b", "c"]


@pytest.mark.parametrize("written", [lambda tools: tools, json.dumps], ids=["list", "text"])
@pytest.mark.parametrize(
    "row", [{"prompt": CHAT[:1], "completion": CHAT[1:]}, {"instruction": "q", "output": "a"}], ids=["chats", "alpaca"]
)
def test_tools_are_read_in_every_form(row, written):
    made = read({**row, "tools": written([TOOL])})
    assert isinstance(made, Conversation)
    assert made.tools == ({"type": "function", "function": TOOL},)


def test_a_column_called_tools_that_holds_words_is_told_as_unused():
    row = {"prompt": "q", "completion": "a", "tools": "hammer, saw"}
    assert said(row) == [("user", "q"), ("assistant", "a")]
    assert unused_texts([row], find_shape([row], None, "x")) == ["tools"]


@pytest.mark.parametrize(
    "answer",
    [
        [{"name": "Bob", "role": "CEO"}],
        [{"role": "user"}],
        [{"role": "user", "content": "q"}, {"role": "CEO", "content": "c"}],
    ],
)
def test_json_text_that_is_no_chat_is_an_answer(answer):
    text = json.dumps(answer)
    assert said({"prompt": "Extract people", "completion": text}) == [("user", "Extract people"), ("assistant", text)]


def test_json_text_that_is_a_chat_is_one_and_a_list_with_an_unknown_role_is_a_fault():
    assert said({"prompt": json.dumps(CHAT[:1]), "completion": json.dumps(CHAT[1:])}) == [
        ("user", "other"),
        ("assistant", "wrong"),
    ]
    problem = read({"prompt": "q", "completion": [{"role": "CEO", "content": "c"}]})
    assert isinstance(problem, Problem)
    assert problem.code == "unknown_role"
