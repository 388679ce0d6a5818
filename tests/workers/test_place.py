"""Which worker a process is, from the environment of each launcher."""

from __future__ import annotations

import pytest

from tunebook.errors import RunError
from tunebook.workers.meet import gpu_of, meet
from tunebook.workers.place import Place, find_place, first_host

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-10],big1",
    "SLURM_JOB_ID": "4711",
}


def test_without_a_launcher_there_is_one_worker():
    assert find_place({"PATH": "/bin"}) is None


def test_torchrun_says_it_in_its_own_words():
    assert find_place(TORCHRUN) == Place(3, 4, 1, "10.0.0.1", 29500, "torchrun")


def test_srun_is_understood_and_all_its_tasks_meet_at_the_first_node():
    assert find_place(SRUN) == Place(5, 8, 1, "gpu07", 24711, "srun")
    assert find_place(SRUN | {"SLURM_PROCID": "0"}).port == 24711


def test_a_batch_script_of_slurm_is_no_worker():
    """sbatch sets SLURM_PROCID and SLURM_NTASKS for the script itself, which runs once."""
    assert find_place({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "4711"}) is None


@pytest.mark.parametrize(
    ("nodes", "first"), [("n1", "n1"), ("n1,n2", "n1"), ("n[3,5-7]", "n3"), ("gpu[007-010],x", "gpu007")]
)
def test_the_first_of_a_list_of_nodes(nodes, first):
    assert first_host(nodes) == first


@pytest.mark.parametrize("change", [{"RANK": "4"}, {"WORLD_SIZE": "many"}, {"MASTER_ADDR": ""}])
def test_an_environment_that_is_not_whole_is_refused(change):
    with pytest.raises(RunError):
        find_place(TORCHRUN | change)


def test_another_number_of_workers_than_asked_is_refused(monkeypatch):
    with pytest.raises(RunError, match="2 workers were asked for and one was started"):
        meet(2)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="2 workers were asked for and torchrun started 4"):
        meet(2)


def test_each_worker_of_a_machine_has_a_gpu_of_its_own():
    assert [gpu_of(Place(rank, 4, rank, "a", 1, "torchrun"), 4) for rank in range(4)] == [0, 1, 2, 3]
    alone = find_place(SRUN)
    assert (alone.local_rank, gpu_of(alone, 1)) == (1, 0)  # srun showed it its own alone
    with pytest.raises(RunError, match="Worker 1 of this machine has no GPU of its own: 1 can be seen"):
        gpu_of(Place(1, 2, 1, "a", 1, "torchrun"), 1)
