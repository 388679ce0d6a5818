"""Versions: what becomes one, what is kept of it, going back, and what cannot be removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.call import call
from tests.tiny import save_tiny
from tunebook.cli import serve
from tunebook.errors import ModelError, RunError
from tunebook.evaluate.review import judge_checkpoint
from tunebook.export.staging import staged
from tunebook.files import read_json, write_json
from tunebook.model.sources import find_model, load_model, load_tokenizer, weights_sha256
from tunebook.plan.files import make_plan
from tunebook.runs.events import EventWriter
from tunebook.runs.lock import hold_lock
from tunebook.runs.store import Run, create_run, open_run
from tunebook.versions import promote as promotion
from tunebook.versions import uses
from tunebook.versions.promote import promote
from tunebook.versions.store import find_version, lineage, list_versions, open_version, rollback, versions_folder
from tunebook.versions.uses import check_run_unused, remove_version
from tunebook.workflow.start import absolute_paths

IDS = ("training_loss", "validation", "answers", "retention")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEBOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def finished(runs: Path, name: str = "house-1", *, seed: int = 0, base: str = "smollm2-135m", **verdicts: str) -> Run:
    """A finished run with a report and an exported model of its own."""
    run = create_run(name, runs, make_plan({"model": {"name": base}, "data": {"path": "rows.jsonl"}}))
    events = EventWriter(run.events)
    events.emit("run", state="started", reason="")
    events.emit("run", state="finished", reason="")
    signs = [{"id": i, "verdict": verdicts.get(i, "yes"), "why": f"{i} says so.", "numbers": {}} for i in IDS]
    write_json(run.report, {"format": 1, "headline": "It is better.", "indicators": signs, "reviews": None})
    write_json(run.folder / "evaluation" / "result.json", {"format": 1, "step": 48})
    write_json(run.folder / "data" / "inputs.json", {"data": "d" * 64, "model": "b" * 64})
    with staged(run.folder / "export" / "safetensors", name) as folder:
        save_tiny(folder, seed)
    return run


def test_a_finished_run_becomes_a_version_that_knows_where_it_came_from(runs: Path) -> None:
    version = promote(finished(runs), "house", "")
    assert (version.title, version.current) == ("house@1", True)
    facts = version.facts
    assert (facts["run"], facts["step"], facts["data_sha256"], facts["reason"]) == ("house-1", 48, "d" * 64, None)
    assert facts["parent"] == {"model": "smollm2-135m", "sha256": "b" * 64, "version": None}
    assert [(sign["id"], sign["verdict"]) for sign in facts["indicators"]] == [(i, "yes") for i in IDS]
    assert len(facts["plan_sha256"]) == 64
    assert facts["weights_sha256"] == weights_sha256("house")


def test_the_name_is_the_runs_without_its_number_unless_another_is_given(runs: Path) -> None:
    assert promote(finished(runs), None, "").title == "house@1"
    with pytest.raises(RunError, match="'../x' cannot be the name of a version"):
        promote(finished(runs, "house-2"), "../x", "")


def test_weights_lie_on_the_disk_once(runs: Path) -> None:
    run = finished(runs)
    version = promote(run, "house", "")
    ours, theirs = version.folder / "model.safetensors", run.folder / "export" / "safetensors" / "model.safetensors"
    assert ours.samefile(theirs)
    assert theirs.stat().st_nlink == 2


def test_where_there_are_no_hard_links_the_version_points_to_the_runs_files(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    version = promote(finished(runs), "house", "")
    assert (version.folder / "model.safetensors").is_symlink()
    assert load_model("house").config.hidden_size == 48


def test_a_version_is_a_model_that_a_plan_can_start_from(runs: Path) -> None:
    first = promote(finished(runs), "house", "")
    second = promote(finished(runs, "house-2", seed=1), "house", "")
    assert find_model("house").place == str(second.folder)
    assert find_model("house@1").place == str(first.folder)
    assert load_tokenizer("house@1").chat_template
    with pytest.raises(ModelError, match="There is no model 'house@3'.*a version"):
        find_model("house@3")
    plan = absolute_paths(make_plan({"model": {"name": "house@1"}, "data": {"path": "rows.jsonl"}}), Path("/elsewhere"))
    assert plan.model.name == str(first.folder)


def test_lineage_goes_back_to_the_first_base_by_the_hash_of_the_weights(runs: Path) -> None:
    first = promote(finished(runs), "house", "")
    run = finished(runs, "better-1", seed=1, base=str(first.folder))
    write_json(run.folder / "data" / "inputs.json", {"model": first.facts["weights_sha256"]})
    second = promote(run, "better", "")
    assert second.facts["parent"]["version"] == "house@1"
    assert lineage(second) == ["better@1", "house@1", "smollm2-135m"]


@pytest.mark.parametrize("id_", IDS)
def test_a_report_that_says_no_asks_for_a_reason_and_keeps_it(runs: Path, id_: str) -> None:
    run = finished(runs, **{id_: "no"})
    with pytest.raises(RunError, match=rf"(?s)--reason.*{id_} says so"):
        promote(run, "house", "  ")
    assert list_versions(runs) == []
    facts = promote(run, "house", "The answers were read and are right.").facts
    assert facts["reason"] == "The answers were read and are right."
    assert facts["objections"] == [f"{id_} says so."]


def test_unclear_is_no_objection(runs: Path) -> None:
    assert promote(finished(runs, answers="unclear", retention="unclear"), "house", "").facts["objections"] == []


def test_a_rejected_checkpoint_and_a_failed_deployment_test_are_objections(runs: Path) -> None:
    run = finished(runs)
    judge_checkpoint(run.folder, 48, "ann")
    write_json(run.folder / "export" / "deployment.json", {"verdict": "failed"})
    with pytest.raises(RunError, match=r"(?s)rejected the checkpoint.*deployment test failed"):
        promote(run, "house", "")


def test_a_rejection_that_was_taken_back_or_is_of_another_checkpoint_is_no_objection(runs: Path) -> None:
    run = finished(runs)
    write_json(run.report, {**read_json(run.report), "reviews": {"rejected_checkpoints": [48]}})  # before it was
    judge_checkpoint(run.folder, 48, "ann")
    judge_checkpoint(run.folder, 48, "ann", rejected=False)
    judge_checkpoint(run.folder, 24, "ann")
    assert promote(run, "house", "").facts["objections"] == []


def test_a_run_that_is_not_finished_or_has_no_report_is_refused(runs: Path) -> None:
    run = finished(runs)
    EventWriter(run.events).emit("run", state="stopped", reason="asked")
    with pytest.raises(RunError, match=r"'house-1' is stopped.*tunebook resume house-1"):
        promote(run, "house", "")
    other = finished(runs, "other-1")
    other.report.unlink()
    with pytest.raises(RunError, match="has no report"):
        promote(other, "house", "")


@pytest.mark.parametrize("damage", ["missing", "changed", "cut"])
def test_an_export_that_is_not_whole_is_refused_by_name(runs: Path, damage: str) -> None:
    run = finished(runs)
    weights = run.folder / "export" / "safetensors" / "model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    if damage != "missing":
        weights.write_bytes(data[:-1] + b"\1" * (damage == "changed"))
    with pytest.raises(RunError, match=r"(?s)tunebook export house-1.*model\.safetensors: is missing, or not"):
        promote(run, "house", "")
    assert list_versions(runs) == []


def test_the_same_result_is_not_promoted_twice(runs: Path) -> None:
    promote(finished(runs), "house", "")
    promote(finished(runs, "house-2", seed=1), "house", "")
    with pytest.raises(RunError, match=r"is house@1 already\..*`tunebook versions rollback house --to 1`"):
        promote(open_run("house-1", runs), "house", "")
    with pytest.raises(RunError, match=r"is house@2 already\. Nothing was changed\.$"):
        promote(open_run("house-2", runs), "house", "")


def test_a_number_is_never_given_twice(runs: Path) -> None:
    for number in (1, 2):
        promote(finished(runs, f"house-{number}", seed=number), "house", "")
    rollback("house", None, "")
    remove_version("house@2", runs)
    assert promote(finished(runs, "house-3", seed=3), "house", "").title == "house@3"
    assert promote(finished(runs, "other-1"), None, "").title == "other@1"


def test_a_version_that_is_damaged_keeps_its_number_and_stops_no_other(runs: Path) -> None:
    version = promote(finished(runs), "house", "")
    (version.folder / "version.json").write_text("{")
    (versions_folder(runs) / "house.json").unlink()
    assert promote(finished(runs, "house-2", seed=1), "house", "").title == "house@2"


def test_a_name_that_a_run_has_is_no_versions(runs: Path) -> None:
    run = finished(runs, "house")
    finished(runs, "other")
    for name in (None, "other"):
        with pytest.raises(RunError, match="A run is named '(house|other)'.*--as"):
            promote(run, name, "")
    assert list_versions(runs) == []
    assert promote(run, "house-style", "").title == "house-style@1"


def test_rolling_back_goes_to_what_was_current_before_never_to_what_was_rolled_back_from(runs: Path) -> None:
    for number in (1, 2, 3):
        promote(finished(runs, f"house-{number}", seed=number), "house", "")
    assert rollback("house", None, "3 swears").title == "house@2"
    promote(finished(runs, "house-4", seed=4), "house", "")
    assert rollback("house", None, "").title == "house@2"
    assert rollback("house", None, "").title == "house@1"
    with pytest.raises(RunError, match="No version of 'house' was current before house@1"):
        rollback("house", None, "")
    assert rollback("house", 4, "it was right").title == "house@4"
    assert len(list_versions(runs)) == 4
    log = read_json(versions_folder(runs) / "house.json")["log"]
    assert [(entry["did"], entry["number"]) for entry in log[3:]] == [
        ("rollback", 2),
        ("promote", 4),
        ("rollback", 2),
        ("rollback", 1),
        ("rollback", 4),
    ]
    assert log[3]["reason"] == "3 swears"


def test_rolling_back_to_what_is_not_there_names_what_is(runs: Path) -> None:
    with pytest.raises(RunError, match="no version 'house'.*none"):
        rollback("house", None, "")
    promote(finished(runs), "house", "")
    with pytest.raises(RunError, match="no version 'house@7'.*house@1"):
        rollback("house", 7, "")
    with pytest.raises(RunError, match="house@1 is the current version already"):
        rollback("house", 1, "")


def test_a_run_that_a_version_or_another_run_needs_is_not_removed(runs: Path) -> None:
    run = finished(runs)
    version = promote(run, "house", "")
    with pytest.raises(RunError, match=r"(?s)still needed.*tunebook versions rm house@1.*house@1: is its result"):
        check_run_unused(run)
    remove_version(version.title, runs)
    check_run_unused(run)
    finished(runs, "child-1", base=str(run.folder / "export" / "safetensors"))
    with pytest.raises(RunError, match="run child-1: began with the model that it exported"):
        check_run_unused(run)


def test_runs_rm_leaves_a_promoted_run_where_it_is(runs: Path) -> None:
    promote(finished(runs), "house", "")
    done = call("runs", "rm", "house-1")
    assert (done.code, done.out) == (1, "")
    assert "still needed" in done.err
    assert (runs / "house-1" / "run.json").exists()


def test_a_version_that_something_needs_is_not_removed(runs: Path) -> None:
    first = promote(finished(runs), "house", "")
    second = promote(finished(runs, "house-2", seed=1), "house", "")
    with pytest.raises(RunError, match="house@2 is the current version"):
        remove_version("house@2", runs)
    with pytest.raises(RunError, match="house@2 is the current version"):
        remove_version("house", runs)
    child = finished(runs, "child-1", seed=2, base=str(first.folder))
    write_json(child.folder / "data" / "inputs.json", {"model": first.facts["weights_sha256"]})
    promote(child, "child", "")
    with pytest.raises(RunError, match=r"(?s)house@1 is still needed.*child@1: came from it.*child-1: began with it"):
        remove_version("house@1", runs)
    rollback("house", 1, "")
    remove_version("house@2", runs)
    assert [version.title for version in list_versions(runs, "house")] == ["house@1"]
    assert not second.folder.exists()
    assert open_version("house", runs).title == "house@1"


def test_a_disk_that_is_full_leaves_no_version(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished(runs)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("write_json", "write_line"):
        with monkeypatch.context() as patch:
            patch.setattr(promotion, name, full)
            with pytest.raises(RunError, match=r"could not be changed \(No space left on device\)"):
                promote(run, "house", "")
        assert list_versions(runs) == []
        assert sorted(path.name for path in versions_folder(runs).iterdir()) == [".lock"]


def test_a_run_that_is_being_written_is_not_promoted(runs: Path) -> None:
    run = finished(runs)
    with hold_lock(run.folder), pytest.raises(RunError, match="is being written"):
        promote(run, "house", "")


def test_half_a_version_is_none(runs: Path) -> None:
    version = promote(finished(runs), "house", "")
    (version.folder / "version.json").write_text("{")
    assert find_version("house", runs) is None


def test_the_command_line_promotes_lists_and_rolls_back(runs: Path) -> None:
    finished(runs, retention="no")
    finished(runs, "house-2", seed=1)
    refused = call("versions", "promote", "house-1")
    assert refused.code == 1
    assert "retention says so" in refused.err
    assert call("versions", "promote", "house-1", "--reason", "only German is needed").code == 0
    made = json.loads(call("versions", "promote", "house-2", "--json").out)
    assert (made["version"], made["current"]) == ("house@2", True)
    back = json.loads(call("versions", "rollback", "house", "--json").out)
    assert back["version"] == "house@1"
    listed = json.loads(call("versions", "list", "--json").out)["versions"]
    assert [(row["version"], row["current"], row["lineage"]) for row in listed] == [
        ("house@1", True, ["house@1", "smollm2-135m"]),
        ("house@2", False, ["house@2", "smollm2-135m"]),
    ]
    shown = call("versions", "list").out
    assert "house@1" in shown
    assert "current" in shown
    assert "only German" in shown
    assert call("versions", "rm", "house@2").code == 0


def test_a_version_is_removed_on_a_full_disk_which_has_room_for_its_line_then(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(finished(runs), "house", "")
    promote(finished(runs, "house-2", seed=1), "house", "")
    place = versions_folder(runs)
    (place / ".trash-left-by-a-crash").mkdir()
    true = uses.write_line

    def write(*given: Any) -> None:
        if list(place.glob(".trash-*")):
            raise OSError(28, "No space left on device")
        true(*given)

    monkeypatch.setattr(uses, "write_line", write)
    remove_version("house@1", runs)
    assert [version.title for version in list_versions(runs)] == ["house@2"]
    assert list(place.glob(".trash-*")) == []


def test_chat_and_serve_know_the_versions_of_the_folder_that_they_are_told(
    runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    promote(finished(runs), "house", "")
    monkeypatch.setenv("TUNEBOOK_RUNS", str(tmp_path / "others"))
    assert call("chat", "house", "--once", "Hi", "--max-new-tokens", "4", "--runs", str(runs)).code == 0
    assert serve._what("house", str(runs))[0] == find_version("house", runs).folder  # type: ignore[union-attr]
    assert "no version and no model of that name" in call("chat", "house", "--once", "Hi").err
