"""Every fault of a page is told at once, with its line, what is wrong and what would be right."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunebook.errors import PageError
from tunebook.pages.parser import MAX_BYTES, MAX_LINES, parse_page
from tunebook.pages.parts import MAX_ITEMS

HEAD = "---\ntitle: T\n---\n"  # three lines; a body's first line is line 4

FAULTS = [
    ("{type: rankin}", 4, "error", "unknown type 'rankin'; did you mean ranking?"),
    ("{type: zzz}", 4, "error", "known: select, textarea, text, number, checkbox, instructions"),
    ("{type: }", 4, "error", "unknown type"),
    ("{type:form}", 4, "error", "a space after `type:`"),
    ("{type: information, titel: x}", 4, "error", "unknown key 'titel' for information; did you mean title?"),
    ("{type: selection, multiple: maybe}\n- a", 4, "error", "multiple must be true or false, not 'maybe'"),
    ("{type: selection, multiple: }\n- a", 4, "error", "multiple must be true or false, not nothing"),
    ("{type: form, id: a b}\n**L**\n{type: text}", 4, "error", "id must be letters, digits"),
    ("{type: form, id: x}\n**L**\n{type: text, id: x}", 6, "error", "the id 'x' is given twice"),
    ("{type: form}\n**L**\n{type: number, min: low}", 6, "error", "min must be a number, not 'low'"),
    ("{type: form}\n**L**\n{type: number, min: nan}", 6, "error", "min must be a number, not 'nan'"),
    ("{type: form}\n**L**\n{type: number, min: 2, max: 1}", 6, "error", "min (2) is above max (1)"),
    ("{type: form}\n**L**\n{type: text, sets: a b}", 6, "error", "sets must be a path into the plan"),
    ("{type: form}\n**L**\n{type: select}", 6, "error", "a select needs options"),
    ("{type: form}\n**L**\n{type: select, options: [a, a]}", 6, "error", "the option 'a' stands there twice"),
    ("{type: form}\n**L**\n{type: select, options: [a, ]}", 6, "none", ""),
    ("{type: form}\n**L**\n{type: select, options: [a, '']}", 6, "error", "options holds an empty option"),
    ("{type: form}\n**L**\n{type: select, options: a}", 6, "error", "options must be a list of texts"),
    ("{type: form}\n**L**\n{type: select, options: [[a]]}", 6, "error", "options must be a list of texts"),
    ("{type: form}\n{type: text}", 5, "error", "this text has no label; write a line **Label** above it"),
    ("{type: form}\n**L** and more\n{type: text}", 6, "error", "no label"),
    ("{type: form}\n", 4, "error", "a form needs fields"),
    ("{type: ranking}\n- one", 4, "error", "a ranking needs at least two items"),
    ("{type: ranking}\n```\na\na\nb\n```", 4, "error", "the item 'a' stands there twice"),
    ("{type: selection}\n1. a\n2. b", 4, "error", "a selection needs items: a bullet list"),
    ("**L**\n{type: text}", 5, "error", "a text stands outside a form"),
    ("{type: information}\n**L**\n{type: select, options: [a]}", 6, "error", "a select stands outside a form"),
    ("{type: information, title: [a]}", 4, "error", "title must be text"),
    ("{type: information, title: a", 4, "error", "cannot be read: not valid YAML"),
    ('{type: select, options: ["a", "b"}', 4, "error", "cannot be read: not valid YAML"),
    ("{type: form, type: form}", 4, "error", "the key 'type' is given twice"),
    ("{type: form, a: &x 1, b: *x}", 4, "error", "anchors (&) and aliases (*) are not read"),
    ("{type: !!python/object:os.system form}", 4, "error", "the tag tag:yaml.org,2002:python/object"),
    ("{type: form, a: " + "[" * 100_000, 4, "error", "nested deeper than 16 levels"),
    ("> " * 25 + "a", 4, "error", "nested too deep"),
    ("{type: information, required: true}", 4, "warning", "`required` does nothing here"),
    ("{type: information, sets: a.b}", 4, "warning", "`sets` does nothing here"),
    ("{type: selection}\n- a\n  - b\n- c", 6, "warning", "part of a list but not an item"),
    ("{type: selection}\n- a\n-\n- c", 6, "warning", "part of a list but not an item"),
    ("{type: selection}\n- a\n\n* b", 7, "warning", "the items are those from line 5"),
    ("Words\n    {type: form}", 5, "warning", "this directive is indented"),
    ("{title: x, type: form}", 4, "warning", "`type` is the first key"),
    ("{type: information}}", 4, "warning", "'}' follows the directive"),
    ("{type: information}\n\n{type: text, required: true} # mine", 6, "warning", "'# mine' follows the directive"),
    ("{type: information} Read this", 4, "warning", "'Read this' follows the directive"),
    ("{type: int, size: 4} is what it says", 4, "none", ""),
    ("{type: [text]} is what it says", 4, "none", ""),
    ("```\n{type: information}", 4, "warning", "this code block is never closed"),
]


@pytest.mark.parametrize(("body", "line", "severity", "message"), FAULTS)
def test_a_fault_is_told_with_its_line(body: str, line: int, severity: str, message: str) -> None:
    problems = parse_page(HEAD + body, "x").problems
    if severity == "none":
        assert problems == []
        return
    assert [(problem.line, problem.severity) for problem in problems if message in problem.message] == [
        (line, severity)
    ]
    assert [problem for problem in problems if problem.severity == "error" and severity == "warning"] == []


def test_all_faults_are_told_at_once_in_the_order_of_their_lines() -> None:
    bodies = [(body, message) for body, _, severity, message in FAULTS if severity == "error" and "[[[" not in body]
    text = HEAD + "".join(f"\n## Section {number}\n\n{body}\n" for number, (body, _) in enumerate(bodies))
    problems = parse_page(text, "x").problems
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
    assert all(any(message in problem.message for problem in problems) for _, message in bodies)


@pytest.mark.parametrize(
    ("text", "line", "severity", "message"),
    [
        ("", 1, "error", "a page begins with front matter"),
        ("# Title\n", 1, "error", "a page begins with front matter"),
        ("---\ntitle: T\n", 1, "error", "the front matter is never closed"),
        ("---\n---\n", 1, "error", "the page needs a title"),
        ("---\n- title\n---\n", 1, "error", "the page needs a title"),
        ("---\nphase: 1\ntitle:\n---\n", 3, "error", "the page needs a title"),
        ("---\ntitle: [a]\n---\n", 2, "error", "title must be text"),
        ("---\ntitle: T\nphase: three\n---\n", 3, "error", "phase must be a whole number, not 'three'"),
        ("---\ntitle: T\nid: a/b\n---\n", 3, "error", "id must be letters"),
        ("---\ntitle: T: U\n---\n", 2, "error", "in the front matter: not valid YAML"),
        ("---\ntitle: &a T\nsubtitle: *a\n---\n", 2, "error", "anchors (&) and aliases (*) are not read"),
        ("---\ntitle: T\ncomponents: form\n---\n", 3, "error", "components must be a list of {type: ...}"),
        ("---\ntitle: T\nsubtitel: S\n---\n", 3, "warning", "unknown key 'subtitel' in the front matter; did you mean"),
        ("---\ntitle: T\ncomponents: [{type: form}]\n---\n", 3, "warning", "components lists form, which the page"),
        ("---\ntitle: T\ncomponents: []\n---\n{type: navigation}", 3, "warning", "components leaves out navigation"),
        ("---\ntitle: T\ncomponents: [{type: rank}]\n---\n", 3, "warning", "unknown type 'rank' in components; did"),
    ],
)
def test_a_fault_of_the_front_matter_is_told_with_its_line(text: str, line: int, severity: str, message: str) -> None:
    problems = parse_page(text, "x").problems
    assert (line, severity) in [(problem.line, problem.severity) for problem in problems if message in problem.message]


def test_a_page_with_an_error_is_refused_with_all_errors_and_one_with_a_warning_is_not() -> None:
    page = parse_page(HEAD + "{type: rankin}\n{type: forn}", "my.md")
    with pytest.raises(PageError) as caught:
        page.require()
    assert [fault.where for fault in caught.value.faults] == ["line 4", "line 5"]
    assert str(caught.value).startswith("The page my.md has 2 errors.")
    assert parse_page(HEAD + "{type: information, sets: a}", "x").require().ok


def test_bytes_that_are_not_utf8_are_told_with_their_line_beside_all_other_faults() -> None:
    problems = parse_page(HEAD.encode() + b"a\n\xff\xfeb\n{type: rankin}\n", "x").problems
    assert [(problem.line, problem.message[:40]) for problem in problems] == [
        (5, "byte 0xff at offset 19 is not UTF-8; sav"),
        (6, "unknown type 'rankin'; did you mean rank"),
    ]


@pytest.mark.parametrize("sign", ["\0", "\x1b", "\x7f", "\x9b", "\ud800"])
def test_control_characters_are_told_with_their_line_and_never_shown(sign: str) -> None:
    page = parse_page(f"{HEAD}a\n## b{sign}{sign}\n\nc{sign}\n", "x")
    assert [(problem.line, problem.severity) for problem in page.problems] == [(5, "error")]
    assert f"U+{ord(sign):04X} and 2 more" in page.problems[0].message
    assert (page.sections[1].title, page.sections[1].intro.text) == ("b\ufffd\ufffd", "c\ufffd")


def test_a_page_of_ten_megabytes_is_one_clear_error() -> None:
    page = parse_page(HEAD + "x" * 10_000_000, "x")
    assert [problem.message for problem in page.problems] == [
        "the page is longer than the 2 MB that a page may have; make several of it"
    ]


def test_a_list_of_a_hundred_thousand_items_is_one_clear_error() -> None:
    text = HEAD + "{type: selection}\n" + "".join(f"- {number}\n" for number in range(100_000))
    assert len(text) < MAX_BYTES
    assert [
        "more than the 100,000 that a page may have" in item.message for item in parse_page(text, "x").problems
    ] == [True]
    several = HEAD + "{type: ranking}\n```\n" + "".join(f"{number}\n" for number in range(MAX_LINES - 10)) + "```"
    page = parse_page(several, "x")
    assert [problem.message for problem in page.problems] == [
        f"{MAX_LINES - 10:,} items are more than the {MAX_ITEMS:,} that can be shown"
    ]
    assert len(page.components[0].choices) == MAX_ITEMS
    options = HEAD + "{type: form}\n**L**\n{type: select, options: [" + "a," * 100_000 + "]}"
    assert "options are 100,000, more than the 1,000" in parse_page(options, "x").problems[0].message


def test_an_alias_bomb_is_refused_where_it_begins() -> None:
    bomb = "a: &a [x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)
    )
    problems = parse_page(f"---\ntitle: T\n{bomb}---\n", "x").problems
    assert (problems[0].line, "anchors" in problems[0].message) == (3, True)


SLOW = {
    "opening brackets": "[" * 50_000,
    "images": "![" * 25_000,
    "emphasis": "*a _b " * 20_000,
    "backticks": "".join("`" * (number % 300) + " " for number in range(2_000)),
    "quotes": ">" * 50_000 + "a",
    "lazy quote": "> a\n" + "a\n" * 20_000,
    "definitions": "".join(f"[a{number}]: b\n" for number in range(10_000)),
    "open definitions": "[a\n" * 20_000,
    "two lists": "- a\n+ b\n" * 5_000,
    "stairs": "".join("  " * number + "- a\n" for number in range(500)),
    "broken directives": "{type: [\n" * 10_000,
    "keys": "{a" + ",type:" * 50_000 + "}",
    "labels": "**a**\n" * 20_000,
    "spaces": "{type:" + " " * 100_000 + "form" + " " * 100_000 + "x",
    "same title": "## A\n{type: information}\n" * 5_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_no_text_makes_the_parser_slow(name: str) -> None:
    """Each takes some tenths of a second; one that grew with the square of its length would take minutes."""
    started = time.process_time()
    parse_page(f"{HEAD}{{type: form}}\n{SLOW[name]}", "x")
    parse_page(f"{HEAD}{{type: selection}}\n- {SLOW[name]}", "x")
    assert time.process_time() - started < 20


def big_page(components: int = 1_000, size: int = 1_000_000) -> str:
    """A page of that many components of every kind, padded with prose, items and fields to that size."""
    each = [
        (
            "{{type: information, title: 'Part {n}'}}\n\n",
            "Some **prose** with a [link](https://example.org) and words.\n",
        ),
        ("{{type: selection, multiple: true}}\n\nWhich?\n\n", "- choice {m} (with a note)\n"),
        ("{{type: ranking}}\n\n```\n", "line {m} (with a note)\n"),
        ("{{type: form}}\n\n", '**Field {m}**\n{{type: select, options: ["1e-5 (Slow)", "{m} (Fast)", "Custom"]}}\n\n'),
    ]
    made = [HEAD]
    for number in range(components):
        opening, filler = each[number % len(each)]
        text = f"\n## Section {number}\n\n" + opening.format(n=number)
        while len(text) < size // components - 5:
            text += filler.format(m=len(text))
        made.append(text + ("```\n" if "ranking" in opening else ""))
    return "".join(made)


@pytest.mark.slow
@pytest.mark.heavy  # wall time: a machine at rest
def test_a_page_of_a_megabyte_with_a_thousand_components_checks_in_time_and_memory(tmp_path: Path) -> None:
    path = tmp_path / "big.md"
    path.write_text(big_page())
    assert path.stat().st_size >= 1_000_000
    code = (
        "import resource, sys; from tunebook.pages.catalog import load_page; page = load_page(sys.argv[1]);"
        "used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(len(page.components), len(page.problems), used.ru_utime + used.ru_stime, used.ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    components, problems, seconds, kilobytes = done.stdout.split()
    assert (components, problems) == ("1000", "0")
    assert float(seconds) < 2
    assert int(kilobytes) < 300_000
