"""The house's order: a file imports only from rooms above its own, and the command line loads no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "tunebook"
ROOMS = (
    *("runs", "pages", "plan", "data", "versions", "model", "workers", "train"),
    *("evaluate", "export", "workflow", "compare", "queue", "studio", "cli"),
)
GROUND = ("errors", "files", "steps")  # files of the house itself, below every room


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
