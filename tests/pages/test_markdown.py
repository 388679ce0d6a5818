"""Prose is CommonMark as the library renders it, with raw HTML as text and few kinds of links."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.pages.naughty import TEXTS, dangers
from tunebook.pages import markdown
from tunebook.pages import outline as outlines
from tunebook.pages.items import make_item
from tunebook.pages.markdown import plain_text, render_html
from tunebook.pages.outline import outline
from tunebook.pages.parser import parse_page

# One or more examples of each kind of construct in the CommonMark specification.
EXAMPLES = [
    "\tcode\n\n a\ttab",
    "a\\*b \\# \\! \\\\ \\a \\\nc",
    "&amp; &copy; &#35; &#x22; &nosuch; &#0; &#x110000;",
    "***\n---\n___\n\n- - -\n\n+++",
    "# one\n## two ##\n###### six\n####### seven\n#none\n#\n# x \\#",
    "Title\n===\n\nOther\n---\n\nTwo\nlines\n---",
    "    code\n\n      more\n\n\n    end\ntext",
    "text\n    not code",
    "```\na\n\nb\n```\n\n~~~ python startline=3\nx = '<'\n~~~\n\n````\n```\n````\n\n```\nopen",
    "<table><tr><td>\n*hi*\n</td></tr></table>\n\n<!-- c -->\n\n<div>\n\n*x*\n\n</div>",
    '[foo]: /url "title"\n\n[foo]',
    "[Foo bar]:\n   <my url>\n   'two\nlines'\n\n[foo  BAR]",
    "[a]: b\n[a]: c\n\n[a] [A] [nope]",
    "one\ntwo\n\n  three\n   four",
    "> quote\n> more\nlazy\n\n> > nested\n\n>no space\n\n> - list\n> - in",
    "- a\n- b\n\n  para\n\n      code\n- c",
    "1. one\n2. two\n7) seven\n\n10. ten\n\n-1. no",
    "- tight\n- list\n\n\n- loose\n\n* other",
    "- a\n  - b\n    - c\n      1. d\n\n     text",
    "-\n- \n-\n  x",
    "`code` ``a ` b`` ` ` `` `` `open",
    "*em* _em_ **st** __st__ ***both*** *a **b** c* **a *b* c**",
    "a*b*c a_b_c _a_b __a__b *a b_ ** a** *a **b*",
    '*(*a*)* **"a"**b _(a)_ 5*6*78',
    '[link](/uri "title") [l](<a b>) [l](a(b)c) [l]() [l](a "t\\"t")',
    "[a [b] c](d) [a](b [c](d)) ![a [b](c)](d) [![x](y)](z)",
    "[full][r] [r][] [r] [R]  [nope][]\n\n[r]: /r 'T'",
    '![alt *em*](/src "t") ![r][r] ![r]\n\n[r]: x',
    "<https://example.org/?a=b&c=d> <HTTP://X> <a@b.example> <not a link> <mailto:a@b>",
    "<a href='x'> <b2/> </c> <!-- d --> <?e?> <!F> <![CDATA[g]]> text",
    "hard  \nbreak\\\nhere\nsoft",
    "Tab\tand\u00a0space, «ünï» 学 🙂 \u2028line",
    "  \n\n \n",
    "",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_prose_renders_as_the_library_says(text: str) -> None:
    assert render_html(text) == MarkdownIt("commonmark", {"html": False}).render(text)


@given(st.text(alphabet=st.sampled_from("ab *_`[]()<>!#-+.1\n\\\"'&:/>~=|\t"), max_size=120))
def test_any_prose_renders_as_the_library_says_where_links_are_allowed(text: str) -> None:
    library = MarkdownIt("commonmark", {"html": False})
    library.validateLink = markdown._PROSE.validateLink  # type: ignore[method-assign]
    assert render_html(text) == library.render(text)


@pytest.mark.parametrize(
    ("address", "opens"),
    [
        ("https://example.org/a:b", True),
        ("HTTP://example.org", True),
        ("mailto:a@example.org", True),
        ("page.md", True),
        ("../a/b?c=d:e", True),
        ("/a:b", True),
        ("#part:2", True),
        ("//example.org", True),
        ("javascript:alert(1)", False),
        ("JAVASCRIPT:alert(1)", False),
        ("data:image/png;base64,AA", False),
        ("ftp://example.org", False),
        ("file:///etc/passwd", False),
        ("tel:1", False),
    ],
)
def test_links_open_only_what_is_allowed(address: str, opens: bool) -> None:
    assert (f'<a href="{address}">' in render_html(f"[x]({address})")) == opens
    assert ("<img " in render_html(f"![x]({address})")) == opens


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_becomes_more_than_text(text: str) -> None:
    for around in ("{}", "a {} b", "*{}*", "[{}](/x)", "- {}", "> {}", "# {}", "![{}](/x)", '[x](/y "{}")', "`{}`"):
        assert dangers(render_html(around.format(text) if "{" not in text else text)) == []


def test_the_finder_of_dangers_finds_them() -> None:
    library = MarkdownIt("commonmark", {"html": True})
    library.validateLink = lambda url: True  # type: ignore[method-assign]
    found = [text for text in TEXTS if dangers(library.render(text))]
    assert len(found) > len(TEXTS) / 2


POSITIONS = """\
---
title: {text}
subtitle: {text}
---

