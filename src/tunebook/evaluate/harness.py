"""General ability on tasks of the lm-evaluation-harness, when the plan names them. The extra `lm-eval` brings it.

A task is a name that the harness knows, which looks for its data on a hub, or a YAML file of its form, whose data may
be a file here. Each question's score is kept, so that base and tuned are compared question by question.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunebook.errors import DataError
from tunebook.evaluate.mode import base_of, reading
from tunebook.plan.schema import is_task_file

_SCORES = ("acc", "exact_match", "acc_norm")  # what a question's score is called, the first that a task has


def measure_tasks(model: Any, tokenizer: Any, tasks: Sequence[str], limit: int) -> dict[str, tuple[float, ...]]:
    """Scores (0 to 1) of the first `limit` questions of each task, by task name.

    DataError when a task is unknown, its data is not here, or it scores no single question.
    """
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    found: dict[str, tuple[float, ...]] = {}
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with reading(model):
        asked = HFLM(pretrained=base_of(model), tokenizer=tokenizer, batch_size=8)
        for task in tasks:
            try:
                with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
                    result = simple_evaluate(
                        asked,
                        tasks=[_task(task)],
                        limit=limit,
                        bootstrap_iters=0,
                        log_samples=True,
                    )
                found |= {name: _scores(rows) for name, rows in result["samples"].items()}
            except Exception as error:  # the library, and the code of its tasks, raise whatever they meet
                raise DataError(
                    f"The task '{task}' of the lm-evaluation-harness cannot be asked ({_first_line(error)}).",
                    do="Put its data where the task looks for it, or take it out of evaluation.tasks.",
                ) from error
    return found


def _task(name: str) -> Any:
    """The name, or what the YAML file holds."""
    if not is_task_file(name):
        return name
    import yaml

    return yaml.safe_load(Path(name).read_text(encoding="utf-8"))


def _scores(rows: list[dict[str, Any]]) -> tuple[float, ...]:
    """The score of each question, in order; a task that reads its answers in several ways is taken in the first."""
    rows = [row for row in rows if row.get("filter") == rows[0].get("filter")]
    name = next((score for score in _SCORES if rows and score in rows[0]), None)
    if name is None:
        raise ValueError(f"no question has one of the scores {', '.join(_SCORES)}")
    return tuple(float(row[name]) for row in sorted(rows, key=lambda row: row["doc_id"]))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
