"""The data gate: a data set becomes examples that may be trained, with findings, or the run is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunebook.data import cache
from tunebook.data.conversation import Problem
from tunebook.data.duplicates import RowIndex, find_leaks
from tunebook.data.examples import Examples, copy_examples
from tunebook.data.findings import Findings
from tunebook.data.open import open_data
from tunebook.data.survey import Settings, Survey
from tunebook.data.template import Template, chat_template
from tunebook.errors import DataError, Fault
from tunebook.files import read_json, sha256, write_json
from tunebook.plan.schema import DataPlan

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Checked:
    """The examples for training in file order, the findings, and the file of the bad rows (a JSON object a line).

    `validation` is the same of the plan's validation file, if it names one.
    """

    examples: Examples
    findings: Findings
    quarantine: Path
    validation: Checked | None = None


def check_data(data: DataPlan, base_folder: Path, tokenizer: Any, cache_folder: Path | None = None) -> Checked:
    """Pass `data.path`, and `data.validation_path`, through the gate. Relative paths count from `base_folder`.

    Rows that stand in the validation file too are left out of training. The work is done once for a file, tokenizer and
    settings; then it is found again in the cache.

    DataError: a file is missing, unreadable, empty or of unknown form; more than `data.max_bad_share` of its rows are
    bad; the chat template makes the mask impossible; a row is too long and the policy is to refuse; nothing is trained.
    """
    train = _checked(data, data.path, base_folder, tokenizer, cache_folder)
    if data.validation_path is None:
        return train
    validation = _checked(data, data.validation_path, base_folder, tokenizer, cache_folder)
    return _without_leaks(train, validation, data, cache_folder)


def _checked(data: DataPlan, path: str, base_folder: Path, tokenizer: Any, cache_folder: Path | None) -> Checked:
    settings = Settings(data.max_length, data.too_long, data.duplicates)
    checked = examine(base_folder / path, data.columns, tokenizer, settings, cache_folder)
    refuse(checked, data, path)
    return checked


def examine(
    path: Path,
    columns: Mapping[str, str] | None,
    tokenizer: Any | None,
    settings: Settings,
    cache_folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Checked:
    """Look at every row and refuse nothing but a file that cannot be read as rows. Without a tokenizer, no examples.

    `progress` is called now and then with the number of rows read so far.
    """
    source = open_data(path, columns)
    template = Template(tokenizer) if tokenizer is not None else None
    model = cache.tokenizer_fingerprint(tokenizer, chat_template(tokenizer)) if template else None
    files = [(file.name if source.kind == "lines" else "", sha256(file)) for file in source.files]
    key = cache.key_of(files, source.kind, columns, model, settings.max_length, settings.too_long, settings.duplicates)

    def make(folder: Path) -> None:
        survey = Survey(source, template, settings, folder, progress)
        write_json(folder / "findings.json", survey.run().to_json())

    return _once(cache_folder, key, make)


def _once(cache_folder: Path | None, key: str, make: Callable[[Path], None]) -> Checked:
    """The cached result of `key`, made where it is missing, and made again where it is damaged."""
    folder = cache.once(cache_folder or cache.default_folder(), key, make)
    try:
        return _open(folder)
    except (DataError, OSError, ValueError, KeyError, TypeError):
        cache.forget(folder)
        return _open(cache.once(folder.parent, key, make))


def _open(folder: Path) -> Checked:
    findings = Findings.from_json(read_json(folder / "findings.json"))
    examples = Examples.open(folder / "examples.arrow") if findings.tokens else Examples([], folder)
    return Checked(examples, findings, folder / "quarantine.jsonl")


def _without_leaks(train: Checked, validation: Checked, data: DataPlan, cache_folder: Path | None) -> Checked:
    """`train` without the rows that `validation` holds too, or nearly so."""
    folders = [train.quarantine.parent, validation.quarantine.parent]
    key = cache.key_of("leaks", [folder.name for folder in folders], data.duplicates)

    def make(folder: Path) -> None:
        indexes = [RowIndex(each / "index") for each in folders]
        pairs = find_leaks(*indexes)
        lines = [index.column("line") for index in indexes]
        findings = Findings.from_json(train.findings.to_json())
        for mine, theirs in pairs:
            message = f"says what line {lines[1][theirs]} of the validation file says, or nearly"
            findings.add(Problem(int(lines[0][mine]), "leak", message, "warning"))
        keep = ~np.isin(train.examples.lines, lines[0][pairs[:, 0]])
        findings.leaks, findings.examples = len(pairs), int(keep.sum())
        examples = copy_examples(train.examples.path, folder / "examples.arrow", keep, train.examples.groups)
        assert findings.tokens is not None
        findings.tokens.total, findings.tokens.trained = int(examples.lengths.sum()), int(examples.trained_counts.sum())
        write_json(folder / "findings.json", findings.to_json())

    made = _once(cache_folder, key, make)
    _refuse_empty(made, data.path)
    return Checked(made.examples, made.findings, train.quarantine, validation)


def refuse(checked: Checked, data: DataPlan, path: str) -> None:
    """Raise DataError when what was found in the file `path` must not reach training."""
    found = checked.findings
    if unmaskable := found.counts["template_mask"]:
        raise DataError(
            f"The chat template makes it impossible to tell what to train in {unmaskable:,} of {found.rows:,} rows.",
            do="Choose a model whose template keeps what inference sends, or data without what it changes.",
            faults=_faults(found.errors, "template_mask"),
        )
    if data.too_long == "refuse" and found.counts["too_long"]:
        raise DataError(
            f"{found.counts['too_long']:,} of {found.rows:,} rows of {path} have more than {data.max_length:,} tokens.",
            do="Raise data.max_length, or set data.too_long to drop or cut.",
            faults=_faults(found.errors, "too_long"),
        )
    if found.rows and found.bad / found.rows > data.max_bad_share:
        kinds = ", ".join(f"{count:,} {code}" for code, count in found.error_counts().items())
        raise DataError(
            f"{found.bad:,} of {found.rows:,} rows of {path} are bad ({found.bad / found.rows:.0%}), more than the "
            f"{data.max_bad_share:.0%} allowed: {kinds}.",
            kept=f"They are in {checked.quarantine}.",
            do="Mend them, or raise data.max_bad_share.",
            faults=_faults(found.errors),
        )
    _refuse_empty(checked, path)


def _refuse_empty(checked: Checked, path: str) -> None:
    if not len(checked.examples):
        raise DataError(
            f"Nothing in {path} can be trained: none of its {checked.findings.rows:,} rows is left.",
            do="Raise data.max_length, or give other data.",
            faults=_faults(checked.findings.problems),
        )


def _faults(problems: Sequence[Problem], code: str | None = None) -> list[Fault]:
    """The first few problems, or those of one code."""
    some = [item for item in problems if code is None or item.code == code]
    return [Fault(f"line {item.line}", item.message) for item in some[:_SHOWN]]
