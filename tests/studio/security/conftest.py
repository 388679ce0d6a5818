"""Classes of attack that web apps of this kind have fallen to, a file each; here is the folder they are tried on.

CSRF, DNS rebinding, foreign WebSockets, the key in a page: ../test_guard.py.    Text of every kind in a real browser:
tests/browser/test_text.py.    Pickles and code of models: tests/model.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluate.runs import make_run
from tests.studio.conftest import CHANGE
from tunebook.studio.place import Place

KEY = "phase-3-fine-tuning"
SECRET = "the-secret-of-another-folder"
SOURCE = Path(__file__).parents[3] / "src" / "tunebook"


@pytest.fixture
def root(tmp_path):
    """A studio's folder, `home`, beside files that are nobody's business, one in a folder whose name begins alike."""
    for place in ("", "home-evil", "home/runs-evil", "elsewhere"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        for name in ("secret.txt", "secret.jsonl", "secret.md", "secret.yaml", "step-0.json", "run.log", "run.json"):
            (tmp_path / place / name).write_text(f'---\ntitle: "{SECRET}"\n---\n')
    make_run(tmp_path / "home" / "runs" / "done-1", steps=20)
    return tmp_path


@pytest.fixture
def place(root):
    return Place(root / "home", root / "home" / "runs")


def change(client, method, path, body):
    return client.request(method, path, headers=CHANGE, content=json.dumps(body))
