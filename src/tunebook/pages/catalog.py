"""Where pages come from: a file, or one of the pages that come with Tunebook."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tunebook.errors import PageError
from tunebook.pages.names import nearest, plain
from tunebook.pages.page import Page
from tunebook.pages.parser import MAX_BYTES, parse_page

LIBRARY = Path(__file__).parent / "library"


def load_page(name: str | Path) -> Page:
    """The page in the file `name`, or the built-in page with that file stem, id or title.

    Problems of the page stand in `Page.problems`. PageError when there is no such page or it cannot be read.
    """
    path = Path(name)
    if path.exists():
        return parse_page(read_source(path), str(name))
    found = find_page(str(name))
    if found is not None:
        return found
    near = nearest(str(name), library_names())
    raise PageError(
        f"'{name}' is neither a file nor the name of a built-in page{near}.".replace("?.", "?"),
        do="Give the path of a page.",
    )


def read_source(path: Path) -> bytes:
    """The bytes of a page's file, no more than show that it is too long. PageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PageError(f"The page {path} cannot be read ({reason}).", do="Give the path of a page.") from error


def library_names() -> list[str]:
    """The file stems of the built-in pages, in order."""
    return sorted(path.stem for path in LIBRARY.glob("*.md"))


def find_page(name: str) -> Page | None:
    """The built-in page with that file stem, id or title (case and punctuation aside); None when there is none.

    What a navigation's `previous` and `next` name is found in the same way.
    """
    if name in library_names():
        return _built_in(name)
    pages = map(_built_in, library_names())
    return next((page for page in pages if name == page.id or plain(name) == plain(page.title)), None)


@cache
def _built_in(stem: str) -> Page:
    return parse_page(read_source(LIBRARY / f"{stem}.md"), stem)
