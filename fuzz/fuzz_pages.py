"""Feed a page's parser, its HTML and its answers with bytes that a fuzzer makes up.

    pip install -e '.[fuzz]'
    python fuzz/fuzz_pages.py -max_total_time=600 -dict=fuzz/pages.dict CORPUS

CORPUS is a folder that collects what reached new code; copies of the built-in pages are a good start. What is checked
beyond "nothing is raised": JSON comes out, ids are unique and safe, lines exist, HTML holds no dangerous thing, and
the default answers of a page without errors are accepted by it.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["tunebook.pages", "markdown_it", "yaml"]):
    from tunebook.pages.answers import check_answers, default_answers, dump_answers
    from tunebook.pages.order import check_order
    from tunebook.pages.parser import parse_page
    from tunebook.pages.safe_yaml import YamlFault, read

from tests.pages.naughty import dangers


def one_page(data: bytes) -> None:
    """Everything that may happen to a page that somebody else wrote."""
    page = parse_page(data, "fuzz")
    json.dumps(page.to_json())
    lines = data.count(b"\n") + data.count(b"\r") + 1
    assert all(1 <= problem.line <= lines for problem in page.problems), page.problems
    for section in page.sections:
        for prose in (section.intro, *(component.prose for component in section.components)):
            assert not dangers(prose.html()), prose.text
    ids = [part.id for part in page.parts]
    assert all(sign.isalnum() or sign in "-_" for name in ids for sign in name), ids
    if page.ok:
        assert len(set(ids)) == len(ids), ids
        answers = default_answers(page)
        faults = check_answers(page, answers)[1]
        assert all(
            "is required and has no answer" in fault.message or fault.where.endswith(".custom") for fault in faults
        )
        read(dump_answers(page, answers))


def one_input(data: bytes) -> None:
    """One input of the fuzzer: a page as it is, a page behind a good front matter, YAML, an order."""
    one_page(data)
    one_page(b"---\ntitle: T\n---\n" + data)
    text = data.decode(errors="surrogateescape")
    with suppress(YamlFault):
        read(text)
    json.dumps(check_order(text.split("\n")).to_json())


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
