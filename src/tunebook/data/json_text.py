"""JSON as its standard (RFC 8259) has it: no NaN, no key twice, UTF-8 only, nothing after the value.

Python's own parser is lenient in four ways (NaN and Infinity, the last of equal keys wins, a RecursionError on deep
nesting, a limit on digits); each becomes a plain fault here.
"""

from __future__ import annotations

import json
from typing import Any

BOM = b"\xef\xbb\xbf"


class BadJSON(ValueError):
    """`code` is one of the gate's problem codes, `message` a plain clause without the place."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def parse_json(data: bytes | str) -> Any:
    """The one value in `data`. Raises BadJSON: bad_utf8, bad_json, not_finite, duplicate_key or too_deep."""
    text = decode(data) if isinstance(data, bytes) else data
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BadJSON("bad_json", f"not valid JSON: {explain(error)}") from None
    except RecursionError:
        raise too_deep() from None


def from_json_text(value: Any) -> Any:
    """`value`, parsed when it is the JSON text of a list or an object, as cells of a CSV file hold it."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return parse_json(value)
        except BadJSON:
            return value
    return value


def decode(data: bytes) -> str:
    """Text of UTF-8 bytes; BadJSON says which byte is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise BadJSON("bad_utf8", f"not UTF-8 text: byte 0x{byte:02x} at position {error.start + 1}") from None


def explain(error: json.JSONDecodeError) -> str:
    """What Python's parser found, with the column in place of the offset."""
    return f"{error.msg[0].lower()}{error.msg[1:]} at column {error.colno}"


def too_deep() -> BadJSON:
    """The fault of a value nested deeper than the parser can follow."""
    return BadJSON("too_deep", "brackets are nested too deep to read")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadJSON("duplicate_key", f"the key {twice!r} stands twice in one object")
    return result


def _constant(name: str) -> Any:
    raise BadJSON("not_finite", f"{name} is not a JSON value; write null or a number")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 4300 else float(digits)


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)
