"""`tunebook rules` and `tunebook plan`, as a shell sees them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.cli.call import call
from tunebook.plan.files import load_plan, origin_of, values_by_path
from tunebook.plan.rules.types import Plateau


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data set of 40 rows, something that looks like a model, and answers to the built-in page."""
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path / "cache"))
    rows = [{"prompt": f"What is {n} plus {n}?", "completion": f"It is {2 * n}."} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert call("page", "play", "phase-3-fine-tuning", "--defaults", "--answers", "answers.yaml").code == 0
    return tmp_path


def plan(*arguments: str) -> Any:
    return call("plan", *arguments, "--data", "rows.jsonl", "--model", "base")


# -- rules


def test_rules_prints_one_object() -> None:
    done = call("rules", "--json", "Stop if BLEU > 30, or when the moon is full")
    assert done.code == 0
    assert json.loads(done.out) == {
        "rules": [
            {"kind": "threshold", "metric": "bleu", "op": ">", "value": 30.0, "patience": 1, "unit": "evaluations",
             "source": "BLEU > 30"}
        ],
        "settings": [],
        "not_understood": ["when the moon is full"],
    }  # fmt: skip


def test_rules_reads_standard_input_and_the_other_questions() -> None:
    stdin = mock.Mock(buffer=io.BytesIO(b"dropout 10 %"))
    with mock.patch.object(sys, "stdin", stdin):
        done = call("rules", "--json", "--for", "overfitting", "-")
    assert json.loads(done.out)["settings"] == [{"setting": "dropout", "value": 0.1, "source": "dropout 10 %"}]


@pytest.mark.parametrize(
    ("text", "code"), [("patience 3", 0), ("Stop on NaN", 0), ("dance", 3), ("", 3), ("don't stop on BLEU", 3)]
)
def test_rules_exits_3_when_nothing_was_understood(text: str, code: int) -> None:
    assert call("rules", "--json", text).code == code


def test_rules_says_what_it_read_in_words() -> None:
    done = call("rules", "patience 3 and tea")
    assert "stop once validation loss has not improved for 3 evaluations" in done.out
    assert "not understood: 'tea'" in done.err


@pytest.mark.parametrize("arguments", [[], ["x", "--for", "fun"], ["x", "y"]])
def test_rules_used_badly_exits_2(arguments: list[str]) -> None:
    assert call("rules", *arguments).code == 2


# -- plan


def test_answers_become_a_plan_file(place: Path) -> None:
    done = plan("answers.yaml", "-o", "plan.yaml")
    assert done.code == 0, done.err
    made = load_plan(place / "plan.yaml")
    assert (made.training.learning_rate, made.training.batch_size) == (3e-5, 16)
    assert origin_of(made, "training.learning_rate")[0] == "answer"
    assert "learning rate" in done.out
    assert "tunebook run plan.yaml" in done.err


def test_json_is_all_that_stands_on_standard_output(place: Path) -> None:
    done = plan("answers.yaml", "--json", "-o", "plan.yaml")
    shown = json.loads(done.out)
    assert shown["training"]["epochs"]["max"] == {"value": 5, "from": "answer", "why": mock.ANY}
    assert shown["facts"]["rows"] == 40
    assert shown["facts"]["steps_per_epoch"] == 3
    assert shown["advice"][0]["path"] == "training.learning_rate"
    assert (place / "plan.yaml").is_file()


def test_without_answers_the_defaults_are_planned(place: Path) -> None:
    shown = json.loads(plan("--json").out)
    assert shown["training"]["learning_rate"] == {"value": 3e-5, "from": "default", "why": mock.ANY}


def test_the_reference_page_needs_no_page_option(place: Path) -> None:
    page = Path(__file__).parents[3] / "shared" / "seed" / "phase-3-fine-tuning.md"
    if not page.is_file():
        pytest.skip("the reference page is not here")
    assert call("page", "play", str(page), "--defaults", "--answers", "mine.yaml").code == 0
    assert plan("mine.yaml", "-o", "plan.yaml").code == 0
    assert plan("mine.yaml", "--page", str(page), "-o", "plan2.yaml").code == 0


def test_a_page_of_ones_own_is_found_beside_its_answers(place: Path) -> None:
    (place / "mine.md").write_text(
        "---\ntitle: Mine\n---\n## Ask\n{type: form}\n\n**Rate**\n"
        "{type: select, id: rate, sets: training.learning_rate, options: [1e-3, 1e-4]}\n"
    )
    assert call("page", "play", "mine.md", "--defaults", "--answers", "mine.yaml").code == 0
    assert plan("mine.yaml", "-o", "plan.yaml").code == 0
    assert load_plan(place / "plan.yaml").training.learning_rate == 1e-3
    assert plan("--page", "mine.md", "-o", "plan.yaml").code == 0


def test_set_and_accept_change_the_plan_and_say_so(place: Path) -> None:
    done = plan("answers.yaml", "--set", "lora.rank=4", "--accept", "training.learning_rate", "-o", "plan.yaml")
    assert done.code == 0, done.err
    made = load_plan(place / "plan.yaml")
    assert made.lora.rank == 4
    assert made.training.learning_rate == 3e-4
    assert origin_of(made, "lora.rank")[0] == "set"
    assert origin_of(made, "training.learning_rate")[0] == "advice"


def test_all_advice_can_be_taken(place: Path) -> None:
    assert plan("answers.yaml", "--accept-advice", "-o", "plan.yaml").code == 0
    made = load_plan(place / "plan.yaml")
    assert made.training.learning_rate == 3e-4
    assert made.training.batch_size == 4


def test_paths_in_the_plan_count_from_its_own_folder(place: Path) -> None:
    assert plan("answers.yaml", "-o", "new/folder/plan.yaml").code == 0
    made = load_plan(place / "new" / "folder" / "plan.yaml")
    assert made.data.path == str(Path("..") / ".." / "rows.jsonl")
    assert made.model.name == str(Path("..") / ".." / "base")
    assert (place / "new" / "folder" / made.data.path).is_file()


def test_every_fault_is_told_at_once_and_nothing_is_written(place: Path) -> None:
    text = (place / "answers.yaml").read_text()
    (place / "answers.yaml").write_text(text.replace("16 (Standard)", "17 (Odd)") + "extra: 1\n")
    done = call("plan", "answers.yaml", "--data", "no.jsonl", "--model", "no such model", "-o", "plan.yaml")
    assert done.code == 1
    for piece in ("batch-size", "'17 (Odd)' is not among the options", "extra", "no.jsonl", "no such model"):
        assert piece in done.err, piece
    assert not (place / "plan.yaml").exists()


PREPARED = {
    "max-length": ("64", "data.max_length", 64),
    "too-long": ("cut (shortens the question from its start)", "data.too_long", "cut"),
    "duplicates": ("keep (trains on all of them)", "data.duplicates", "keep"),
    "max-bad-share": ("0.2", "data.max_bad_share", 0.2),
    "validation-share": ("0.25", "data.validation_share", 0.25),
    "validation-file": ("held.jsonl", "data.validation_path", "held.jsonl"),
    "columns": ("{prompt: asked, completion: said}", "data.columns", {"prompt": "asked", "completion": "said"}),
    "seed": ("7", "training.seed", 7),
}


def prepared(place: Path, **answers: str) -> None:
    """Answers to the page about data, in `data.yaml`."""
    given = {key: answer for key, (answer, _, _) in PREPARED.items()} | answers
    document = {"format": 1, "page": "phase-2-dataset-preparation", "answers": given}
    (place / "data.yaml").write_text(json.dumps(document))


def test_the_answers_to_two_pages_make_one_plan(place: Path) -> None:
    rows = [{"asked": f"What is {n} plus {n}?", "said": f"It is {2 * n}."} for n in range(40)]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    prepared(place)
    done = plan("data.yaml", "answers.yaml", "-o", "plan.yaml")
    assert done.code == 0, done.err
    made = load_plan(place / "plan.yaml")
    values = values_by_path(made)
    for _, path, expected in PREPARED.values():
        assert values[path] == expected, path
        assert origin_of(made, path)[0] == "answer", path
    assert (made.training.learning_rate, made.training.batch_size) == (3e-5, 16)
    assert made.review.policy == "random"


def test_the_faults_of_all_answers_files_are_told_at_once(place: Path) -> None:
    text = (place / "answers.yaml").read_text()
    (place / "answers.yaml").write_text(text.replace("16 (Standard)", "17 (Odd)"))
    prepared(place, **{"max-length": "3", "seed": "minus one"})
    done = call(
        "plan", "data.yaml", "answers.yaml", "none.yaml", "--data", "no.jsonl", "--model", "base", "-o", "x.yaml"
    )
    assert done.code == 1
    for piece in ("data.yaml, max-length", "data.yaml, seed", "answers.yaml, batch-size", "none.yaml", "no.jsonl"):
        assert piece in done.err, piece
    assert not (place / "x.yaml").exists()


def test_two_pages_that_set_one_value_differently_make_no_plan(place: Path) -> None:
    page = (
        "---\ntitle: Mine\n---\n## Ask\n{type: form}\n\n**Batch**\n"
        "{type: select, id: batch, sets: training.batch_size, options: [8, 16]}\n"
    )
    (place / "mine.md").write_text(page)
    assert call("page", "play", "mine.md", "--defaults", "--answers", "mine.yaml").code == 0
    done = plan("mine.yaml", "answers.yaml")
    assert done.code == 1
    assert "training.batch_size: is 8 by 'Batch: 8' and 16 by 'Batch Size: 16 (Standard)'" in done.err
    (place / "mine.yaml").write_text((place / "mine.yaml").read_text().replace("'8'", "'16'"))
    assert plan("mine.yaml", "answers.yaml", "-o", "plan.yaml").code == 0


def test_one_page_for_several_answers_files_is_bad_usage(place: Path) -> None:
    assert plan("answers.yaml", "answers.yaml", "--page", "phase-3-fine-tuning").code == 2


def test_an_order_that_cannot_work_makes_no_plan(place: Path) -> None:
    text = (place / "answers.yaml").read_text()
    first, last = "Initialize training pipeline and environment", "Prepare final model for deployment testing"
    text = text.replace(first, "@").replace(last, first).replace("@", last)
    (place / "answers.yaml").write_text(text)
    done = plan("answers.yaml", "-o", "plan.yaml")
    assert done.code == 1
    assert f"'{first}' must come before 'Run training loop" in done.err
    assert not (place / "plan.yaml").exists()


@pytest.mark.parametrize(
    ("setting", "says"),
    [("training.sed=1", "did you mean training.seed?"), ("training.learning_rate=.nan", "training.learning_rate")],
)
def test_a_bad_set_is_named(place: Path, setting: str, says: str) -> None:
    done = plan("answers.yaml", "--set", setting)
    assert done.code == 1
    assert says in done.err


def test_data_in_which_nothing_can_be_trained_is_refused(place: Path) -> None:
    (place / "rows.jsonl").write_text('{"prompt": "x", "completion": ""}\n')
    done = plan("answers.yaml", "-o", "plan.yaml")
    assert done.code == 1
    assert "can be trained" in done.err
    assert not (place / "plan.yaml").exists()


def test_a_plan_that_a_hand_edited_is_kept_beside_the_new_one(place: Path) -> None:
    assert plan("answers.yaml", "-o", "plan.yaml").code == 0
    file = place / "plan.yaml"
    file.write_text(file.read_text().replace("rank: 16", "rank: 4", 1))
    assert "edited by hand" in plan("answers.yaml", "-o", "plan.yaml").err
    assert load_plan(place / "plan.yaml.before").lora.rank == 4
    assert load_plan(file).lora.rank == 16


def test_whatever_else_lies_where_the_plan_goes_is_kept_too_and_nothing_kept_is_written_over(place: Path) -> None:
    assert plan("answers.yaml", "-o", "plan.yaml").code == 0
    file = place / "plan.yaml"
    for number, text in enumerate(("# mine\n" + file.read_text().replace("rank: 16", "rank: 4", 1), "model: ]"), 1):
        file.write_text(text)
        assert "it is kept in" in plan("answers.yaml", "-o", "plan.yaml").err
        assert (place / f"plan.yaml.before{'-2' if number == 2 else ''}").read_text() == text
    assert "kept in" not in plan("answers.yaml", "-o", "plan.yaml").err


def test_a_mix_of_data_sets_is_planned_like_a_file(place: Path) -> None:
    (place / "mix.yaml").write_text("datasets:\n  - path: rows.jsonl\n")
    done = call("plan", "answers.yaml", "--data", "mix.yaml", "--model", "base", "-o", "plan.yaml")
    assert done.code == 0, done.err
    assert load_plan(place / "plan.yaml").data.path == "mix.yaml"


def test_prose_reaches_plan_and_view(place: Path) -> None:
    text = (place / "answers.yaml").read_text()
    name = "what-criteria-will-trigger-early-stopping"
    (place / "answers.yaml").write_text(text.replace(f"{name}: ''", f"{name}: patience 2 epochs; when pigs fly"))
    done = plan("answers.yaml", "-o", "plan.yaml")
    made = load_plan(place / "plan.yaml")
    assert made.stopping.rules == (Plateau(patience=2, unit="epochs", source="patience 2 epochs"),)
    assert made.not_understood == ("when pigs fly",)
    assert "'when pigs fly'" in done.out


def test_the_schema_says_what_there_is() -> None:
    done = call("plan", "--schema")
    assert done.code == 0
    assert "TrainingPlan" in json.loads(done.out)["$defs"]


def test_what_is_missing_from_the_command_is_said_at_once() -> None:
    done = call("plan")
    assert done.code == 2
    assert "--data and --model must be given" in done.err


@pytest.mark.slow
def test_trained_tokens_are_counted_without_loading_torch(place: Path) -> None:
    """The tiny model's chat template wraps an answer in three fixed tokens and ends it with one that is trained."""
    from tests.tiny import save_tiny, tiny_tokenizer

    save_tiny(place / "tiny")
    code = (
        "import sys; from tunebook.cli import main; sys.argv = ['tunebook', 'plan', 'answers.yaml', '--data', "
        "'rows.jsonl', '--model', 'tiny', '--json']\n"
        "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)["facts"]
    assert done.stderr.splitlines()[-1] == "False"
    assert facts["exact"]
    assert facts["training"] + facts["validation"] == facts["examples"] == 40
    tokenizer = tiny_tokenizer()
    answers = [f"It is {2 * n}." for n in range(40)]
    mean = sum(len(tokenizer(answer)["input_ids"]) + 1 for answer in answers) / 40
    assert facts["trained_tokens"] == pytest.approx(mean * facts["training"], rel=0.1)
