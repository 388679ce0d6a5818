"""Sending an export to the hub: only when asked, only whole, private unless said. The hub itself is stood in for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.call import call
from tunebook.errors import ExportError
from tunebook.export.hub import check_push, push
from tunebook.export.staging import staged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with staged(tmp_path / "export", "run 1") as place:
        (place / "model.safetensors").write_bytes(b"weights")
    return tmp_path / "export"


class Hub:
    """What the hub was asked to do; `refusal` is what it says instead."""

    def __init__(self, refusal: str = "", *, there: str = "") -> None:
        self.refusal, self.there = refusal, there
        self.asked: list[dict[str, Any]] = []

    def create_repo(self, name: str, **how: Any) -> str:
        if self.refusal:
            raise ConnectionError(self.refusal)
        self.asked.append({"name": name, **how})
        return f"https://hub.example/{name}"

    def model_info(self, name: str) -> Any:
        return SimpleNamespace(private=self.there != "public")

    def upload_folder(self, **how: Any) -> None:
        self.asked.append(how)


@pytest.mark.parametrize("public", [False, True])
def test_a_whole_export_is_sent_private_unless_said_and_nothing_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, public: bool
) -> None:
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    (folder / "diary.txt").write_text("mine")
    assert push(folder, "ann/house", public=public, say=lambda _: None) == "https://hub.example/ann/house"
    made, sent = hub.asked
    assert (made["name"], made["private"]) == ("ann/house", not public)
    assert sent["folder_path"] == folder
    assert sorted(sent["allow_patterns"]) == ["MANIFEST.json", "model.safetensors"]


def test_a_damaged_export_is_not_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: pytest.fail("the hub was asked"))
    (folder / "model.safetensors").write_bytes(b"weight")
    with pytest.raises(ExportError, match=r"(?s)Nothing was sent.*model\.safetensors"):
        push(folder, "ann/house", public=False, say=lambda _: None)


def test_what_the_hub_refuses_is_told_in_its_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: Hub("401 Unauthorized.\nmore"))
    with pytest.raises(ExportError, match=r"did not take ann/house \(401 Unauthorized\)\. The exported files are in"):
        push(folder, "ann/house", public=False, say=lambda _: None)


def test_names_and_adapters_that_the_hub_has_no_use_for_are_refused_first(tmp_path: Path) -> None:
    for name in ("house", "/house", "ann/", "a/b/c"):
        with pytest.raises(ExportError, match="is not a name on the hub"):
            check_push(name, "safetensors", "owner/base")
    with pytest.raises(ExportError, match="'base' is not a model of the hub"):
        check_push("ann/house", "adapter", str(tmp_path / "base"))
    check_push("ann/house", "adapter", "owner/base")
    check_push("ann/house", "safetensors", str(tmp_path / "base"))


def test_public_without_push_is_bad_usage() -> None:
    assert call("export", "run", "--public").code == 2


def test_a_repository_that_is_there_and_public_gets_nothing_unless_public_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(there="public")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    with pytest.raises(ExportError, match=r"on the hub already, and public. Nothing was sent"):
        push(folder, "ann/house", public=False, say=lambda _: None)
    assert not any("folder_path" in asked for asked in hub.asked)
    push(folder, "ann/house", public=True, say=lambda _: None)
    assert hub.asked[-1]["folder_path"] == folder
