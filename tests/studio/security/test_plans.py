"""No plan that is made, queued or swept in the studio reads a file outside its folder."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.studio.conftest import plan
from tests.studio.oracle import watched
from tests.studio.security.conftest import KEY, SECRET, change
from tunebook.plan.files import make_plan, save_plan
from tunebook.studio import api_plan, api_queue

OUTSIDE = [
    "{root}/secret.jsonl",
    "../secret.jsonl",
    "../home-evil/secret.jsonl",
    "link.jsonl",
    "deep/secret.jsonl",
    "/etc/x",
]
PATHS = ["data.path", "data.validation_path", "evaluation.tasks"]


@pytest.fixture
def home(root, place):
    """The studio's folder with a plan, its data, and links that lead out."""
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (place.folder / "link.jsonl").symlink_to(root / "secret.jsonl")
    (place.folder / "link.yaml").symlink_to(root / "secret.yaml")
    (place.folder / "deep").symlink_to(root / "elsewhere")
    save_plan(with_value("data.path", "rows.jsonl"), place.folder / "one.yaml")
    return place.folder


@pytest.fixture
def asked(monkeypatch):
    """What the command line is asked for; it says no."""
    words = []

    def call(arguments, folder, **_):
        words.append(arguments)
        return subprocess.CompletedProcess(arguments, 1, "", "no")

    for room in (api_queue, api_plan):
        monkeypatch.setattr(room, "call", call)
    return words


def with_value(path, file):
    section, key = path.split(".")
    value = plan().model_dump(mode="json", by_alias=True)
    value[section][key] = [file] if key == "tasks" else file
    return make_plan(value)


def named(file, path, root):
    """`file` as the value at `path`: a task is a YAML file."""
    file = file.format(root=root)
    return file.removesuffix(".jsonl") + ".yaml" if path == "evaluation.tasks" else file


def refused(answer, root, folder, path):
    assert answer.status_code == 409
    assert path in str(answer.json()["error"]["faults"])
    assert SECRET not in answer.text


@pytest.mark.parametrize("file", OUTSIDE)
@pytest.mark.parametrize("path", PATHS)
def test_path_traversal_by_a_value_of_a_sweep_is_refused_and_nothing_outside_is_opened(
    client, root, home, asked, path, file
):
    there = named(file, path, root)
    lists = [
        json.dumps(values)
        for values in ([["arc_easy"], [there]] if path == "evaluation.tasks" else ["rows.jsonl", there])
    ]
    settings = [f"{path}=[{', '.join(lists)}]", f" {path} ={lists[1]}"]
    with watched() as seen:
        for setting in settings:
            for more in ([], ["lora.rank=[4, 8]"]):
                body = {"plan": "one.yaml", "settings": [setting, *more]}
                refused(change(client, "POST", "/api/queue", body), root, home, path)
    assert not seen.outside(root, home)
    assert not asked


@pytest.mark.parametrize("file", OUTSIDE)
@pytest.mark.parametrize("path", PATHS)
def test_path_traversal_by_a_plan_file_that_is_queued_is_refused(client, root, home, asked, path, file):
    save_plan(with_value(path, named(file, path, root)), home / "two.yaml")
    with watched() as seen:
        refused(change(client, "POST", "/api/queue", {"plan": "two.yaml"}), root, home, path)
        refused(
            change(client, "POST", "/api/queue", {"plan": "two.yaml", "settings": ["lora.rank=[4]"]}), root, home, path
        )
    assert not seen.outside(root, home)
    assert not asked


@pytest.mark.parametrize("file", OUTSIDE)
@pytest.mark.parametrize("path", PATHS)
def test_path_traversal_by_a_setting_of_a_page_is_refused(client, root, home, asked, path, file):
    there = named(file, path, root)
    setting = f"{path}={json.dumps([there] if path == 'evaluation.tasks' else there)}"
    body = {"page": KEY, "data": "rows.jsonl", "model": "m", "settings": [setting]}
    with watched() as seen:
        for queue in (False, True):
            assert change(client, "POST", "/api/runs", body | {"queue": queue}).status_code == 409
        assert "error" in change(client, "POST", "/api/plan", body).json()
        assert change(client, "POST", "/api/estimate", body).status_code == 409
    assert not seen.outside(root, home)
    assert not asked
    assert not list(home.glob("plans/*"))


def test_a_sweep_over_files_of_the_folder_is_passed_on(client, home, asked):
    (home / "more.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    body = {"plan": "one.yaml", "settings": ["data.path=[rows.jsonl, more.jsonl]", "evaluation.tasks=[[a.yaml, b]]"]}
    change(client, "POST", "/api/queue", body)
    assert len(asked) == 1


@pytest.mark.parametrize("file", OUTSIDE)
@pytest.mark.parametrize("path", ["data.path", "data.validation_path"])
def test_path_traversal_by_a_data_set_of_a_mix_is_refused_and_nothing_outside_is_opened(
    client, root, home, asked, path, file
):
    there = json.dumps(file.format(root=root))
    (home / "mix.yaml").write_text(f"datasets:\n  - path: rows.jsonl\n  - path: {there}\n")
    save_plan(with_value(path, "mix.yaml"), home / "two.yaml")
    with watched() as seen:
        refused(change(client, "POST", "/api/queue", {"plan": "two.yaml"}), root, home, path)
        body = {"plan": "one.yaml", "settings": [f"{path}=[rows.jsonl, mix.yaml]"]}
        refused(change(client, "POST", "/api/queue", body), root, home, path)
    assert not seen.outside(root, home)
    assert not asked


@pytest.mark.parametrize(
    "text", ["datasets: [{path: rows.jsonl}]", "datasets: [{path: 'hub:owner/name'}]", "no: [", ""]
)
def test_a_mix_of_the_folder_or_one_that_is_not_whole_is_the_commands_to_read(client, home, asked, text):
    (home / "mix.yaml").write_text(text)
    save_plan(with_value("data.path", "mix.yaml"), home / "two.yaml")
    change(client, "POST", "/api/queue", {"plan": "two.yaml"})
    assert len(asked) == 1
