"""The reader's test table lives in `phrases/*.txt`: a text, then what it says, one line each, indented.

    Stop if BLEU > 30 or when the moon is full
        threshold bleu > 30 1 evaluations
        ? when the moon is full

`?` begins a piece that was not understood, `=` a setting, `!` what adds nothing. `\\n` in a text is a line break.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tunebook.plan.rules import Reading

FOLDER = Path(__file__).parent / "phrases"


def table(purpose: str) -> Iterator[tuple[str, list[str]]]:
    """(text, expected lines) for each entry of a table; `#` begins a comment."""
    text, lines = "", []
    for line in [*(FOLDER / f"{purpose}.txt").read_text(encoding="utf-8").splitlines(), "end"]:
        if line.startswith("    "):
            lines.append(line.strip())
        elif line.strip() and not line.startswith("#"):
            if text:
                yield text.replace("\\n", "\n"), lines
            text, lines = line, []


def shown(reading: Reading) -> list[str]:
    """A reading in the table's words."""
    lines = []
    for rule in reading.rules:
        fields = rule.model_dump(exclude={"kind", "source"}, exclude_none=True)
        for name in ("min_delta", "min_delta_percent"):
            if name in fields:
                fields[name] = f"{name}={fields[name]:g}"
        if rule.kind == "gap":
            fields = {key: f"{key}={item:g}" if isinstance(item, float) else item for key, item in fields.items()}
        shown = (f"{item:.10g}" if isinstance(item, float) else str(item) for item in fields.values())
        lines.append(f"{rule.kind} {' '.join(shown)}")
    lines += [f"= {item.setting} {item.value:g}" if isinstance(item.value, float) else f"= {item.setting} {item.value}"
              for item in reading.settings]  # fmt: skip
    return [
        *lines,
        *(f"? {' '.join(piece.split())}" for piece in reading.not_understood),
        *(f"! {p}" for p in reading.adds_nothing),
    ]
