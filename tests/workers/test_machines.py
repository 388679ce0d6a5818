"""Two machines: network namespaces with addresses of their own, joined by a cable that can be pulled.

tb-one 10.77.0.1 ---- cable ---- 10.77.0.2 tb-two        each runs torchrun with one worker
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workers.command import evaluations, made, steps, wait_for_step
from tests.workers.test_runs import LONG
from tunebook.runs.checkpoints import steps_saved
from tunebook.runs.events import read_events
from tunebook.runs.status import read_status

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        shutil.which("ip") is None or os.geteuid() != 0, reason="network namespaces need root and iproute2"
    ),
]
MACHINES = {"tb-one": "10.77.0.1", "tb-two": "10.77.0.2"}


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def cable():
    """The two namespaces; gives a function that pulls the cable (False) or plugs it in (True)."""
    remove_machines()  # what a killed test left
    try:
        for name in MACHINES:
            ip("netns", "add", name)
        ip("link", "add", "cable0", "netns", "tb-one", "type", "veth", "peer", "name", "cable1", "netns", "tb-two")
        for number, (name, address) in enumerate(MACHINES.items()):
            ip("-n", name, "address", "add", f"{address}/24", "dev", f"cable{number}")
            for device in ("lo", f"cable{number}"):
                ip("-n", name, "link", "set", device, "up")
        yield lambda plugged: ip("-n", "tb-two", "link", "set", "cable1", "up" if plugged else "down")
    finally:
        remove_machines()


def remove_machines():
    """End what still runs on the two machines, and take them away."""
    for name in MACHINES:
        there = subprocess.run(["ip", "netns", "pids", name], check=False, capture_output=True, text=True)
        for pid in there.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def start_both(plan, *words):
    """torchrun on each machine, as its users start it."""
    torchrun = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += ["--master-addr=10.77.0.1", "--master-port=29577"]
    return [
        subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, *torchrun, f"--node-rank={number}"]
            + ["-m", "tunebook", "run", str(plan), "--name", "both", "--workers", "2", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": f"cable{number}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, name in enumerate(MACHINES)
    ]


def test_two_machines_train_one_run_and_a_cable_pulled_for_seconds_changes_nothing(plan_file, cable):
    one, two = start_both(plan_file(**LONG), "--patience", "60")
    run = made("both", one)
    wait_for_step(run, 10, one)
    cable(False)
    before = max(steps(run))
    time.sleep(4)  # the length of the cut is what is tested
    during = max(steps(run))
    cable(True)
    out, _ = one.communicate(timeout=200)
    assert one.returncode == 0, out
    assert two.wait(timeout=60) == 0
    assert during <= before + 1, "the cut was no cut"
    assert read_status(run).state == "finished"
    assert sorted(steps(run)) == list(range(1, 151))
    assert evaluations(run)
    (told,) = [event for event in read_events(run.events) if event["kind"] == "workers"]
    assert told["world"] == 2


def test_a_machine_cut_off_for_good_ends_the_run_saved(plan_file, cable):
    one, two = start_both(plan_file(**LONG), "--patience", "15")
    run = made("both", one)
    wait_for_step(run, 10, one)
    cable(False)
    out, _ = one.communicate(timeout=200)
    assert one.returncode != 0, out
    status = read_status(run)
    assert status.state == "failed"
    assert "has not answered for 15 seconds" in status.reason
    assert f"saved at optimizer step {max(steps(run))}" in status.reason
    assert steps_saved(run.checkpoints)[0] == max(steps(run))
    # torchrun itself waits there for the machine that it met at, until the system gives the connection up
    deadline = time.monotonic() + 60
    while workers_on("tb-two") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers_on("tb-two") == []
    two.kill()


def workers_on(machine):
    """Command lines of Tunebook's processes there, torchrun's own left out."""
    pids = subprocess.run(["ip", "netns", "pids", machine], check=True, capture_output=True, text=True).stdout.split()
    lines = [Path(f"/proc/{pid}/cmdline") for pid in pids]
    commands = [line.read_bytes().replace(b"\0", b" ").decode() for line in lines if line.exists()]
    return [command for command in commands if "tunebook run" in command and "torch.distributed" not in command]
