"""Who starts the workers of a run, and how that is said on a command line."""

from __future__ import annotations

from tunebook.workers.options import WorkerOptions


def test_worker_options_say_themselves_in_arguments_that_make_them_again():
    assert WorkerOptions(3, True, 2, 15).arguments() == [
        "--workers",
        "3",
        "--sharded",
        "--restarts",
        "2",
        "--patience",
        "15",
    ]
    assert WorkerOptions().arguments() == ["--patience", "600"]


def test_a_model_is_held_by_each_worker_here_but_for_a_split_one(monkeypatch):
    for name in ("RANK", "SLURM_STEP_NUM_TASKS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (WorkerOptions().copies_here, WorkerOptions(3).copies_here, WorkerOptions(3, True).copies_here) == (1, 3, 1)
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    assert WorkerOptions(8).copies_here == 4


def test_only_without_a_launcher_workers_are_started_here(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    assert WorkerOptions(2).starts_workers
    assert not WorkerOptions(1).starts_workers
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    assert not WorkerOptions(2).starts_workers
