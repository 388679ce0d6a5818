"""What a page says becomes what the parser gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebook.pages.components import Form, Information, Navigation, Ranking, Selection
from tunebook.pages.fields import Number, Select, Textarea
from tunebook.pages.page import Page
from tunebook.pages.parser import parse_page

REFERENCE = Path(__file__).parents[3] / "shared/seed/phase-3-fine-tuning.md"

PAGE = """\
---
title: "A small page"
subtitle: "For tests"
phase: 7
components:
  - type: instructions
  - type: "information"
  - {type: ranking}
  - type: form
  - type: selection
  - type: navigation
---

Words before any heading.

## Begin

A word of introduction.

{type: instructions}

Do **this**.

## Know

{type: information, icon: "clock", title: "Time"}

It takes [time][t].

[t]: https://example.org/time

## Order

{type: ranking, title: "Which first?"}

Before the lines.

```
Shoes
  Socks (first)

Hat
```

After the lines.

## Fill in

{type: form}

Form words.

### Numbers

Group words.

**Rate**
{type: select, options: ["1e-5 (Slow)", "3e-5", Custom value]}

More words.

**How many?**

It counts.

{type: number, min: 1, max: 1_000, placeholder: "10", required: true, sets: data.max_length}

### Words

**Why?**
{type: textarea, placeholder: "Because..."}

The end.

## Pick

{type: selection, multiple: true}

Which ones?

- One (the first)
- **Two** and `2`
- Three

