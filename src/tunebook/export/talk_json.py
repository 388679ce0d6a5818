"""A conversation in JSON lines, for a program that shows it: `tunebook chat --json`.

    in    {"ask": "..."}     {"new": true}
    out   {"ready": ["base", "tuned"]}                                    the models, once they are loaded
          {"who": 0, "piece": "..."}                                      an answer, as it comes
          {"who": 0, "done": true, "tokens": 31, "seconds": 1.2, "broken": false}
          {"error": "..."}                                                a sentence; the conversation goes on
          {"idle": true}                                                  everyone has answered

SIGINT breaks the answers to one question off, as Ctrl-C does; the end of the input ends the process.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any

from tunebook.errors import TunebookError
from tunebook.files import to_json

if TYPE_CHECKING:
    from tunebook.export.talk import Talker


def speak(talkers: Sequence[Talker], lines: Iterable[str] = sys.stdin) -> None:
    """Answer what comes on `lines` with every talker, one after the other, until the input ends."""
    broken = Event()
    signal.signal(signal.SIGINT, lambda *_: broken.set())
    _tell(ready=[talker.name for talker in talkers])
    for line in lines:
        asked = _understood(line)
        broken.clear()
        if asked.get("new"):
            for talker in talkers:
                talker.forget()
        elif text := str(asked.get("ask") or "").strip():
            before = [talker.chat for talker in talkers]
            for who, talker in enumerate(talkers):
                _answer(who, talker, text, broken)
            if broken.is_set():  # nobody keeps the question, so that all go on from the same conversation
                for talker, chat in zip(talkers, before, strict=True):
                    talker.chat = chat
        else:
            _tell(error="This is nothing that can be asked.")
        _tell(idle=True)


def _answer(who: int, talker: Talker, text: str, broken: Event) -> None:
    begun, answer = time.monotonic(), ""
    pieces = talker.ask(text)
    try:
        while not broken.is_set() and (piece := next(pieces, None)) is not None:
            answer += piece
            _tell(who=who, piece=piece)
    except TunebookError as error:
        _tell(who=who, error=str(error))
        return
    finally:
        pieces.close()
    tokens = len(talker.tokenizer(answer, add_special_tokens=False)["input_ids"])
    _tell(who=who, done=True, tokens=tokens, seconds=time.monotonic() - begun, broken=broken.is_set())


def _understood(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _tell(**message: Any) -> None:
    sys.stdout.write(to_json(message) + "\n")
    sys.stdout.flush()
