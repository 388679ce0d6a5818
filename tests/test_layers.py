"""The house's order: a file imports only from rooms above its own, and the command line loads no torch."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluate.runs import make_run

SOURCE = Path(__file__).parent.parent / "src" / "tunebook"
ROOMS = (
    *("runs", "pages", "plan", "data", "versions", "model", "workers", "train"),
    *("evaluate", "export", "workflow", "compare", "queue", "studio", "cli"),
)
GROUND = ("collector", "errors", "files", "steps")  # files of the house itself, below every room


def imports(path: Path) -> set[str]:
    """Rooms that a file imports when it is loaded, imports for types alone left out."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tunebook."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("tunebook.")}
    return found - set(GROUND)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_from_rooms_above_its_own(path):
    parts = path.relative_to(SOURCE).parts
    if len(parts) == 1:
        assert parts[0] == "__main__.py" or not imports(path), "the ground floor knows no room"
        return
    allowed = set(ROOMS[: ROOMS.index(parts[0]) + 1])
    assert imports(path) <= allowed


def test_a_forbidden_import_would_be_caught(tmp_path):
    file = tmp_path / "file.py"
    file.write_text(
        "from tunebook.cli.run import demo\nimport tunebook.studio.app\nfrom tunebook.errors import Fault\n"
    )
    assert imports(file) == {"cli", "studio"}


def test_the_command_line_loads_neither_torch_nor_transformers():
    code = (
        "import sys, importlib; from tunebook.cli.app import COMMANDS\n"
        "[importlib.import_module(f'tunebook.cli.{module}') for module, _ in COMMANDS.values()]\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'pyarrow', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


READING = (
    *("status one --json", "status one", "runs", "metrics one", "report one", "report one --json", "verify one"),
    *("replay one --stop 'stop when validation loss rises twice'", "review status one --policy all", "stop one"),
    *("versions list", "queue list"),
)


def heavy_after(code, folder):
    """Of torch and transformers, what a fresh process has loaded once it has run `code` in `folder`."""
    code += "\nprint('loaded:', *sorted({'torch', 'transformers'} & set(sys.modules)))"
    places = {"TUNEBOOK_RUNS": str(folder / "runs"), "PYTHONPATH": str(SOURCE.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder, env=os.environ | places
    )
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.slow
@pytest.mark.parametrize("line", READING)
def test_commands_that_only_read_a_run_load_neither_torch_nor_transformers(tmp_path, line):
    make_run(tmp_path / "runs" / "one")
    faults = int(line.startswith("verify"))  # the run is made up, and some of its files are missing
    code = f"import sys; from tests.cli.call import call\ndone = call(*{shlex.split(line)})\n"
    code += f"assert done.code == {faults}, done.err"
    assert heavy_after(code, tmp_path) == []


@pytest.mark.slow
def test_the_studios_server_loads_neither_torch_nor_transformers(tmp_path):
    make_run(tmp_path / "runs" / "one")
    code = """
import sys
from pathlib import Path
from starlette.testclient import TestClient
from tunebook.runs.lock import hold_lock
from tunebook.studio.app import create_app
from tunebook.studio.place import Place

place = Place(Path.cwd(), Path("runs").absolute())
host = "127.0.0.1:8377"
client = TestClient(create_app(place, token="key", hosts=[host]), base_url=f"http://{host}")
client.cookies.set("tunebook", "key")
change = {"origin": f"http://{host}", "content-type": "application/json", "sec-fetch-site": "same-origin"}
for path in ("", "/metrics", "/plan", "/samples/0", "/log"):
    assert client.get(f"/api/runs/one{path}").status_code == 200, path
assert client.get("/api/runs").status_code == 200
with hold_lock(place.runs / "one"):
    assert client.post("/api/runs/one/stop", headers=change, content="{}").json() == {"asked": True}
"""
    assert heavy_after(code, tmp_path) == []