{type: navigation, previous: "Before", next: "After"}
"""


@pytest.fixture
def page() -> Page:
    return parse_page(PAGE, "small.md")


def test_front_matter_is_read(page: Page) -> None:
    assert (page.id, page.title, page.subtitle, page.phase) == ("a-small-page", "A small page", "For tests", 7)
    assert page.problems == []


def test_a_front_matter_id_wins_over_the_slug_of_the_title() -> None:
    assert parse_page(PAGE.replace("phase: 7", "id: other"), "x").id == "other"


def test_components_stand_in_order_with_the_section_that_they_belong_to(page: Page) -> None:
    assert [(part.type, part.id, part.title, part.section) for part in page.components] == [
        ("instructions", "begin", "Begin", "Begin"),
        ("information", "time", "Time", "Know"),
        ("ranking", "which-first", "Which first?", "Order"),
        ("form", "fill-in", "Fill in", "Fill in"),
        ("selection", "pick", "Pick", "Pick"),
        ("navigation", "navigation", "Navigation", ""),
    ]


def test_lines_are_those_of_the_directives(page: Page) -> None:
    lines = PAGE.split("\n")
    assert all(lines[part.line - 1].startswith("{type: " + part.type) for part in page.parts)


def test_prose_goes_to_the_part_that_it_stands_in(page: Page) -> None:
    assert [(section.title, section.intro.text) for section in page.sections][:3] == [
        ("", "Words before any heading."),
        ("Begin", "A word of introduction."),
        ("Know", ""),
    ]
    assert page.components[0].prose.text == "Do **this**."
    ranking, form = page.components[2:4]
    assert (ranking.prose.text, ranking.after.text) == ("Before the lines.", "After the lines.")
    assert isinstance(form, Form)
    numbers, words = form.groups
    assert form.prose.text == "Form words."
    assert (numbers.title, numbers.prose.text) == ("Numbers", "Group words.")
    assert (numbers.fields[1].before.text, numbers.fields[1].help.text) == ("More words.", "It counts.")
    assert (words.title, words.prose.text, words.after.text) == ("Words", "", "The end.")
    assert page.components[4].prose.text == "Which ones?"


def test_link_definitions_reach_prose_wherever_they_stand() -> None:
    page = parse_page(PAGE.replace("## Know", "## Know\n\n[b]: /b\n").replace("It counts.", "See [b]."), "x")
    form = page.components[3]
    assert isinstance(form, Form)
    assert form.fields[1].help.html() == '<p>See <a href="/b">b</a>.</p>\n'
    assert page.components[1].prose.html() == '<p>It takes <a href="https://example.org/time">time</a>.</p>\n'


def test_items_have_label_note_and_id(page: Page) -> None:
    ranking, selection = page.components[2], page.components[4]
    assert isinstance(ranking, Ranking)
    assert [(item.id, item.label, item.note) for item in ranking.items] == [
        ("shoes", "Shoes", ""),
        ("socks", "Socks", "first"),
        ("hat", "Hat", ""),
    ]
    assert isinstance(selection, Selection)
    assert selection.multiple
    assert [item.text for item in selection.items] == ["One (the first)", "Two and 2", "Three"]


@pytest.mark.parametrize("lines", ["- Shoes\n- Socks (first)\n- Hat", "1. Shoes\n2. Socks (first)\n3. Hat"])
def test_a_rankings_items_may_be_a_list(lines: str) -> None:
    text = PAGE.replace("```\nShoes\n  Socks (first)\n\nHat\n```", lines)
    assert [item.text for item in parse_page(text, "x").components[2].choices] == ["Shoes", "Socks (first)", "Hat"]


def test_fields_carry_their_keys(page: Page) -> None:
    form = page.components[3]
    assert isinstance(form, Form)
    rate, many, why = form.fields
    assert isinstance(rate, Select)
    assert [option.text for option in rate.options] == ["1e-5 (Slow)", "3e-5", "Custom value"]
    assert [option.custom for option in rate.options] == [False, False, True]
    assert isinstance(many, Number)
    assert (many.min, many.max, many.required, many.sets) == (1, 1000, True, "data.max_length")
    assert isinstance(why, Textarea)
    assert (why.id, why.label, why.placeholder) == ("why", "Why?", "Because...")


def test_information_and_navigation_carry_their_keys(page: Page) -> None:
    information, navigation = page.components[1], page.components[5]
    assert isinstance(information, Information)
    assert information.icon == "clock"
    assert isinstance(navigation, Navigation)
    assert (navigation.previous, navigation.next) == ("Before", "After")


def test_an_unknown_icon_is_ignored() -> None:
    page = parse_page(PAGE.replace("clock", "rocket"), "x")
    assert page.problems == []
    assert isinstance(page.components[1], Information)
    assert page.components[1].icon == ""


def test_values_stay_as_they_are_written() -> None:
    page = parse_page(PAGE.replace('["1e-5 (Slow)", "3e-5", Custom value]', "[1e-5, 010, No, 2026-01-01, 1_0]"), "x")
    assert [option.text for option in page.questions[1].choices] == ["1e-5", "010", "No", "2026-01-01", "1_0"]


def test_ids_are_made_unique_by_their_section_and_then_by_number() -> None:
    fields = "**Notes**\n{type: text}\n" * 2
    text = f"---\ntitle: T\n---\n## One\n{{type: form}}\n{fields}\n## Two\n{{type: form}}\n{fields}"
    assert [part.id for part in parse_page(text, "x").parts] == [
        "one", "notes", "one-notes", "two", "two-notes", "two-notes-2"
    ]  # fmt: skip


def test_a_stated_id_is_taken_by_no_earlier_slug() -> None:
    text = "---\ntitle: T\n---\n## S\n{type: form}\n**Rate**\n{type: text}\n**Other**\n{type: text, id: rate}\n"
    assert [part.id for part in parse_page(text, "x").questions] == ["s-rate", "rate"]


def test_labels_in_every_script_get_an_id() -> None:
    text = "---\ntitle: T\n---\n## S\n{type: form}\n**学習率 (é)**\n{type: text}\n**?!**\n{type: text}\n"
    assert [part.id for part in parse_page(text, "x").questions] == ["学習率-é", "text"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\n", "\r\n"),
        ("\n", "\r"),
        ("", "\ufeff"),
        ("\n## ", "\n\n\n## "),
        ("{type: form}", "   {type: form}  "),
        ("{type: form}", "{ 'type' : form }"),
        ("{type: form}", '{"type": "form", }'),
        ("## Begin", "Begin\n---"),
    ],
)
def test_the_same_page_in_other_clothes_is_the_same_page(before: str, after: str, page: Page) -> None:
    text = PAGE.replace(before, after) if before else after + PAGE
    other = parse_page(text.encode(), "small.md")
    assert other.problems == []

    def said(page: Page) -> object:
        return [{key: value for key, value in part.to_json().items() if key != "line"} for part in page.components]

    assert said(other) == said(page)


def test_a_directive_ends_the_list_or_quote_before_it() -> None:
    text = "---\ntitle: T\n---\n## S\n{type: selection}\n- a\n- b\n{type: information}\n> quote\n{type: navigation}\n"
    page = parse_page(text, "x")
    assert page.problems == []
    assert [part.type for part in page.components] == ["selection", "information", "navigation"]
    assert [item.text for item in page.components[0].choices] == ["a", "b"]
    assert page.components[1].prose.text == "> quote"


@pytest.mark.parametrize(
    "prose",
    [
        "A line with {type: form} in it.",
        "`{type: form}`",
        "```\n{type: form}\n```",
        "~~~~\n```\n{type: form}\n~~~~",
        "    {type: form}",
        "- ```\n  {type: form}\n  ```",
        "> {type: form}",
        "- {type: form}",
        "{title: form}",
        "{}",
    ],
)
def test_anything_else_is_prose(prose: str) -> None:
    page = parse_page(f"---\ntitle: T\n---\n## S\n\n{prose}\n\nThe end.", "x")
    assert page.problems == []
    assert page.components == []
    assert page.sections[0].intro.text == f"{prose}\n\nThe end."


def test_a_form_that_is_required_requires_its_fields() -> None:
    page = parse_page(PAGE.replace("{type: form}", "{type: form, required: true}"), "x")
    assert [part.required for part in page.questions] == [False, True, True, True, False]


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference page does not stand beside this checkout")
def test_the_reference_page_loads_byte_for_byte() -> None:
    page = parse_page(REFERENCE.read_bytes(), str(REFERENCE))
    assert page.problems == []
    assert [part.type for part in page.components] == [
        "instructions", "information", "ranking", "form", "selection", "information", "form", "information",
        "navigation",
    ]  # fmt: skip
    assert [len(part.choices) for part in page.components if part.choices] == [10, 8]
    fields = [part.to_json() for part in page.questions if part.asks in ("one", "prose")]
    assert [(field["type"], len(field.get("options", []))) for field in fields] == [
        ("select", 4), ("select", 4), ("select", 4), ("select", 4), ("textarea", 0),
        ("select", 4), ("textarea", 0), ("textarea", 0), ("select", 4),
    ]  # fmt: skip
