"""No address and no file name opens, lists or writes anything outside the studio's folders."""

from __future__ import annotations

import pytest

from tests.studio.conftest import CHANGE, HOST
from tests.studio.oracle import watched
from tests.studio.security.conftest import KEY, SECRET, change

pytestmark = pytest.mark.slow  # seconds together

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
