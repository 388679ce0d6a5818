"""What looks like a secret or like personal data, counted by kind. The text itself is never kept, shown or logged.

Secrets: the patterns of the library detect-secrets, and a few services that it does not know. Personal data: the small
table below; numbers are checked by their check digits. Every pattern is tried only where one of its anchors occurs.
"""

from __future__ import annotations

import bisect
import importlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

_SEPARATOR = "\n\x1e\n"
# Digits become 0, capital letters A; everything else stays.
_SHAPE = bytes(48 if chr(code).isdecimal() and code < 128 else 65 if 65 <= code <= 90 else code for code in range(256))
# plugin of detect-secrets -> (class, kind as shown, anchors of which one must occur)
_PLUGINS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "aws": ("AWSKeyDetector", "AWS key", ("A3T", "ABIA", "ACCA", "AKIA", "ASIA")),
    "azure_storage_key": ("AzureStorageKeyDetector", "Azure storage key", ("AccountKey=",)),
    "basic_auth": ("BasicAuthDetector", "password in an address", ("://",)),
    "github_token": ("GitHubTokenDetector", "GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
    "gitlab_token": ("GitLabTokenDetector", "GitLab token", ("glpat-", "gldt-", "glft-", "glrt-", "glptt-", "glcbt-")),
    "jwt": ("JwtTokenDetector", "JSON web token", ("eyJ",)),
    "npm": ("NpmDetector", "npm token", ("_authToken",)),
    "openai": ("OpenAIDetector", "OpenAI key", ("T3BlbkFJ",)),
    "private_key": ("PrivateKeyDetector", "private key", ("PRIVATE KEY", "PuTTY-User-Key-File")),
    "pypi_token": ("PypiTokenDetector", "PyPI token", ("pypi-Ag",)),
    "sendgrid": ("SendGridDetector", "SendGrid key", ("SG.",)),
    "slack": ("SlackDetector", "Slack token", ("xox", "hooks.slack.com")),
    "square_oauth": ("SquareOAuthDetector", "Square token", ("sq0csp-",)),
    "stripe": ("StripeDetector", "Stripe key", ("sk_live_", "rk_live_")),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of private text: its patterns, the anchors, and a test of what a pattern finds.

    An anchor stands in the text, or, where its letters are A and its digits 0, in the shape of the text.
    """

    name: str
    patterns: tuple[re.Pattern[str], ...]
    anchors: tuple[str, ...] = ()
    shapes: tuple[bytes, ...] = ()
    holds: Callable[[str], bool] = bool

    def count(self, text: str) -> int:
        """How many there are in `text`."""
        return sum(self.holds(match.group()) for pattern in self.patterns for match in pattern.finditer(text))


def _luhn(text: str) -> bool:
    """The check digit of payment cards."""
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1


def _iban(text: str) -> bool:
    """The check digits of bank account numbers (ISO 13616)."""
    plain = text.replace(" ", "")
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


_PERSONAL = (
    Kind(
        "email address",
        (re.compile(r"(?:(?<=mailto:)|(?<![\w.+:/-]))[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63}){1,4}"),),
        ("@",),
    ),
    Kind(
        "telephone number",
        (
            re.compile(r"(?<![\w+])\+\d{1,3}[ .-]\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4}(?!\w)"),
            re.compile(r"(?<![\w+-])\(?[2-9]\d\d\)?[ .-]{1,2}[2-9]\d\d[.-]\d{4}(?![\w-])"),
        ),
        shapes=(
            b"000-0000",
            b"000.0000",
            b"+0 ",
            b"+0-",
            b"+0.",
            b"+00 ",
            b"+00-",
            b"+00.",
            b"+000 ",
            b"+000-",
            b"+000.",
        ),
    ),
    Kind(
        "payment card",
        (re.compile(r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w.-]?\w)"),),
        shapes=(b"0000 0000 0", b"0000-0000-0", b"0000 000000 0", b"0000000000000"),
        holds=_luhn,
    ),
    Kind(
        "bank account",
        (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),),
        shapes=(b"AA00",),
        holds=_iban,
    ),
    Kind(
        "social security number",
        (re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])"),),
        shapes=(b"000-00-0000",),
    ),
)
PERSONAL = frozenset(kind.name for kind in _PERSONAL)
_MORE_SECRETS = (
    Kind("GitHub token", (re.compile(r"github_pat_\w{22,255}"),), ("github_pat_",)),
    Kind("Hugging Face token", (re.compile(r"\bhf_[A-Za-z0-9]{30,40}\b"),), ("hf_",)),
    Kind("Google key", (re.compile(r"\bAIza[\w-]{35}"),), ("AIza",)),
    Kind("Anthropic key", (re.compile(r"\bsk-ant-[\w-]{20,}"),), ("sk-ant-",)),
    Kind(
        "key that begins with sk-",
        (re.compile(r"\bsk-(?!ant-)(?![\w-]*T3BlbkFJ)[A-Za-z0-9-]{0,5}[A-Za-z0-9]{32,}"),),
        ("sk-",),
    ),
)


@cache
def kinds() -> tuple[Kind, ...]:
    """Everything that is looked for."""
    library = []
    for module, (name, shown, anchors) in _PLUGINS.items():
        plugin = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)
        library.append(Kind(shown, tuple(plugin.denylist), anchors))
    return (*library, *_MORE_SECRETS, *_PERSONAL)


def find_private(texts: Sequence[str]) -> list[tuple[int, str, int]]:
    """(place of the text, kind, how many) for every text and kind found in it."""
    joined = _SEPARATOR.join(texts)
    shape = joined.encode("latin-1", "replace").translate(_SHAPE)
    ends = list(itertools.accumulate(len(text) + len(_SEPARATOR) for text in texts))
    found = []
    for kind in kinds():
        starts = itertools.chain(_places(joined, kind.anchors), _places(shape, kind.shapes))
        for row in sorted({bisect.bisect_right(ends, start) for start in starts}):
            if count := kind.count(texts[row]):
                found.append((row, kind.name, count))
    return found


def _places(text: Any, anchors: Sequence[Any]) -> Iterator[int]:
    for anchor in anchors:
        place = text.find(anchor)
        while place >= 0:
            yield place
            place = text.find(anchor, place + 1)
