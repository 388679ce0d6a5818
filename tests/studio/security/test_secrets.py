"""The key and the secrets of the environment stand in nothing that is served, written or listed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.studio.security.conftest import KEY
from tunebook.evaluate.report import write_report


@pytest.mark.slow
def test_the_key_and_secrets_of_the_environment_stand_in_no_page_answer_log_or_argument(place):
    """A real studio: what it serves, what it writes to its terminal beside the one line, and what `ps` shows of it."""
    write_report(place.runs / "done-1")
    secrets = {
        "HF_TOKEN": "hf_canary0123456789",
        "AWS_SECRET_ACCESS_KEY": "aws-canary",
        "TUNEBOOK_JUDGE_KEY": "sk-canary",
    }
    command_line = [
        sys.executable,
        "-m",
        "tunebook",
        "studio",
        "--no-browser",
        "--port",
        "0",
        "--runs",
        str(place.runs),
    ]
    studio = subprocess.Popen(
        command_line,
        cwd=place.folder,
        env={**os.environ, **secrets},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = studio.stdout.readline().strip()
        base, token = address.split("/?token=")
        import httpx2

        with httpx2.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=100) as asker:
            described = asker.get("/api/openapi.json").json()
            paths = [
                path.replace("{name}", "done-1").replace("{key}", KEY).replace("{step}", "0")
                for path in described["paths"]
                if "doctor" not in path
            ]
            texts = [
                asker.get(path).text for path in [*paths, "/", "/data", "/runs/done-1", f"/pages/{KEY}", "/nothing"]
            ]
        texts += [Path(f"/proc/{studio.pid}/cmdline").read_text()]
    finally:
        studio.terminate()
        _, said = studio.communicate(timeout=20)
    canaries = [token, *secrets.values()]
    assert not [canary for canary in canaries for text in [*texts, said] if canary in text]
    assert not [
        path for path in place.folder.rglob("*") if path.is_file() and token in path.read_text(errors="replace")
    ]
