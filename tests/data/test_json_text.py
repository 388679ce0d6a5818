"""The JSON layer takes what the standard takes and refuses what it refuses (cases in the manner of JSONTestSuite)."""

from __future__ import annotations

import contextlib

import pytest

from tunebook.data.json_text import BadJSON, parse_json

ACCEPT = {
    "array arrays with spaces": b"[[]   ]",
    "array empty": b"[]",
    "array heterogeneous": b'[null, 1, "1", {}]',
    "array with leading space": b" [1]",
    "array with trailing space": b"[2] ",
    "number": b"[123e65]",
    "number 0e+1": b"[0e+1]",
    "number after space": b"[ 4]",
    "number close to zero": b"[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]",
    "number minus zero": b"[-0]",
    "number capital exponent": b"[1E22]",
    "number negative exponent": b"[1E-2]",
    "object": b'{"asd":"sdf", "dfg":"fgh"}',
    "object empty key": b'{"":0}',
    "object escaped null in key": b'{"foo\\u0000bar": 42}',
    "object extremes": b'{ "min": -1.0e+28, "max": 1.0e+28 }',
    "object with newlines": b'{\n"a": "b"\n}',
    "string escapes": b'["\\"\\\\\\/\\b\\f\\n\\r\\t"]',
    "string surrogate pair": b'["\\uD801\\udc37"]',
    "string backslash and u escaped zero": b'["\\\\u0000"]',
    "string noncharacter": b'["\\uFFFF"]',
    "string utf-8": '["€𝄞"]'.encode(),
    "string unescaped delete character": b'["a\x7fa"]',
    "string u2028": b'["\xe2\x80\xa8"]',
    "structure lonely false": b"false",
    "structure lonely int": b"42",
    "structure lonely string": b'"asd"',
    "structure string empty": b'""',
    "structure whitespace array": b" \t\r\n[] ",
    "true in array": b"[true]",
}
REFUSE = {
    "array 1 true without comma": b"[1 true]",
    "array colon instead of comma": b'["": 1]',
    "array comma after close": b'[""],',
    "array double comma": b"[1,,2]",
    "array extra comma": b'["",]',
    "array incomplete": b'["x"',
    "array just minus": b"[-]",
    "array newlines unclosed": b'["a",\n4\n,1,',
    "incomplete false": b"[fals]",
    "number ++": b"[++1234]",
    "number +1": b"[+1]",
    "number -01": b"[-01]",
    "number .-1": b"[.-1]",
    "number 0.e1": b"[0.e1]",
    "number 1eE2": b"[1eE2]",
    "number 2.": b"[2.]",
    "number hex": b"[0x1]",
    "number leading zero": b"[012]",
    "number NaN": b"[NaN]",
    "number Infinity": b"[Infinity]",
    "number minus Infinity": b"[-Infinity]",
    "number nan lower case": b"[nan]",
    "number fullwidth digit": "[１]".encode(),
    "object bracket key": b'{[: "x"}\n',
    "object comma instead of colon": b'{"x", null}',
    "object emoji": "{🇨🇭}".encode(),
    "object key without quotes": b'{a: "b"}',
    "object single quotes": b"{'a':0}",
    "object trailing comma": b'{"id":0,}',
    "object trailing comment": b'{"a":"b"}/**/',
    "object unquoted key": b'{a: "b"}',
    "object with a single string": b'{ "foo" : "bar", "a" }',
    "object twice": b'{"a":1}{"b":2}',
    "single space": b" ",
    "string 1 surrogate then escape u": b'["\\uD800\\u"]',
    "string incomplete escape": b'["\\"]',
    "string incomplete hex": b'["\\u00A"]',
    "string invalid escape": b'["\\a"]',
    "string raw newline": b'["new\nline"]',
    "string raw tab": b'["\t"]',
    "string raw nul": b'["a\x00a"]',
    "string unquoted": b"[abc]",
    "string single doublequote": b'"',
    "structure angle bracket": b"<.>",
    "structure asterisk at end": b"[][",
    "structure BOM without data": b"\xef\xbb\xbf",
    "structure form feed": b"[\x0c]",
    "structure no data": b"",
    "structure open array object": b'[{"":' * 50_000,
    "structure 100000 opening arrays": b"[" * 100_000,
    "structure unclosed object": b'{"asd":"asd"',
    "structure unicode identifier": "å".encode(),
    "structure no-break space": b"[\xc2\xa0]",
    "structure uppercase True": b"[True]",
    "invalid utf-8 in number": b"[123\xe5]",
    "string invalid utf-8": b'["\xff"]',
    "string overlong utf-8": b'["\xc0\xaf"]',
    "string encoded surrogate": b'["\xed\xa0\x80"]',
    "string truncated utf-8": b'["\xe0\xff"]',
}
# The standard leaves these open: no crash, and either answer.
EITHER = {
    "number double huge negative exponent": b"[123.456e-789]",
    "number huge exponent": b"[0.4e" + b"0" * 60 + b"669999]",
    "number very big integer": b"[" + b"9" * 6000 + b"]",
    "string lone high surrogate": b'["\\uDADA"]',
    "string inverted surrogates": b'["\\uDd1e\\uD834"]',
    "string utf-16": b'[\x00"\x00\xe9\x00"\x00]\x00',
    "structure 500 nested arrays": b"[" * 500 + b"]" * 500,
    "structure BOM and empty object": b"\xef\xbb\xbf{}",
}


@pytest.mark.parametrize("name", ACCEPT)
def test_valid_json_is_read(name):
    parse_json(ACCEPT[name])


@pytest.mark.parametrize("name", REFUSE)
def test_invalid_json_is_refused_with_a_reason(name):
    with pytest.raises(BadJSON) as refused:
        parse_json(REFUSE[name])
    assert refused.value.code in ("bad_json", "bad_utf8", "not_finite", "too_deep")
    assert len(refused.value.message) > 10


@pytest.mark.parametrize("name", EITHER)
def test_what_the_standard_leaves_open_does_not_crash(name):
    with contextlib.suppress(BadJSON):
        parse_json(EITHER[name])


def test_a_key_that_stands_twice_is_named():
    with pytest.raises(BadJSON) as refused:
        parse_json('{"a": {"b": 1, "c": 2, "b": 3}}')
    assert refused.value.code == "duplicate_key"
    assert "'b'" in refused.value.message
