"""A conversation in JSON lines, with a model that is made up."""

from __future__ import annotations

import json
import os
import signal

from tunebook.errors import ModelError
from tunebook.export.talk_json import speak


class Parrot:
    """Repeats what it is asked, a word at a time."""

    def __init__(self, name, on_piece=lambda: None):
        self.name, self.on_piece, self.forgot, self.chat = name, on_piece, 0, []

    def ask(self, text):
        if text == "too long":
            raise ModelError("The conversation is too long.")
        for word in text.split():
            self.on_piece()
            yield f"{word} "
        self.chat = [*self.chat, text]

    def tokenizer(self, text, add_special_tokens):
        return {"input_ids": text.split()}

    def forget(self):
        self.forgot += 1


def said(capsys, talkers, *lines):
    before = signal.getsignal(signal.SIGINT)
    try:
        speak(talkers, [line if isinstance(line, str) else json.dumps(line) for line in lines])
    finally:
        signal.signal(signal.SIGINT, before)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [{name: value for name, value in one.items() if name != "seconds"} for one in told]


def test_each_model_answers_in_pieces_and_says_when_it_is_done(capsys):
    told = said(capsys, [Parrot("base"), Parrot("tuned")], {"ask": "one two"})
    assert told[0] == {"ready": ["base", "tuned"]}
    assert told[1:4] == [
        {"who": 0, "piece": "one "},
        {"who": 0, "piece": "two "},
        {"who": 0, "done": True, "tokens": 2, "broken": False},
    ]
    assert [one.get("who") for one in told[4:]] == [1, 1, 1, None]
    assert told[-1] == {"idle": True}


def test_an_interrupt_breaks_the_answers_off_and_the_next_question_is_answered(capsys):
    parrot = Parrot("tuned", lambda: os.kill(os.getpid(), signal.SIGINT) if parrot.forgot == 0 else None)
    told = said(capsys, [parrot], {"ask": "one two three"}, {"new": True}, {"ask": "four five"})
    assert told[1:3] == [{"who": 0, "piece": "one "}, {"who": 0, "done": True, "tokens": 1, "broken": True}]
    assert told[-2] == {"who": 0, "done": True, "tokens": 2, "broken": False}
    assert parrot.forgot == 1


def test_a_question_that_one_did_not_answer_whole_is_forgotten_by_all(capsys):
    base = Parrot("base")
    tuned = Parrot("tuned", lambda: os.kill(os.getpid(), signal.SIGINT) if len(base.chat) == 2 else None)
    said(capsys, [base, tuned], {"ask": "one"}, {"ask": "two three"})
    assert base.chat == tuned.chat == ["one"]


def test_a_fault_is_a_sentence_and_the_conversation_goes_on(capsys):
    told = said(capsys, [Parrot("tuned")], "no json", {"ask": "too long"}, {"ask": "fine"})
    assert told[1:3] == [{"error": "This is nothing that can be asked."}, {"idle": True}]
    assert told[3] == {"who": 0, "error": "The conversation is too long."}
    assert {"who": 0, "piece": "fine "} in told
