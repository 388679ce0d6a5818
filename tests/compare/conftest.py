"""Runs of the tiny model that have data, a split, answers and two checkpoints; a server that answers to order."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.export.making import finished_run, plan_for, tuned_model
from tunebook.data.conversation import Conversation
from tunebook.data.read import open_source
from tunebook.files import write_json
from tunebook.model.adapters import trainable_parameters
from tunebook.runs.store import Run
from tunebook.train.checkpoint import save_checkpoint

ROWS = 6


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run `tiny-1`: rows 0 to 5 are held out (its samples are of them), row 6 was trained on."""
    run = finished_run(tmp_path_factory.mktemp("compare"))
    data = run.folder / "data.jsonl"
    rows = [{"prompt": f"What is {n} + {n}?", "completion": f"The sum is {n + n}."} for n in range(ROWS + 1)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ids = [item.id for item in open_source(data).conversations() if isinstance(item, Conversation)]
    write_json(run.folder / "data" / "split.json", {"format": 1, "training": ids[ROWS:], "validation": ids[:ROWS]})
    base = run.folder.parents[1] / "base"
    save_checkpoint(
        run.checkpoints, 3, trainable_parameters(tuned_model(base, plan_for(base), seed=5)), {}, {"step": 3}
    )
    return run


@pytest.fixture
def runs(made: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEBOOK_RUNS", str(made.folder.parent))
    return made.folder.parent


@pytest.fixture
def server() -> Iterator[Any]:
    """Start an OpenAI-compatible server whose answer to a text is what the given function says; yields its address."""
    servers = []

    def start(reply: Any) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send({"data": [{"id": "other-7b"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = reply(body["messages"][-1]["content"])
                choice = {"message": {"content": text}, "finish_reason": "stop"}
                self.send({"choices": [choice], "usage": {"completion_tokens": len(text.split())}})

            def send(self, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words: Any) -> None:
                pass

        made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        servers.append(made)
        return f"http://127.0.0.1:{made.server_port}/v1"

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()
