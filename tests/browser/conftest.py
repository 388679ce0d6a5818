"""A studio in a process of its own, and a Chromium. Any console error or foreign request fails a test."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.evaluate.runs import make_run
from tunebook.evaluate.report import write_report

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Studio:
    """`tunebook studio PAGES` in `folder`; it can be ended and started again on the same port."""

    def __init__(self, folder: Path, *pages: Path) -> None:
        self.folder, self.pages, self.port = folder, pages, "0"
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "tunebook",
            "studio",
            "--no-browser",
            "--port",
            self.port,
            *map(str, self.pages),
        ]
        self.process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        self.port = self.address.split(":")[2].split("/")[0]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)

    def kill(self) -> None:
        """As the system would, without a word."""
        assert self.process
        self.process.kill()
        self.process.wait(20)


@contextmanager
def running(folder: Path, *pages: Path):
    """A studio, ended at the end."""
    studio = Studio(folder, *pages)
    studio.start()
    try:
        yield studio
    finally:
        studio.end()


@contextmanager
def browser():
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


def watch(page, studio: Studio, faults: list[str]) -> None:
    """Collect what must not happen on a page."""
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: None if _local(request.url, studio) else faults.append(f"asked {request.url}"))


def _local(url: str, studio: Studio) -> bool:
    return url.startswith((studio.base, f"ws://127.0.0.1:{studio.port}", "data:"))


@pytest.fixture(scope="session")
def chromium():
    pytest.importorskip("playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    with browser() as found:
        yield found


@pytest.fixture
def studio(tmp_path):
    run = make_run(tmp_path / "runs" / "done-1", steps=40, review={"policy": "all"})
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 3)
    write_report(run.folder)
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def page(chromium, studio):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    found = context.new_page()
    faults: list[str] = []
    watch(found, studio, faults)
    found.faults = faults
    found.goto(studio.address)
    yield found
    context.close()
    assert not faults
