"""A test for each class of attack that web apps of this kind have fallen to; the guard's own are in test_guard.py.

command injection, path traversal, links, server-side requests, secrets, YAML, template code, CSV, denial of
service, jobs without a key: here.    CSRF, DNS rebinding, foreign WebSockets, the key in a page: test_guard.py.
Text of every kind in a real browser: tests/browser/test_text.py.    Pickles and code of models: tests/model.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from starlette.testclient import TestClient

from tests.evaluate.runs import make_run
from tests.studio.conftest import CHANGE, HOST, TOKEN, plan
from tests.studio.oracle import watched
from tunebook.evaluate.report import write_report
from tunebook.runs.store import create_run
from tunebook.studio import command
from tunebook.studio.app import create_app
from tunebook.studio.place import Place

KEY = "phase-3-fine-tuning"
SECRET = "the-secret-of-another-folder"
SOURCE = Path(__file__).parents[2] / "src" / "tunebook"


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


# --- path traversal

UP = "../../../secret"
PATHS = [
    "..",
    "../secret.txt",
    "..%2fsecret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "%252e%252e%252fsecret.txt",
    "..%5csecret.txt",
    "..\\secret.txt",
    "..;/secret.txt",
    "done-1;/../../secret.txt",
    "....//secret.txt",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "C:%5cwindows%5cwin.ini",
    "%5c%5chost%5cshare",
    "file:%2f%2f%2fetc%2fpasswd",
    "done-1%00",
    "done-1%00/../../../secret.txt",
    "../runs-evil",
    "../../home-evil/secret.txt",
    "..%c0%afsecret.txt",
    "%uff0e%uff0e/secret.txt",
    "DONE-1/../../secret.txt",
    "a" * 5000,
    "%F0%9F%98%80",
    "~/secret.txt",
    "$HOME",
]
ROUTES = [
    "/api/runs/{}",
    "/api/runs/{}/log",
    "/api/runs/{}/plan",
    "/api/runs/{}/metrics",
    "/api/runs/{}/report",
    "/api/runs/done-1/samples/{}",
    "/api/runs/{}/review",
    "/api/runs/{}/work",
    "/api/pages/{}/source",
    "/api/pages/{}/tasks",
    "/runs/{}/review",
    "/api/pages/{}",
    "/api/pages/{}/answers",
    "/runs/{}",
    "/runs/{}/report",
    "/pages/{}",
    "/static/{}",
    "/static/../{}",
]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_path_traversal_in_an_address_opens_nothing_outside(client, root, path):
    with watched() as seen:
        for route in ROUTES:
            answer = client.get(f"http://{HOST}{route.format(path)}")
            assert SECRET not in answer.text, route
            assert "root:" not in answer.text, route
            assert answer.status_code < 500, route
        for method, route in (
            ("DELETE", "/api/runs/{}"),
            ("POST", "/api/runs/{}/stop"),
            ("POST", "/api/runs/{}/resume"),
        ):
            assert 400 <= change(client, method, f"http://{HOST}{route.format(path)}", {}).status_code < 500
    assert not seen.outside(root, root / "home")
    assert not [path for path in seen.files if "passwd" in str(path)]
    assert (root / "secret.txt").exists()
    assert (root / "home" / "runs" / "done-1" / "events.jsonl").exists()


NAMES = [
    "../secret.jsonl",
    "runs/../../secret.jsonl",
    "../home-evil/secret.jsonl",
    "{root}/secret.jsonl",
    "/etc/passwd",
    "..\\secret.jsonl",
    "secret.jsonl\0.jsonl",
    "\0",
    "",
    ".",
    "a/" * 2000 + "x.jsonl",
    "file:///etc/passwd",
    "http://127.0.0.1/x.jsonl",
    "~/secret.jsonl",
    "CON.jsonl",
    "\ud800.jsonl",
    "runs/done-1/run.json/../../../../secret.jsonl",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_path_traversal_in_a_file_name_opens_nothing_outside(client, root, name):
    name = name.format(root=root)
    bodies = [
        ("/api/data/check", {"file": name}),
        ("/api/data/show", {"file": name, "model": "m", "row": 1}),
        ("/api/facts", {"page": KEY, "data": name, "model": "m"}),
        ("/api/runs", {"page": KEY, "data": name, "model": "m"}),
        ("/api/runs", {"page": name, "data": "x.jsonl", "model": "m"}),
        ("/api/runs", {"page": KEY, "data": "x.jsonl", "model": "m", "name": name or "."}),
    ]
    with watched() as seen:
        for path, body in bodies:
            answer = change(client, "POST", path, body)
            assert 400 <= answer.status_code < 500, (path, answer.text)
            assert SECRET not in answer.text
    assert not seen.outside(root, root / "home")
    assert not seen.commands
    assert not [path for path in seen.files if "passwd" in str(path)]


@pytest.mark.parametrize(
    "path", ["..%2fnew.jsonl", "%2ftmp%2fnew.jsonl", "..%5cnew.jsonl", "a%2f..%2f..%2fnew.jsonl", "link.jsonl"]
)
def test_path_traversal_in_the_name_of_a_file_that_is_sent_writes_nothing_outside(client, root, place, path):
    (place.folder / "link.jsonl").symlink_to(root / "elsewhere" / "new.jsonl")
    headers = {**CHANGE, "content-type": "application/octet-stream"}
    with watched() as seen:
        assert client.post(f"/api/data/files/{path}", headers=headers, content=b"{}\n").status_code < 500
    assert not seen.outside(root, root / "home")
    assert not list(root.glob("new*")) + list((root / "elsewhere").glob("new*"))


# --- links


@pytest.mark.parametrize(
    "part", ["run.log", "plan.yaml", "report.json", "samples/step-0.json", "events.jsonl", "run.json"]
)
def test_a_link_inside_a_run_folder_that_leads_out_is_not_followed(client, root, place, part):
    """Such a link comes with a run folder that somebody else packed."""
    outside = root / "elsewhere" / "step-0.json"
    outside.write_text(
        json.dumps({"format": 1, "step": 0, "seq": 1, "time": 1, "kind": "log", "answers": SECRET}) + "\n"
    )
    path = place.runs / "done-1" / part
    path.unlink(missing_ok=True)
    path.symlink_to(outside)
    os.utime(outside, (2e9, 2e9))
    with watched() as seen:
        for name in ("", "/log", "/plan", "/report", "/samples/0", "/metrics"):
            assert SECRET not in client.get(f"/api/runs/done-1{name}").text
        client.get("/api/runs")
        client.get("/runs/done-1")
    assert not seen.outside(root, root / "home")


def test_a_linked_run_folder_is_neither_listed_nor_read_nor_removed(client, root, place):
    outside = create_run("outside-1", root / "elsewhere", plan())
    (place.runs / "link-1").symlink_to(outside.folder)
    with watched() as seen:
        assert "link-1" not in client.get("/api/runs").text
        assert client.get("/api/runs/link-1").status_code == 409
        assert change(client, "DELETE", "/api/runs/link-1", {}).status_code == 409
    assert outside.folder.is_dir()
    assert not [path for path in seen.outside(root, root / "home") if path.is_file()]


@pytest.mark.parametrize("link", ["answers", f"answers/{KEY}.yaml", "plans"])
def test_answers_and_plans_are_not_written_through_a_link_that_leads_out(client, root, place, link):
    target = root / "elsewhere" / "target"
    path = place.folder / link
    path.parent.mkdir(exist_ok=True)
    if link.endswith(".yaml"):
        target.write_text("untouched")
    else:
        target.mkdir()
    path.symlink_to(target)
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with watched() as seen:
        given = change(client, "POST", f"/api/pages/{KEY}/answers", {"changes": {"batch-size": "8 (Balanced)"}})
        assert given.status_code == 409 or link == "plans"
        assert change(client, "POST", "/api/runs", {"page": KEY, "data": "rows.jsonl", "model": "m"}).status_code >= 400
    assert not [path for path in seen.outside(root, root / "home") if path != target]
    assert target.read_text() == "untouched" if link.endswith(".yaml") else not list(target.iterdir())


def test_data_and_pages_behind_a_link_that_leads_out_are_not_offered(client, root, place):
    (place.folder / "rows.jsonl").symlink_to(root / "secret.jsonl")
    (place.folder / "mine.md").symlink_to(root / "secret.md")
    (place.folder / "deep").symlink_to(root / "elsewhere")
    offered = client.get("/api/data").json()["files"]
    assert offered
    assert not [name for name in offered if name.startswith(("rows", "deep"))]
    assert SECRET not in client.get("/").text
    for name in ("rows.jsonl", "deep/secret.jsonl"):
        assert change(client, "POST", "/api/data/check", {"file": name}).status_code == 404


# --- command injection

HARD_NAMES = [
    "$(touch canary).jsonl",
    "; touch canary;.jsonl",
    "`touch canary`.jsonl",
    "--debug.jsonl",
    "-rf.jsonl",
    "a b'\".jsonl",
]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_command_injection_by_a_name_reaches_no_shell_and_is_no_option(client, place, name, monkeypatch):
    (place.folder / name).write_text('{"prompt": "a", "completion": "b"}\n')
    calls = []

    def run(words, **options):
        assert not options.get("shell")
        calls.append(words)
        return subprocess.CompletedProcess(words, 1, "", "refused")

    monkeypatch.setattr(command.subprocess, "run", run)
    change(client, "POST", "/api/data/check", {"file": name, "model": name})
    change(client, "POST", "/api/data/show", {"file": name, "model": name, "row": 1})
    assert calls
    for words in calls:
        place_of_dashes = words.index("--")
        assert words[place_of_dashes + 1 :] == [str(place.folder / name)], "a name stands behind `--`, whole"
        assert all(word.startswith("--model=") for word in words[:place_of_dashes] if name in word)
    assert not (place.folder / "canary").exists()


@pytest.mark.parametrize("model", ["m\0m", "m\ud800"])
def test_a_character_that_no_command_takes_is_said(client, place, model):
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    answer = change(client, "POST", "/api/data/show", {"file": "rows.jsonl", "model": model, "row": 1})
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["what"]


@pytest.mark.parametrize(
    "name", ["$(touch x)", "-rf", "--help", "a b", "a\nb", "a;b", "A", "é", "..", ".x", "a/b", "x" * 65]
)
def test_command_injection_by_the_name_of_a_run_is_refused(client, place, name):
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with watched() as seen:
        body = {"page": KEY, "data": "rows.jsonl", "model": "m", "name": name}
        assert change(client, "POST", "/api/runs", body).status_code == 409
    assert not seen.commands


def test_no_file_of_the_house_calls_a_shell_or_reads_a_pickle():
    """What a linter's rules also forbid, said of the text itself."""
    forbidden = "|".join(
        (
            r"shell\s*=\s*True",
            r"os\.(system|popen)\(",
            r"\bpickle\b.*\bload",
            r"torch\.load\(",
            r"yaml\.(unsafe_|full_)load\(",
            r"allow_pickle=True",
            r"trust_remote_code=True",
        )
    )
    found = [
        f"{path.name}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(forbidden, line)
    ]
    assert not found


