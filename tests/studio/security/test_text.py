"""Text that templates or spreadsheets would run stays text."""

from __future__ import annotations

import re

from tests.studio.security.conftest import SOURCE

TEMPLATES = [
    "{{ 7*7 }}",
    "{{ ''.__class__.__mro__ }}",
    "{% for x in range(10**9) %}{% endfor %}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
]


def test_text_that_looks_like_a_template_is_shown_as_it_stands(client, place):
    for text in TEMPLATES:
        (place.folder / "mine.md").write_text(
            f"---\ntitle: '{text.replace(chr(39), chr(39) * 2)}'\n---\n## A\n\n{text}\n"
        )
        shown = client.get("/pages/own-mine").text
        assert "49" not in re.sub(r"\d{3,}", "", shown)
        assert text.replace("'", "&#39;").replace("<", "&lt;").replace(">", "&gt;") in shown


def test_no_csv_is_written_so_no_spreadsheet_runs_a_cell(client):
    """A formula in a cell has nowhere to go: rows leave the studio as JSON alone."""
    assert not [
        path.name for path in SOURCE.rglob("*.py") if re.search(r"csv\.(writer|DictWriter)|to_csv", path.read_text())
    ]
    described = client.get("/api/openapi.json").text
    assert "text/csv" not in described
    assert client.get("/api/runs/done-1/metrics").headers["content-type"] == "application/json"
