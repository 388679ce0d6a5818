"""JSON Lines and JSON arrays, row by row: a bad row is a Problem with its line, and reading goes on behind it."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tunebook.data.conversation import Problem, Row
from tunebook.data.json_text import BOM, DECODER, BadJSON, explain, parse_json, too_deep
from tunebook.errors import DataError

MAX_ROW_BYTES = 16 * 2**20
_PIECE = 2**20
# Keys of a turn: a list of turns is one row, not a list of rows.
_TURN = {"role", "from", "speaker"}
_SPACE = " \t\r\n"


def read_jsonl(path: Path) -> Iterator[Row | Problem]:
    """Rows of a file with one JSON object a line. Blank lines are passed over; CRLF and a leading BOM are no fault."""
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), 1):
            if isinstance(line, int):
                limit = MAX_ROW_BYTES // 2**20
                yield Problem(number, "line_too_long", f"the line is {line:,} bytes long; {limit} MB is the limit")
                continue
            text = line.removeprefix(BOM) if number == 1 else line
            if text.strip():
                yield _row(number, text)


def _row(number: int, line: bytes) -> Row | Problem:
    try:
        value = parse_json(line.rstrip(b"\r\n"))
    except BadJSON as error:
        return Problem(number, error.code, error.message, raw=line)
    return as_row(number, value)


def as_row(number: int, value: Any) -> Row | Problem:
    """The row, if `value` is an object."""
    if isinstance(value, dict):
        return Row(number, value)
    return Problem(number, "not_object", f"the row is {kind_of(value)}, not an object with named columns", raw=value)


def kind_of(value: Any) -> str:
    """What JSON calls the type of `value`, with its article."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "a truth value"
    names = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def _lines(file: BinaryIO) -> Iterator[bytes | int]:
    """Each line, or the length in bytes of one that is too long to hold in memory."""
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) <= MAX_ROW_BYTES or line.endswith(b"\n"):
            yield line
            continue
        length = len(line)
        while not line.endswith(b"\n") and (line := file.readline(_PIECE)):
            length += len(line)
        yield length


def read_json(path: Path) -> Iterator[Row | Problem]:
    """Rows of a file that holds one JSON array of objects, read in pieces so that memory does not grow with the file.

    An object with exactly one list of objects in it (`{"data": [...]}`) is taken as that list. A fault in the array's
    own syntax is a DataError with its place: nothing behind it can be trusted to be a row.
    """
    with path.open("rb") as file:
        text = _Text(file, path)
        if text.peek() == "[":
            yield from _array(text)
            return
    yield from _wrapped(path)


def _array(text: _Text) -> Iterator[Row | Problem]:
    text.take("[")
    number = 0
    while text.peek() != "]":
        number += 1
        if number > 1:
            text.take(",")
        value = text.value(number)
        yield value if isinstance(value, Problem) else as_row(number, value)
    text.take("]")
    if rest := text.peek():
        raise text.fault(f"{rest!r} follows the end of the array")


def _wrapped(path: Path) -> Iterator[Row | Problem]:
    if path.stat().st_size > 16 * MAX_ROW_BYTES:
        raise DataError(f"{path} is not a JSON array, and too big to read whole.", do="Save it as JSON Lines.")
    try:
        value = parse_json(path.read_bytes().removeprefix(BOM))
    except BadJSON as error:
        raise DataError(f"{path} is {error.message}.", do="Mend the file, or save it as JSON Lines.") from None
    lists = [item for item in value.values() if isinstance(item, list)] if isinstance(value, dict) else []
    if len(lists) == 1 and lists[0] and isinstance(lists[0][0], dict) and not _TURN & set(lists[0][0]):
        for number, item in enumerate(lists[0], 1):
            yield as_row(number, item)
    elif isinstance(value, dict):
        yield Row(1, value)
    else:
        raise DataError(f"{path} holds {kind_of(value)}, not rows.", do="Give an array of objects, or JSON Lines.")


class _Text:
    """A window on a UTF-8 file, out of which JSON values are taken one at a time."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self._text, self._at, self._lines, self._ended = "", 0, 1, False

    def _more(self, size: int = _PIECE) -> bool:
        """Read on, dropping what was taken; False at the end of the file."""
        self._lines += self._text.count("\n", 0, self._at)
        data = self._file.read(size)
        self._ended = not data
        self._text = self._text[self._at :] + self._decode(data, final=self._ended)
        self._at = 0
        return not self._ended

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended or not self._more() and not self._text:
                return ""

    def take(self, character: str) -> None:
        """Pass over `character`, which must come next."""
        if (found := self.peek()) != character:
            raise self.fault(f"{character!r} was expected, not {found!r}" if found else "the file ends in mid-array")
        self._at += 1

    def value(self, number: int) -> Any:
        """The next value; a Problem when it is a whole value that may not stand there."""
        self.peek()
        size = _PIECE
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._ended and len(self._text) - self._at <= MAX_ROW_BYTES:
                    size *= 2
                    self._more(size)
                    continue
                raise self.fault(explain(error).rpartition(" at ")[0], error.pos) from None
            except BadJSON as error:
                return self._skip(number, error)
            except RecursionError:
                raise self.fault(too_deep().message) from None
            if end == len(self._text) and not self._ended:
                self._more()
                continue
            piece, self._at = self._text[self._at : end], end
            if not piece.isascii() and any("\udc80" <= char <= "\udcff" for char in piece):
                return Problem(number, "bad_utf8", "not UTF-8 text", raw=piece)
            return value

    def _skip(self, number: int, error: BadJSON) -> Problem:
        """Step over a value that Python's lenient parser can read and ours refuses."""
        while True:
            try:
                _, end = json.JSONDecoder().raw_decode(self._text, self._at)
                break
            except json.JSONDecodeError as fault:
                if self._ended:
                    raise self.fault(explain(fault).rpartition(" at ")[0], fault.pos) from None
                self._more()
        piece, self._at = self._text[self._at : end], end
        return Problem(number, error.code, error.message, raw=piece)

    def fault(self, what: str, at: int | None = None) -> DataError:
        """The DataError for a fault at the place reached, or at `at`."""
        line = self._lines + self._text.count("\n", 0, self._at if at is None else at)
        return DataError(
            f"{self._path} is not valid JSON: line {line}: {what}.", do="Mend it, or save it as JSON Lines."
        )