# --- server-side requests

ADDRESSES = [
    "http://127.0.0.1:{port}/x",
    "http://[::1]:{port}/x",
    "http://2130706433:{port}/x",
    "http://0x7f000001:{port}/",
    "http://user@127.0.0.1:{port}\\@example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
    "hf://127.0.0.1:{port}/x",
    "http://169.254.169.254/latest/meta-data",
]


def test_server_side_requests_to_an_address_that_a_user_gives_are_never_made(client, place):
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with socket.create_server(("127.0.0.1", 0)) as listener, watched() as seen:
        listener.setblocking(False)
        for address in ADDRESSES:
            there = address.format(port=listener.getsockname()[1])
            assert change(client, "POST", "/api/data/check", {"file": there}).status_code == 404
            assert change(client, "POST", "/api/plan", {"page": KEY, "model": there}).status_code == 200
            assert change(client, "POST", "/api/runs", {"page": KEY, "data": there}).status_code == 404
            change(client, "POST", "/api/rules", {"text": f"stop when {there} says so"})
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not seen.addresses


def test_an_address_is_no_model(place):
    from tunebook.errors import ModelError
    from tunebook.model.sources import find_model

    for address in ADDRESSES:
        with pytest.raises(ModelError, match="There is no model"):
            find_model(address.format(port=9), place.folder)


