"""`run --selftest-resume`: a real kill of a real process, and a comparison that can fail."""

from __future__ import annotations

import json

import pytest

from tunebook.runs.store import Run
from tunebook.workflow.selftest import compare

pytestmark = pytest.mark.slow


@pytest.mark.heavy
def test_the_selftest_kills_resumes_compares_and_leaves_nothing(farm, finished):
    before = sorted(path.name for path in finished.folder.parent.iterdir())
    done = farm.run("run", "plan-0.yaml", "--selftest-resume")
    assert done.code == 0, done.err
    assert "The killed and resumed run equals the straight one to the bit" in done.out
    assert "Killed with step" in done.err
    assert sorted(path.name for path in finished.folder.parent.iterdir()) == before


def test_runs_that_are_equal_are_found_equal(finished, copy):
    counts, faults = compare(finished, copy())
    assert faults == []
    assert counts["rows of metrics"] == 12


def test_a_difference_is_found_and_named(finished, copy):
    run = copy()
    manifest = run.checkpoints / "step-8" / "MANIFEST.json"
    value = json.loads(manifest.read_text())
    value["files"]["weights.safetensors"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(value))
    events = run.events.read_text().replace('"kind": "metrics", "step": 5', '"kind": "metrics", "step": 50')
    run.events.write_text(events)
    faults = [str(fault) for fault in compare(finished, Run(run.folder))[1]]
    assert "step-8/weights.safetensors: differs" in faults
    assert any(fault.startswith("metrics of step 5:") for fault in faults)
