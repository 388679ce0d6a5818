"""A page in the terminal: read, answer, and find the answers kept."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from shlex import quote

from rich.console import Console
from rich.markdown import Markdown
from rich.rule import Rule
from rich.text import Text

from tunebook.errors import PageError, Stopped
from tunebook.pages import terminal
from tunebook.pages.answers import (
    CUSTOM,
    Answers,
    asks_more,
    check_answers,
    copy_answers,
    default_answers,
    kept_answers,
    save_answers,
)
from tunebook.pages.catalog import find_page
from tunebook.pages.components import Form, Navigation
from tunebook.pages.items import make_item
from tunebook.pages.markdown import Prose, tokens
from tunebook.pages.order import check_order, step_of
from tunebook.pages.page import Page
from tunebook.pages.parts import Answer, Component, Part

_PLAN = "tunebook plan {} --data DATA --model MODEL -o plan.yaml"
_NEXT = {"phase-4-model-comparison": "tunebook compare --answers {}"}  # by the id of a page; a plan for any other


def answer_by_defaults(page: Page, path: Path) -> dict[str, Answer]:
    """Answer every question of `page` that `path` does not hold an answer to by its default; save and return them.

    PageError when an answer is required that only the reader can give; then nothing is written.
    """
    page.require()
    kept, faults = kept_answers(path, page) if path.exists() else (Answers(page, {}), [])
    if faults:
        do = "Mend them there, or give another place with --answers."
        raise PageError(f"{path} holds answers that do not fit, and it was left as it is.", do=do, faults=faults)
    values = default_answers(page) | kept.values
    faults = check_answers(page, values)[1]
    if faults:
        do = f"Answer it with `tunebook page play {quote(page.name)} --answers {quote(str(path))}`, without --defaults."
        raise PageError("Not every question has a default answer.", do=do, faults=faults)
    save_answers(path, page, values)
    return values


def play(page: Page, path: Path) -> None:
    """Show `page` in the terminal, ask its questions and save the answers to `path` after each one.

    Answers that `path` holds already are offered again; when some fit the page no more, the file is copied first.
    Stopped (exit code 130) on Ctrl-C, with everything kept that was answered or typed. PageError when there is no
    terminal, or `path` holds something else.
    """
    page.require()
    if not sys.stdin.isatty():
        do = "Use --defaults, or write the answers file by hand; `tunebook page check` lists the ids."
        raise PageError("There is no terminal to ask in.", do=do)
    _Player(page, path).play()


class _Player:
    def __init__(self, page: Page, path: Path) -> None:
        self.page, self.path = page, path
        self.console = Console(highlight=False)
        self.values: dict[str, Answer] = {}
        self.whole = False  # an earlier sitting answered the page to its end

    def play(self) -> None:
        self._offer_earlier_answers()
        self._say(self.page.title, "bold")
        self._say(self.page.subtitle, "italic")
        try:
            for section in self.page.sections:
                if section.title:
                    self.console.print()
                    self.console.print(Rule(Text(section.title, "bold"), align="left"))
                self._read(section.intro)
                for component in section.components:
                    self._component(component)
        except terminal.Interrupted:
            self._save()
            what = f"Stopped after {self._answered()} of {len(self.page.questions)} answers."
            do = f"`tunebook page play {quote(self.page.name)} --answers {quote(str(self.path))}` goes on."
            raise Stopped(what, exit_code=130, kept=f"They are kept in {self.path}.", do=do) from None
        self.whole = True
        self._save()
        self._say(f"Your answers are in {self.path}.")
        self._say(f"Next: {_NEXT.get(self.page.id, _PLAN).format(quote(str(self.path)))}")

    def _offer_earlier_answers(self) -> None:
        if not self.path.exists():
            return
        kept, faults = kept_answers(self.path, self.page)
        self.values, self.whole = dict(kept.values), not kept.partial
        self._say(f"{self.path} holds {self._answered()} answers; each is offered again.")
        for fault in faults:
            self._say(f"Not offered, it does not fit the page: {fault}", "yellow")
        if faults:
            self._say(f"The file as it was is kept in {copy_answers(self.path)}.", "yellow")

    def _component(self, component: Component) -> None:
        if isinstance(component, Navigation):
            self._navigation(component)
        elif component.title != component.section and not component.asks:
            self._say(component.title, "bold")
        self._read(component.prose)
        if component.asks:
            self._answer(component)
        for group in component.groups if isinstance(component, Form) else ():
            self._say(group.title, "bold")
            self._read(group.prose)
            for field in group.fields:
                self._read(field.before)
                self._read(field.help)
                self._answer(field)
            self._read(group.after)
        self._read(component.after)

    def _answer(self, question: Part) -> None:
        key = question.id
        try:
            self._put(question, self._ask(question, self.values.get(key, "")))
            if asks_more(question, self.values.get(key)):
                key += CUSTOM
                start = str(self.values.get(key, ""))
                self.values[key] = terminal.type_text("Which one? In your words", start, _required)
            else:
                self.values.pop(key + CUSTOM, None)
        except terminal.Interrupted as stop:
            if stop.answer and key.endswith(CUSTOM):
                self.values[key] = stop.answer
            elif stop.answer:
                self._put(question, stop.answer)
            raise
        self._save()

    def _put(self, question: Part, answer: Answer) -> None:
        """Keep `answer` where it is one; what an interrupted reader typed may not fit yet."""
        if not answer:
            self.values.pop(question.id, None)
            return
        with suppress(ValueError):
            self.values[question.id] = question.accept(answer)

    def _ask(self, question: Part, earlier: Answer) -> Answer:
        if question.asks == "order":
            return self._ask_order(question, earlier)
        if question.asks == "many":
            picked = earlier or question.default()
            return terminal.pick(question.question, question.choices, list(picked), question.required)
        if question.asks == "one":
            return terminal.choose(question.question, question.choices, str(earlier or question.default()))
        if question.asks == "yes":
            return "yes" if terminal.confirm(question.question, (earlier or question.default()) == "yes") else "no"

        def accept(text: str) -> None:
            if text.strip():
                question.accept(text)
            elif question.required:
                _required(text)

        hint = str(getattr(question, "placeholder", "") or getattr(question, "limits", ""))
        return terminal.type_text(question.question, str(earlier), accept, hint=hint, lines=question.asks == "prose")

    def _ask_order(self, question: Part, earlier: Answer) -> list[str]:
        start = list(earlier) if earlier else [item.text for item in question.choices]
        lines = start
        try:
            while True:
                lines = terminal.arrange(question.question, lines)
                if not all(map(step_of, lines)) or self._judge(lines) or not self._again():
                    return lines
        except terminal.Interrupted as stop:
            raise terminal.Interrupted(stop.answer or (lines if lines != start else "")) from None

    def _judge(self, lines: list[str]) -> bool:
        """Say how much of an order of the steps is right, and why the rest is not."""
        found = check_order(lines)
        self._say(f"{found.workable} of {len(lines)} steps stand in a workable place.")
        for sentence in found.sentences():
            self._say(f"- {sentence}", "yellow")
        return found.valid

    def _again(self) -> bool:
        again = "Arrange them again"
        leave = "Leave them so (no plan can be made from this order)"
        return terminal.choose("What now?", [make_item(again), make_item(leave)], again) == again

    def _navigation(self, navigation: Navigation) -> None:
        for word, title in (("Before this page", navigation.previous), ("After this page", navigation.next)):
            if title:
                found = find_page(title)
                command = f" (tunebook page play {found.name})" if found else ""
                self._say(f"{word}: {title}{command}", "dim")

    def _read(self, prose: Prose) -> None:
        if prose:
            shown = Markdown("", hyperlinks=False)
            shown.parsed = tokens(prose)
            self.console.print(shown)
            self.console.print()

    def _say(self, text: str, style: str = "") -> None:
        if text:
            self.console.print(Text(text, style))

    def _answered(self) -> int:
        return sum(question.id in self.values for question in self.page.questions)

    def _save(self) -> None:
        save_answers(self.path, self.page, self.values, partial=not self.whole)


def _required(text: str) -> None:
    if not text.strip():
        raise ValueError("an answer is required here")
