"""A plan of several pages' answers, and where the files that a plan reads may lie."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.studio.conftest import CHANGE
from tunebook.errors import DataError, PlanError
from tunebook.pages.catalog import load_page
from tunebook.plan.compile import compile_plan
from tunebook.plan.facts import Facts
from tunebook.plan.files import load_plan, origin_of
from tunebook.runs.store import create_run
from tunebook.studio.place import Place
from tunebook.studio.planning import Wanted, compile_wanted

TRAINING, DATA = "phase-3-fine-tuning", "phase-2-dataset-preparation"
MINE = (
    "---\ntitle: Mine\n---\n## A\n{type: form}\n**Which seed?**\n\n{type: number, id: my-seed, sets: training.seed}\n"
)


@pytest.fixture
def give(client):
    def give(key, **changes):
        body = {"changes": {name.replace("_", "-"): answer for name, answer in changes.items()}}
        assert client.post(f"/api/pages/{key}/answers", headers=CHANGE, json=body).json()["faults"] == []

    return give


@pytest.fixture
def ask(client):
    def ask(path, **body):
        return client.post(f"/api/{path}", headers=CHANGE, json={"page": TRAINING, "others": [DATA], **body})

    return ask


def test_a_plan_is_made_of_the_answers_to_several_pages_as_the_command_makes_it(ask, give, place):
    give(TRAINING, learning_rate="5e-5 (Aggressive)")
    give(DATA, max_length="512", seed="7")
    made = compile_wanted(Wanted(page=TRAINING, others=[DATA, TRAINING, DATA], data="rows.jsonl", model="m"), place)
    sheets = [(TRAINING, {"learning-rate": "5e-5 (Aggressive)"}), (DATA, {"max-length": "512", "seed": "7"})]
    first, other = [(load_page(name), answers) for name, answers in sheets]
    assert made == compile_plan(*first, "rows.jsonl", "m", others=[other])
    shown = ask("plan").json()["plan"]
    assert shown["training"]["learning_rate"]["value"] == 5e-5
    assert shown["data"]["max_length"] | {"why": ""} == {"value": 512, "from": "answer", "why": ""}
    assert ask("plan", others=[]).json()["plan"]["data"]["max_length"]["from"] == "default"


def test_pages_that_contradict_each_other_make_no_plan_and_both_answers_are_named(ask, give, place):
    (place.folder / "mine.md").write_text(MINE)
    give(DATA, seed="7")
    give("own-mine", my_seed="8")
    (fault,) = ask("plan", others=[DATA, "own-mine"]).json()["error"]["faults"]
    assert fault["where"] == "training.seed"
    for piece in ("7", "8", "Which seed does the run use?", "Which seed?"):
        assert piece in fault["message"]


def test_what_is_wrong_on_another_page_is_told_with_that_pages_title(ask, give, place):
    (place.folder / "mine.md").write_text(MINE.replace("number", "text").replace("my-seed", "my-seed, required: true"))
    (fault,) = ask("plan", others=["own-mine", "own-mine"]).json()["error"]["faults"]
    assert fault["where"] == "Mine: Which seed?"
    give("own-mine", my_seed="many")
    assert "Which seed?" in str(ask("plan", others=["own-mine"]).json()["error"]["faults"])
    assert ask("plan", others=["nothing"]).status_code == 404


def test_a_run_keeps_the_answers_of_all_its_pages(ask, give, place, monkeypatch):
    (place.folder / "mine.md").write_text(MINE)
    for name in ("rows.jsonl", "held_out.jsonl"):
        (place.folder / name).write_text('{"prompt": "a", "completion": "b"}\n')
    give(TRAINING, batch_size="8 (Balanced)")
    give(DATA, validation_file="held_out.jsonl")
    give("own-mine", my_seed="9")

    def command(arguments, folder, **_):
        create_run("rows-1", place.runs, load_plan(Path(arguments[-1])))
        return subprocess.CompletedProcess(arguments, 0, "rows-1\n", "")

    monkeypatch.setattr("tunebook.studio.api_plan.call", command)
    assert ask("runs", data="rows.jsonl", others=[DATA, "own-mine"]).status_code == 202
    run = place.run("rows-1")
    made = run.plan()
    assert (made.training.batch_size, made.training.seed) == (8, 9)
    assert made.data.validation_path == str(place.folder / "held_out.jsonl"), "the plan lies in plans/"
    assert origin_of(made, "data.validation_path")[0] == "answer"
    assert "batch-size: 8" in (run.folder / "answers.yaml").read_text()
    assert "held_out.jsonl" in (run.folder / f"answers-{DATA}.yaml").read_text()
    assert (run.folder / "page-own-mine.md").read_text() == MINE


def test_what_a_browser_remembers_of_one_folder_is_not_taken_for_another(client, place):
    marks = {Place(folder, place.runs).mark for folder in (place.folder, place.folder.parent)}
    assert len(marks) == 2
    assert f'data-folder="{place.mark}"' in client.get(f"/pages/{TRAINING}").text


def test_the_data_is_looked_at_as_all_pages_say_and_again_when_the_held_out_file_changes(ask, give, place, monkeypatch):
    for name in ("rows.jsonl", "held_out.jsonl"):
        (place.folder / name).write_text("x\n")
    give(DATA, validation_file="held_out.jsonl", max_bad_share="0", seed="7")
    asked = []

    def command(arguments, *_, **__):
        asked.append(arguments)
        return {"facts": asdict(Facts(rows=40, examples=40, training=36, validation=4))}

    monkeypatch.setattr("tunebook.studio.api_plan.call_json", command)
    for _ in range(2):
        assert ask("facts", data="rows.jsonl").json()["plan"]["facts"]["training"] == 36
    (place.folder / "held_out.jsonl").write_text("xx\n")
    assert ask("plan", data="rows.jsonl").json()["plan"]["facts"] is None
    ask("facts", data="rows.jsonl")
    assert len(asked) == 2
    for said in ('data.validation_path="held_out.jsonl"', "data.max_bad_share=0.0", "training.seed=7"):
        assert f"--set={said}" in asked[0]


def test_the_view_offers_the_other_pages_that_have_answers(client, give):
    assert 'id="others"' not in client.get(f"/pages/{TRAINING}").text
    give(TRAINING, batch_size="8 (Balanced)")
    give(DATA, seed="7")
    shown = client.get(f"/pages/{TRAINING}").text
    assert f'type="checkbox" value="{DATA}"' in shown
    assert f'type="checkbox" value="{TRAINING}"' not in shown
    assert "1 of 13 answered" in shown


@pytest.mark.parametrize("path", ["/etc/passwd.jsonl", "../secret.jsonl", "link.jsonl", "none.jsonl"])
def test_a_plan_reads_no_file_outside_the_folder_whatever_answers_and_settings_say(ask, give, place, path):
    (place.folder.parent / "secret.jsonl").write_text("x\n")
    (place.folder / "link.jsonl").symlink_to(place.folder.parent / "secret.jsonl")
    (place.folder / "rows.jsonl").write_text("x\n")
    give(DATA, validation_file=path)
    (fault,) = ask("plan").json()["error"]["faults"]
    assert "Is there a file of held-out examples?" in fault["message"]
    for settings in ([f"data.path={path}"], [f"data.validation_path={path}"]):
        assert ask("runs", data="rows.jsonl", others=[], settings=settings).status_code == 409
        wanted = Wanted(page=TRAINING, data="rows.jsonl", settings=settings)
        with pytest.raises(PlanError):
            compile_wanted(wanted, place, whole_paths=True)
    with pytest.raises(DataError):
        compile_wanted(Wanted(page=TRAINING, data=path), place, whole_paths=True)
    assert not list(place.folder.glob("plans/*"))
