"""The launch files in `examples/scale` say what they mean: options that exist, and as many workers as they start."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tunebook.cli.run import resume, run

SCALE = Path(__file__).parents[2] / "examples" / "scale"
KNOWN = {option for command in (run, resume) for parameter in command.params for option in parameter.opts}


def our_options(words):
    """Long options behind the word `tunebook`."""
    return {word for word in words[words.index("tunebook") :] if word.startswith("--")}


def test_the_slurm_script_is_sound_bash_and_asks_srun_for_as_many_workers_as_it_has_tasks():
    text = (SCALE / "slurm.sh").read_text()
    assert subprocess.run([shutil.which("bash"), "-n", SCALE / "slurm.sh"], check=False).returncode == 0
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", text, re.M))
    assert asked["ntasks-per-node"] == asked["gpus-per-node"], "a worker a GPU"
    (line,) = [line for line in text.splitlines() if line.startswith("srun")]
    assert '--workers "$SLURM_NTASKS"' in line
    assert our_options(line.split()) <= KNOWN
    for work in re.findall(r"work=\((.*)\)", text):
        assert {word for word in work.split() if word.startswith("--")} <= KNOWN


def test_the_pytorchjob_has_as_many_pods_as_workers():
    job = yaml.safe_load((SCALE / "pytorchjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert replicas["Master"]["replicas"] == 1
    for each in replicas.values():
        pod = each["template"]["spec"]
        (container,) = pod["containers"]
        command = container["command"]
        assert container["name"] == "pytorch"
        assert our_options(command) <= KNOWN
        assert int(command[command.index("--workers") + 1]) == sum(each["replicas"] for each in replicas.values())
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_skypilot_task_starts_torchrun_on_every_node():
    from torch.distributed.run import get_args_parser

    task = yaml.safe_load((SCALE / "skypilot.yaml").read_text())
    assert task["num_nodes"] > 1
    assert re.fullmatch(r"\w+:\d+", task["resources"]["accelerators"])
    stands_for = {"NUM_NODES": "2", "NODE_RANK": "1", "NUM_GPUS_PER_NODE": "8", "NODE_IPS": "10.0.0.1\n10.0.0.2"}
    environ = {f"SKYPILOT_{name}": value for name, value in stands_for.items()} | {"PATH": "/usr/bin:/bin"}
    script = task["run"].replace("torchrun", "printf '%s\\n'", 1)
    words = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=True).stdout
    read = get_args_parser().parse_args(words.splitlines())
    assert (read.nnodes, read.node_rank, read.nproc_per_node) == ("2", 1, "8")
    assert (read.master_addr, read.master_port) == ("10.0.0.1", 29500)
    assert (read.module, read.training_script) == (True, "tunebook")
    assert {word for word in read.training_script_args if word.startswith("--")} <= KNOWN
    assert read.training_script_args[-2:] == ["--workers", "16"]


@pytest.mark.parametrize("file", ["slurm.sh", "pytorchjob.yaml", "skypilot.yaml"])
def test_runs_and_cache_lie_where_all_workers_see_them(file):
    text = (SCALE / file).read_text()
    assert "TUNEBOOK_RUNS" in text
    assert "TUNEBOOK_CACHE" in text
