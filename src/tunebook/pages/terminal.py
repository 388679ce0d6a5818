"""How one question is asked in a terminal: choose, pick, put in order, type.

Each function gives the answer, or raises Interrupted with what there is of it when the reader presses Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import questionary
from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.validation import ValidationError, Validator

from tunebook.pages.items import Item
from tunebook.pages.parts import Answer

_ORDER_KEYS = "up and down choose a line; space lifts it, up and down move it, space puts it down; Enter when done"
_PROSE_KEYS = "Enter when done; Alt-Enter, or Escape and then Enter, begins a new line"


class Interrupted(Exception):
    """The reader pressed Ctrl-C (or Ctrl-D); `answer` is what was typed or arranged until then."""

    def __init__(self, answer: Answer = "") -> None:
        self.answer = answer
        super().__init__("interrupted")


def choose(question: str, items: Sequence[Item], start: str) -> str:
    """One item, by arrow keys; the cursor begins on `start`."""
    texts = [item.text for item in items]
    choices = [questionary.Choice([("", text)], value=text) for text in texts]
    return str(_ask(questionary.select(question, choices=choices, default=start if start in texts else None)))


def pick(question: str, items: Sequence[Item], picked: Sequence[str], required: bool) -> list[str]:
    """Any number of items: arrow keys move, space picks."""
    choices = [questionary.Choice([("", item.text)], value=item.text, checked=item.text in picked) for item in items]

    def enough(chosen: list[str]) -> bool | str:
        return bool(chosen) or not required or "Pick at least one."

    return list(_ask(questionary.checkbox(question, choices=choices, validate=enough)))


def confirm(question: str, start: bool) -> bool:
    """Yes or no."""
    return bool(_ask(questionary.confirm(question, default=start)))


def _ask(prompt: questionary.Question) -> Any:
    try:
        return prompt.unsafe_ask()
    except (KeyboardInterrupt, EOFError):
        raise Interrupted() from None


def type_text(
    question: str, start: str, accept: Callable[[str], object], *, hint: str = "", lines: bool = False
) -> str:
    """Typed text, which `accept` takes or refuses with a ValueError; with `lines` it may have several."""
    session: PromptSession[str] = PromptSession()
    try:
        return session.prompt(
            [("bold", f"? {question} ")],
            default=start,
            placeholder=[("fg:ansibrightblack", hint)],
            multiline=lines,
            key_bindings=_enter_ends() if lines else None,
            bottom_toolbar=_PROSE_KEYS if lines else None,
            validator=_Accepts(accept),
            validate_while_typing=False,
        )
    except (KeyboardInterrupt, EOFError):
        raise Interrupted(session.default_buffer.text) from None


class _Accepts(Validator):
    def __init__(self, accept: Callable[[str], object]) -> None:
        self.accept = accept

    def validate(self, document: Any) -> None:
        try:
            self.accept(document.text)
        except ValueError as fault:
            raise ValidationError(len(document.text), str(fault)) from None


def _enter_ends() -> KeyBindings:
    keys = KeyBindings()
    keys.add("enter")(lambda event: event.current_buffer.validate_and_handle())
    keys.add("escape", "enter")(lambda event: event.current_buffer.insert_text("\n"))
    return keys


class Arranging:
    """Lines, a cursor, and whether the line under it is lifted and moves along."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)
        self.cursor = 0
        self.lifted = False

    def move(self, by: int) -> None:
        """The cursor goes up (-1) or down (+1), with the line when it is lifted; it stays inside."""
        target = min(max(self.cursor + by, 0), len(self.lines) - 1)
        if self.lifted:
            self.lines.insert(target, self.lines.pop(self.cursor))
        self.cursor = target

    def drawn(self) -> StyleAndTextTuples:
        """The lines as prompt_toolkit shows them."""
        shown: StyleAndTextTuples = []
        for place, line in enumerate(self.lines):
            here = place == self.cursor
            mark = ("↕" if self.lifted else "»") if here else " "
            style = ("reverse" if self.lifted else "bold") if here else ""
            shown.append((style, f" {mark} {place + 1:>2}. {line}\n"))
        return [*shown, ("fg:ansibrightblack", f"   {_ORDER_KEYS}")]


def arrange(question: str, lines: Sequence[str]) -> list[str]:
    """The lines in the reader's order."""
    state = Arranging(lines)
    keys = KeyBindings()
    for name, by in (("up", -1), ("k", -1), ("c-p", -1), ("down", 1), ("j", 1), ("c-n", 1)):
        keys.add(name)(lambda _event, by=by: state.move(by))

    @keys.add(" ")
    def _lift(_event: KeyPressEvent) -> None:
        state.lifted = not state.lifted

    @keys.add("enter")
    def _done(event: KeyPressEvent) -> None:
        event.app.exit(result=None)

    @keys.add("c-c")
    @keys.add("c-d")
    def _stop(event: KeyPressEvent) -> None:
        event.app.exit(exception=KeyboardInterrupt())

    head: StyleAndTextTuples = [("bold", f"? {question}\n")]
    window = Window(
        FormattedTextControl(lambda: head + state.drawn(), show_cursor=False), wrap_lines=True, dont_extend_height=True
    )
    app: Application[None] = Application(layout=Layout(window), key_bindings=keys)
    try:
        app.run()
    except (KeyboardInterrupt, EOFError):
        raise Interrupted(state.lines if state.lines != list(lines) else "") from None
    return state.lines