{raw}

## {line}

{raw}

{{type: information, title: {text}, icon: {text}}}

{raw}

{{type: ranking, title: {text}}}

{raw}

```
{line}
other
```

{raw}

{{type: selection, title: {text}}}

{raw}

- {line}
- other

{raw}

{{type: form, title: {text}}}

{raw}

### {line}

{raw}

**{line}**

{raw}

{{type: select, options: [{text}, b]}}

**Label**
{{type: textarea, placeholder: {text}}}

{raw}

{{type: navigation, previous: {text}, next: {text}}}

{raw}
"""


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_position_of_a_page_lets_anything_through(text: str) -> None:
    """Prose becomes safe HTML; ids hold letters, digits, - and _ only; everything else stays text for the template."""
    line = " ".join(text.split())
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\x01", "") + '"'
    page = parse_page(POSITIONS.format(text=quoted, line=line, raw=text), "x")
    assert page.sections
    for section in page.sections:
        proses = [section.intro]
        for component in section.components:
            proses += [component.prose, component.after]
            for group in getattr(component, "groups", ()):
                proses += [group.prose, group.after, *(field.help for field in group.fields)]
                proses += [field.before for field in group.fields]
        assert [danger for prose in proses for danger in dangers(prose.html())] == []
    ids = [page.id] + [part.id for part in page.parts] + [item.id for part in page.parts for item in part.choices]
    assert all(sign.isalnum() or sign in "-_" for name in ids for sign in name)
    assert all(getattr(part, "icon", "") in ("", "clock") for part in page.parts)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("**a** *b* `c` [d](e) ![f](g)", "a b c d f"),
        ("a &amp; b \\* c", "a & b * c"),
        ("<b>x</b>", "<b>x</b>"),
        ("a  \nb\\\nc", "a b c"),
        ("  a \t b ", "a b"),
    ],
)
def test_plain_text_is_what_a_line_says(source: str, text: str) -> None:
    assert plain_text(source) == text


@pytest.mark.parametrize(
    ("text", "label", "note"),
    [
        ("4 (Small/Limited GPU)", "4", "Small/Limited GPU"),
        ("Label", "Label", ""),
        ("a (b) c", "a (b) c", ""),
        ("a (b) (c)", "a (b)", "c"),
        ("a (b (c))", "a", "b (c)"),
        ("f(x)", "f(x)", ""),
        ("(only)", "(only)", ""),
        ("a)", "a)", ""),
        ("a ()", "a", ""),
        ("10+ (Deep)", "10+", "Deep"),
    ],
)
def test_a_label_is_split_from_its_note(text: str, label: str, note: str) -> None:
    item = make_item(text)
    assert (item.text, item.label, item.note) == (text, label, note)


_LINES = """\
- a|- b (c)|- **d** [e](f)|* g|+ h|-|  i|    j||k|---|- - l|1. m|> n|- 1. o|- # p|-  q|- `r`|```|{type: x}|  - s"""


@settings(max_examples=200)
@given(st.lists(st.sampled_from(_LINES.split("|")), max_size=12))
def test_the_fast_way_for_plain_lists_gives_what_the_library_gives(lines: list[str]) -> None:
    directives = [number for number, line in enumerate(lines) if line == "{type: x}"]
    fast = outline(lines, directives)
    rules = outlines._PAGE.block.ruler
    rules.disable("plain_list")
    try:
        plain = outline(lines, directives)
    finally:
        rules.enable("plain_list")
    for block in fast.blocks + plain.blocks:
        while block.kind == "bullets" and block.end > block.start and not lines[block.end - 1].strip():
            block.end -= 1  # the library counts the empty lines after a list
    assert fast == plain


def test_every_pair_of_blocks_keeps_its_lines() -> None:
    blocks = {"paragraph": "word", "fence": "```\nx\n```", "bullets": "- a\n- b", "numbers": "1. a", "heading": "# h"}
    for (one, first), (two, second) in product(blocks.items(), repeat=2):
        lines = f"{first}\n\n\n{second}".split("\n")
        if one == two and one in ("bullets", "numbers"):
            continue  # one loose list
        found = outline(lines, []).blocks
        assert [block.kind for block in found] == [one, two]
        assert "\n".join(lines[found[1].start : found[1].end]) == second