# --- secrets


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


# --- YAML

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


# --- text that is code elsewhere

TEMPLATES = [
    "{{ 7*7 }}",
    "{{ ''.__class__.__mro__ }}",
    "{% for x in range(10**9) %}{% endfor %}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
]


def test_text_that_looks_like_a_template_is_shown_as_it_stands(client, place):
    for text in TEMPLATES:
        (place.folder / "mine.md").write_text(
            f"---\ntitle: '{text.replace(chr(39), chr(39) * 2)}'\n---\n## A\n\n{text}\n"
        )
        shown = client.get("/pages/own-mine").text
        assert "49" not in re.sub(r"\d{3,}", "", shown)
        assert text.replace("'", "&#39;").replace("<", "&lt;").replace(">", "&gt;") in shown


def test_no_csv_is_written_so_no_spreadsheet_runs_a_cell(client):
    """A formula in a cell has nowhere to go: rows leave the studio as JSON alone."""
    assert not [
        path.name for path in SOURCE.rglob("*.py") if re.search(r"csv\.(writer|DictWriter)|to_csv", path.read_text())
    ]
    described = client.get("/api/openapi.json").text
    assert "text/csv" not in described
    assert client.get("/api/runs/done-1/metrics").headers["content-type"] == "application/json"


# --- denial of service


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/rules", '{"text": "' + "stop after 3 epochs, " * 200_000 + '"}'),
        ("/api/rules", '{"text": ' + "[" * 1_000_000 + "}"),
        ("/api/rules", '{"text": "' + "\\ud800" * 500_000 + '"}'),
        ("/api/order", json.dumps({"lines": ["validate the data set " * 200] * 1000})),
        (f"/api/pages/{KEY}/answers", json.dumps({"changes": {str(number): "x" for number in range(200_000)}})),
        (f"/api/pages/{KEY}/answers", json.dumps({"changes": {"metrics": ["x"] * 500_000}})),
        ("/api/plan", json.dumps({"page": KEY, "settings": ["training.seed=" + "9" * 40_000] * 100})),
        ("/api/plan", json.dumps({"page": "x" * 1_000_000})),
    ],
    ids=["prose", "nesting", "surrogates", "order", "many answers", "long list", "settings", "name"],
)
def test_denial_of_service_by_a_large_request_is_bounded(client, path, body):
    begun = time.process_time()
    answer = client.post(path, headers=CHANGE, content=body[:4_900_000])
    assert answer.status_code < 500
    assert time.process_time() - begun < 4
    assert client.get("/api/runs").status_code == 200, "and the studio goes on"


