"""YAML that runs code or grows without end is refused, and none is written."""

from __future__ import annotations

import time

import pytest
import yaml

from tests.studio.security.conftest import KEY, change

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12)
)
EVIL = [
    "!!python/object/apply:os.system ['touch canary']",
    "!!python/name:os.system",
    BOMB,
    "[" * 50_000,
    "\0",
    "{a: {a: " * 9_000,
]


@pytest.mark.parametrize("text", EVIL, ids=["apply", "name", "bomb", "brackets", "nul", "deep"])
def test_yaml_that_runs_or_grows_is_refused_wherever_it_comes_in(client, place, text, monkeypatch):
    monkeypatch.chdir(place.folder)
    begun = time.process_time()
    place.answers_file(KEY).parent.mkdir()
    place.answers_file(KEY).write_text(text)
    assert client.get(f"/api/pages/{KEY}/answers").json()["faults"]
    (place.folder / "mine.md").write_text(f"---\ntitle: Mine\nmore: {text}\n---\n## A\n")
    assert client.get("/").status_code == 200
    assert client.get("/pages/own-mine").status_code == 200
    (place.runs / "done-1" / "plan.yaml").write_text(text)
    assert client.get("/runs/done-1").status_code == 200
    place.answers_file(KEY).unlink()
    said = change(client, "POST", "/api/plan", {"page": KEY, "settings": [f"training.seed={text}"]})
    assert said.status_code == 200
    assert said.json()["error"]["what"]
    assert not list(place.folder.rglob("canary"))
    assert time.process_time() - begun < 5


def test_yaml_of_answers_is_safe_to_read_with_any_loader(client, place):
    """What the studio writes holds no tag that a careless reader would run."""
    change(client, "POST", f"/api/pages/{KEY}/answers", {"changes": {"how-will-you-prevent-overfitting": EVIL[0]}})
    assert yaml.safe_load(place.answers_file(KEY).read_text())["answers"]["how-will-you-prevent-overfitting"] == EVIL[0]
