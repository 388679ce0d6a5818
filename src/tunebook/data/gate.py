"""The data gate: a data set becomes examples that may be trained, with findings, or the run is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.data import cache
from tunebook.data.examples import Examples
from tunebook.data.findings import Findings
from tunebook.data.read import open_source
from tunebook.data.survey import Settings, Survey
from tunebook.data.template import Template, chat_template
from tunebook.errors import DataError, Fault
from tunebook.files import read_json, sha256, write_json
from tunebook.plan.schema import DataPlan

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Checked:
    """The good rows as examples in file order, the findings, and the file of the bad rows (a JSON object a line)."""

    examples: Examples
    findings: Findings
    quarantine: Path


def check_data(data: DataPlan, base_folder: Path, tokenizer: Any, cache_folder: Path | None = None) -> Checked:
    """Pass `data.path` through the gate. Relative paths count from `base_folder`.

    DataError: the file is missing, unreadable, empty or of unknown form; more than `data.max_bad_share` of its rows are
    bad; the chat template makes the mask impossible; a row is too long and the policy is to refuse; nothing is trained.
    """
    settings = Settings(data.max_length, data.too_long, data.duplicates)
    checked = examine(base_folder / data.path, data.columns, tokenizer, settings, cache_folder)
    refuse(checked, data)
    return checked


def examine(
    path: Path,
    columns: Mapping[str, str] | None,
    tokenizer: Any | None,
    settings: Settings,
    cache_folder: Path | None = None,
) -> Checked:
    """Look at every row and refuse nothing but a file that cannot be read as rows. Without a tokenizer, no examples."""
    source = open_source(path, columns)
    template = Template(tokenizer) if tokenizer is not None else None
    model = cache.tokenizer_fingerprint(tokenizer, chat_template(tokenizer)) if template else None
    key = cache.key_of(
        sha256(path), source.kind, columns, model, settings.max_length, settings.too_long, settings.duplicates
    )

    def make(folder: Path) -> None:
        survey = Survey(source, template, settings, folder)
        write_json(folder / "findings.json", survey.run().to_json())

    folder = cache.once(cache_folder or cache.default_folder(), key, make)
    findings = Findings.from_json(read_json(folder / "findings.json"))
    return Checked(Examples.open(folder / "rows.arrow"), findings, folder / "quarantine.jsonl")


def refuse(checked: Checked, data: DataPlan) -> None:
    """Raise DataError when what was found must not reach training."""
    found = checked.findings
    faults = [Fault(f"line {item.line}", item.message) for item in found.errors]
    unmaskable = found.counts["template_mask"]
    if unmaskable:
        own = [Fault(f"line {item.line}", item.message) for item in found.errors if item.code == "template_mask"]
        raise DataError(
            f"The chat template makes it impossible to tell what to train in {unmaskable:,} of {found.rows:,} rows.",
            do="Choose a model whose template keeps what inference sends, or data without what it changes.",
            faults=own[:_SHOWN],
        )
    if data.too_long == "refuse" and found.counts["too_long"]:
        raise DataError(
            f"{found.counts['too_long']:,} of {found.rows:,} rows are longer than {data.max_length:,} tokens.",
            do="Raise data.max_length, or set data.too_long to drop or cut.",
            faults=faults[:_SHOWN],
        )
    if found.rows and found.bad / found.rows > data.max_bad_share:
        kinds = ", ".join(f"{count:,} {code}" for code, count in found.counts.most_common())
        raise DataError(
            f"{found.bad:,} of {found.rows:,} rows of {data.path} are bad ({found.bad / found.rows:.0%}), more than "
            f"the {data.max_bad_share:.0%} allowed: {kinds}.",
            kept=f"They are in {checked.quarantine}.",
            do="Mend them, or raise data.max_bad_share.",
            faults=faults[:_SHOWN],
        )
    if not len(checked.examples):
        raise DataError(
            f"Nothing in {data.path} can be trained: none of its {found.rows:,} rows is left.",
            do="Raise data.max_length, or give other data.",
            faults=[Fault(f"line {item.line}", item.message) for item in found.problems][:_SHOWN],
        )