def test_denial_of_service_by_a_10_mb_page_is_bounded(client, place):
    (place.folder / "huge.md").write_text("---\ntitle: Huge\n---\n" + "## A\n\n- [ ] x **y** `z`\n" * 400_000)
    begun = time.process_time()
    assert client.get("/").status_code == 200
    assert client.get("/pages/own-huge").status_code == 200
    assert time.process_time() - begun < 2


def test_at_most_two_heavy_commands_run_at_once(place, monkeypatch):
    """However often a button is pressed, or however many tabs ask."""
    from threading import Barrier, Lock, Thread

    now, most, lock, together = 0, 0, Lock(), Barrier(8)

    def run(words, **options):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return subprocess.CompletedProcess(words, 0, "{}", "")

    monkeypatch.setattr(command.subprocess, "run", run)

    def ask():
        together.wait()
        command.call_json(["data", "check"], place.folder)

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


# --- jobs without a key


def test_jobs_cannot_be_started_stopped_or_removed_without_the_key(app, place):
    stranger = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)
    (place.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    described = TestClient(app, base_url=f"http://{HOST}").get("/api/openapi.json", params={"token": TOKEN}).json()
    changing = [(method, path) for path, methods in described["paths"].items() for method in methods if method != "get"]
    assert len(changing) >= 8
    with watched() as seen:
        for method, path in changing:
            body = {"page": KEY, "data": "rows.jsonl", "model": "m", "name": "x-1", "changes": {}, "discard": True}
            filled = path.replace("{name}", "done-1").replace("{key}", KEY)
            for more in ({}, {"cookie": "tunebook=x"}, {"authorization": "Bearer x"}, {"authorization": TOKEN[:-1]}):
                answer = stranger.request(method.upper(), filled, headers={**CHANGE, **more}, content=json.dumps(body))
                assert answer.status_code == 401, (method, path)
            with_token = stranger.request(method.upper(), f"{filled}?token={TOKEN}", headers=CHANGE, content="{}")
            assert with_token.status_code == 401, "a key in an address changes nothing"
    assert not seen.commands
    assert not [path for path in seen.files if path.is_relative_to(place.folder)]
    assert (place.runs / "done-1").is_dir()


def test_every_public_route_is_described_so_that_the_tests_above_see_it(app):
    """A route left out of the description is a page, drawn by `views`, and only reads."""
    inner = app.app
    described = set(inner.openapi()["paths"])
    for route in _routes(inner):
        path, methods = getattr(route, "path", ""), getattr(route, "methods", None) or set()
        if methods and path not in described:
            assert methods <= {"GET", "HEAD"}, path


def _routes(app):
    found, more = [], list(app.routes)
    while more:
        route = more.pop()
        inside = getattr(route, "routes", None)
        more += list(inside) if inside and not hasattr(route, "methods") else []
        found.append(route)
    return found


def test_a_studio_can_only_be_made_for_named_hosts(place):
    with pytest.raises(TypeError):
        create_app(place, token=TOKEN)  # type: ignore[call-arg]


def test_yaml_of_answers_is_safe_to_read_with_any_loader(client, place):
    """What the studio writes holds no tag that a careless reader would run."""
    change(client, "POST", f"/api/pages/{KEY}/answers", {"changes": {"how-will-you-prevent-overfitting": EVIL[0]}})
    assert yaml.safe_load(place.answers_file(KEY).read_text())["answers"]["how-will-you-prevent-overfitting"] == EVIL[0]
