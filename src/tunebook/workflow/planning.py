"""From answers to a plan with all that is known before a run: data looked at, model found, every fault told at once."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunebook.data.gate import Checked, examine
from tunebook.data.open import open_data
from tunebook.data.split import split
from tunebook.data.survey import Settings
from tunebook.data.template import chat_template
from tunebook.errors import DataError, Fault, PlanError, TunebookError
from tunebook.model.sources import SMOLLM2, cache_folder, find_model, model_folder, weights_bytes, weights_sha256
from tunebook.pages.answers import Answers
from tunebook.plan.advice import Advice, advise
from tunebook.plan.compile import Sheet, compile_plan, take_advice
from tunebook.plan.facts import Facts
from tunebook.plan.schema import Origin, Plan

_LARGE = 64_000_000  # bytes; rows of a larger file are counted and not tokenized
_HASHED = 8_000_000_000  # bytes of weights; reading more takes minutes


@dataclass(frozen=True)
class Planned:
    """A plan, what is known of its data, and what could be better."""

    plan: Plan
    facts: Facts
    advice: list[Advice]


def plan_run(
    readers: Mapping[str, Callable[[], Answers]],
    data: str,
    model: str,
    folder: Path,
    settings: Sequence[str] = (),
    accept: Collection[str] | Literal["all"] = (),
) -> Planned:
    """Plan a run. `data` and `model` count from the working folder; in the plan, paths count from `folder`, its own.

    `readers` give the answers to each page, by the name of their file; none for the defaults. PlanError holds every
    fault at once: of the answers, of what they ask for, of the data, of the model. DataError when no row of the data
    can be trained.
    """
    faults: list[Fault] = []
    plan: Plan | None = None
    sheets: list[Sheet] = []
    for name, read in readers.items():
        with _gathered(faults, name if len(readers) > 1 else ""):
            answers = read()
            sheets.append((answers.page, answers.values))
    with _gathered(faults):
        first, *others = sheets or [(None, {})]
        plan = compile_plan(*first, _from(folder, data), _model_from(folder, model), settings, others=others)
    for path in _data_files(plan, folder) if plan else [Path(data)]:
        with _gathered(faults):
            open_data(path, plan.data.columns if plan else None)
    with _gathered(faults):
        find_model(_model_here(plan, folder) if plan else model)
    if faults or plan is None:
        raise PlanError("No plan was made.", kept="Nothing was written.", do="Mend this:", faults=faults)
    plan = with_hash(plan, folder)
    facts = find_facts(plan, folder)
    plan = take_advice(plan, accept, facts)
    return Planned(plan, facts, advise(plan, facts))


@contextmanager
def _gathered(faults: list[Fault], source: str = "") -> Iterator[None]:
    """Keep the faults of an error instead of ending with it, each with the `source` that it is in."""
    try:
        yield
    except TunebookError as error:
        found = error.faults or [Fault("", " ".join(part for part in (error.what, error.do) if part))]
        faults += [Fault(", ".join(filter(None, [source, fault.where])), fault.message) for fault in found]


def _from(folder: Path, path: str) -> str:
    """`path`, which counts from the working folder, as it counts from `folder`."""
    try:
        return os.path.relpath(Path(path).expanduser().absolute(), folder.absolute())
    except ValueError:  # another drive
        return str(Path(path).absolute())


def _model_from(folder: Path, model: str) -> str:
    """The same for a model that is a folder or file here; names and aliases stay."""
    return _from(folder, model) if model != SMOLLM2 and Path(model).expanduser().exists() else model


def _data_files(plan: Plan, folder: Path) -> list[Path]:
    """The files as they lie here; `folder` itself need not be there yet."""
    return [Path(os.path.normpath(folder / path)) for path in (plan.data.path, plan.data.validation_path) if path]


def _model_here(plan: Plan, folder: Path) -> str:
    here = os.path.normpath(folder / Path(plan.model.name).expanduser())
    return here if plan.model.name != SMOLLM2 and os.path.exists(here) else plan.model.name  # noqa: PTH110


def with_hash(plan: Plan, folder: Path) -> Plan:
    """`plan` with the hash of the weights that it was made for, where they are here and can be read in a moment."""
    name = _model_here(plan, folder)
    source = find_model(name)
    if plan.model.sha256 or source.kind == "hub":
        return plan
    size = Path(source.place).stat().st_size if source.kind == "gguf" else weights_bytes(name)
    if not 0 < size <= _HASHED:
        return plan
    digest = weights_sha256(name)
    origin = Origin(origin="default", why="the weights that were found when the plan was made", value=digest)
    model = plan.model.model_copy(update={"sha256": digest})
    return plan.model_copy(update={"model": model, "origins": {**plan.origins, "model.sha256": origin}})


def find_facts(plan: Plan, folder: Path, *, however_large: bool = False) -> Facts:
    """Look at the data. Tokens are counted where the model's tokenizer is here and the files are not large.

    DataError when no row can be trained.
    """
    paths, columns = _data_files(plan, folder), plan.data.columns
    size = sum(file.stat().st_size for path in paths for file in open_data(path, columns).files)
    tokenizer = tokenizer_at_hand(_model_here(plan, folder)) if however_large or size <= _LARGE else None
    settings = Settings(plan.data.max_length, plan.data.too_long, plan.data.duplicates)
    checked = [examine(path, columns, tokenizer, settings, cache_folder() / "data") for path in paths]
    train, validation = checked[0], checked[1] if len(checked) > 1 else None
    found = train.findings
    examples = found.examples if found.tokens else found.good - found.duplicates * (plan.data.duplicates == "drop")
    if examples < 1:
        faults = [Fault(f"line {item.line}", item.message) for item in found.problems[:5]]
        what = f"Nothing in {plan.data.path} can be trained: none of its {found.rows:,} rows is left."
        raise DataError(what, kept="Nothing was written.", do="Mend the rows, or raise data.max_length.", faults=faults)
    if found.tokens:
        return _counted(plan, train, validation)
    held_out = validation.findings.good if validation else round(plan.data.validation_share * examples)
    training = examples if validation else examples - held_out
    return Facts(found.rows, examples, training, held_out, bad=found.bad)


def _counted(plan: Plan, train: Checked, validation: Checked | None) -> Facts:
    """What tokenized data says, split as the run will split it."""
    rows, found = train.examples, train.findings
    assert found.tokens
    sides = split(rows, plan.data, plan.training.seed, validation.examples if validation else None)
    return Facts(
        found.rows,
        found.examples,
        training=len(sides.train_indices),
        validation=len(sides.validation_indices),
        tokens=int(rows.lengths[sides.train_indices].sum()),
        trained_tokens=int(rows.trained_counts[sides.train_indices].sum()),
        longest=found.tokens.longest,
        over_limit=found.tokens.rows_over,
        bad=found.bad,
        exact=True,
    )


def tokenizer_at_hand(name: str) -> Any | None:
    """The model's tokenizer when it is on this disk and has a chat template, without loading torch; else None."""
    source = find_model(name)
    if source.kind == "gguf":
        stem = Path(source.place).stem.lower()
        if not any((cache_folder() / "models").glob(f"{glob.escape(stem)}-*/complete")):
            return None  # converting takes half a minute; the run does it
    elif source.kind == "hub":
        return None
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(model_folder(name))
        chat_template(tokenizer)
    except Exception:  # what is wrong with it the run says, by `load_tokenizer`
        return None
    return tokenizer
