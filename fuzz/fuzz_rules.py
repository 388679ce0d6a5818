"""Feed the rule reader with texts that a fuzzer makes up.

    pip install -e '.[fuzz]'
    python fuzz/fuzz_rules.py -max_total_time=600 CORPUS

CORPUS is a folder that collects what reached new code; it is filled from the test table when it is empty. What is
checked beyond "nothing is raised": the same text gives the same reading, sources are pieces of the text, rules are
finite and come back from JSON, and no idea in the text is lost without a word.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["tunebook.plan.rules"]):
    from tests.plan.phrases import table

    from tunebook.plan.files import make_plan
    from tunebook.plan.rules import Reading, read_rules
    from tunebook.plan.rules.items import sentences
    from tunebook.plan.rules.judge import BESIDE
    from tunebook.plan.rules.makers import Purpose

PURPOSES: tuple[Purpose, ...] = ("stopping", "overfitting", "quality")


def one_text(text: str, purpose: Purpose) -> None:
    """Everything that is promised of any text."""
    reading = read_rules(text, purpose)
    assert read_rules(text, purpose) == reading
    value = json.loads(json.dumps(reading.to_json(), allow_nan=False))
    make_plan({"model": {"name": "x"}, "data": {"path": "x"}, "stopping": {"rules": value["rules"]}})
    pieces = pieces_of(reading)
    assert all(piece in text for piece in pieces), pieces
    told = [piece.lower() for piece in pieces]
    for sentence in sentences(text):
        for item in sentence:
            said = text[item.start : item.end].lower()
            assert item.kind in BESIDE or any(said in piece for piece in told), said


def pieces_of(reading: Reading) -> list[str]:
    """Every piece of the text that the reading gives an account of."""
    said = [item.source for item in (*reading.rules, *reading.settings)]
    return [*said, *reading.not_understood, *reading.adds_nothing]


def one_input(data: bytes) -> None:
    """One input of the fuzzer: the first byte chooses the question."""
    text = data[1:].decode("utf-8", "replace")[:2000]
    one_text(text, PURPOSES[data[0] % 3 if data else 0])


def fill(corpus: Path) -> None:
    """Begin with the test table."""
    corpus.mkdir(parents=True, exist_ok=True)
    if any(corpus.iterdir()):
        return
    for number, purpose in enumerate(PURPOSES):
        for place, (text, _) in enumerate(table(purpose)):
            (corpus / f"{purpose}-{place}").write_bytes(bytes([number]) + text.encode())


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        if not argument.startswith("-"):
            fill(Path(argument))
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
