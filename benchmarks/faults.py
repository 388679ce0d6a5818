"""What Tunebook promises when things go wrong, tried for real: resumes, random kills, a kill at every system call.

    python benchmarks/faults.py                        # everything, two hours or so on two quiet cores
    python benchmarks/faults.py kills --seconds 200    # a part of one, to be gone on with by the same command
    python benchmarks/faults.py --summary              # what was seen so far

matrix   plans that differ in all that a resume could get wrong, cut at every optimizer step, evaluation and checkpoint
kills    SIGKILL at a random moment of a run, again and again, until the run is through
sweep    SIGKILL at each system call of one checkpoint save (strace's fault injection)
errors   an I/O error or a full disk at each system call of one checkpoint save that can have one

After each, the run is resumed and compared with one that nothing happened to: weights, optimizer, state, the examples
of every step, metrics, evaluations, answers, all to the bit. The model is tiny, everything else is the real thing: the
command line in a process of its own. Results go to `build/faults.jsonl`, a line each; what stands there is not done
again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.compare import differences  # noqa: E402
from tests.faults.conftest import SETTINGS  # noqa: E402
from tests.faults.farm import Done, Farm  # noqa: E402
from tests.faults.matrix import PLANS, cells, plans, straight, take  # noqa: E402

from tunebook.runs.checkpoints import damage, steps_saved  # noqa: E402
from tunebook.runs.store import Run  # noqa: E402

RESULTS = ROOT / "build" / "faults.jsonl"
KILLS = 300
SAVED = 6  # the step whose save is swept
# system calls that can fail because of a disk, with the errors that it gives
ERRORS = {"write": "ENOSPC", "fsync": "EIO", "openat": "ENOSPC", "mkdir": "ENOSPC", "ftruncate": "EIO"}
ERRORS |= {"rename": "EIO", "renameat": "EIO", "unlink": "EIO", "unlinkat": "EIO", "rmdir": "EIO"}
Case = tuple[str, list[str]]  # what was done, and what differed after it


def matrix(farm: Farm, done: set[str]) -> Iterator[Case]:
    """Every cell of the resume matrix."""
    for plan, settings in enumerate(plans(PLANS)):
        if f"plan {plan}, all" in done:
            continue
        run = straight(farm, plan, settings)
        for cell in cells(run, plan, settings):
            if str(cell) not in done:
                yield str(cell), take(farm, run, cell)
        for folder in run.folder.parent.glob(f"plan-{plan}*"):
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        yield f"plan {plan}, all", []


def kills(farm: Farm, done: set[str]) -> Iterator[Case]:
    """SIGKILLs at random moments. A run is killed and resumed up to five times, then left to finish and compared."""
    started = time.perf_counter()
    run = straight(farm, 0, SETTINGS)
    whole = time.perf_counter() - started
    killed, chain = sum(name.startswith("kill ") for name in done), 0
    while killed < KILLS:
        if f"chain {chain} resumed to the end" not in done:
            for case in _chain(farm, run, chain, random.Random(chain), whole):
                killed += case[0].startswith("kill ")
                yield case
        chain += 1


def _chain(farm: Farm, run: Run, chain: int, pick: random.Random, whole: float) -> Iterator[Case]:
    name = f"chain-{chain}"
    rows = ("record_rows", str(farm.home / "runs" / f"{name}.rows"))
    other = Run(run.folder.with_name(name))
    command = ["run", "plan-0.yaml", "--name", name]
    for number in range(1, 6):
        child = farm.start(*command, hooks=[rows])
        time.sleep(pick.uniform(0, whole))
        good = _newest_good(other)
        child.kill()
        ended = child.wait()
        if ended.code == 0:  # it was through before its moment came
            command = ["verify", name]
            break
        if not other.folder.exists():  # killed before there was a run
            yield f"kill {number} of chain {chain}", []
            continue
        command = ["resume", name]
        lost = [f"the checkpoint of step {good} was lost"] if _newest_good(other) < good else []
        yield f"kill {number} of chain {chain}", lost + ([] if ended.code == -9 else [f"it ended with {ended.code}"])
    last = farm.run(*command, hooks=[rows])
    yield f"chain {chain} resumed to the end", [last.err[-300:]] if last.code else _compared(farm, run, other)
    shutil.rmtree(other.folder)


def sweep(farm: Farm, done: set[str]) -> Iterator[Case]:
    """SIGKILL at each system call of the save of step 6."""
    run = straight(farm, 0, SETTINGS)
    for number, (call, nth, line) in enumerate(_calls(farm, run), 1):
        name = f"system call {number}, {call} {nth}"
        if name not in done:
            yield name, _at_call(farm, run, f"{call}:signal=KILL:when={nth}", line)


def errors(farm: Farm, done: set[str]) -> Iterator[Case]:
    """Each call of the save of step 6 that a disk can fail fails; training must go on to the same end."""
    run = straight(farm, 0, SETTINGS)
    for call, nth, line in _calls(farm, run):
        name = f"{call} {nth} gives {ERRORS.get(call)}"
        if call in ERRORS and name not in done:
            yield name, _at_call(farm, run, f"{call}:error={ERRORS[call]}:when={nth}", line)


def _calls(farm: Farm, run: Run) -> list[tuple[str, int, str]]:
    """The system calls of one save in their order: name, how many of that name there were by then, the line told."""
    _, _, log = _traced(farm, run, None)
    counts: Counter[str] = Counter()
    found = []
    for line in log:
        call = line.partition("(")[0].strip()
        if not call.isidentifier():
            continue  # the end of one that was told before
        counts[call] += 1
        if "/after" in line:
            return found
        found.append((call, counts[call], line))
    raise RuntimeError("the save's end is not among its system calls")


def _at_call(farm: Farm, run: Run, inject: str, line: str) -> list[str]:
    """Inject a fault into the save of step 6; returns what differed after it."""
    ended, killed, log = _traced(farm, run, inject)
    other = Run(run.folder.with_name("hit"))
    found = []
    if killed:
        if (saved := _newest_good(other)) < SAVED - 2:
            found.append(f"the newest good checkpoint is that of step {saved}")
        ended = farm.run("resume", "hit", hooks=[("record_rows", str(other.folder.with_name("hit.rows")))])
    elif not any("(INJECTED)" in told for told in log):
        found.append(f"the fault was not injected at {line[:60]}")
    return found + ([ended.err[-300:]] if ended.code else _compared(farm, run, other))


def _traced(farm: Farm, run: Run, inject: str | None) -> tuple[Done, bool, list[str]]:
    """Go on from step 4 with the save of step 6 under strace.

    Returns how it ended, whether it did in the save, and what strace tells of its main thread, a line a call.
    """
    other = Run(run.folder.with_name("hit"))
    shutil.rmtree(other.folder, ignore_errors=True)
    shutil.copytree(run.folder.with_name(f"{run.name}-checkpoint-{SAVED - 2}"), other.folder)
    other.folder.with_name("hit.rows").unlink(missing_ok=True)
    pipes = [farm.home / "before", farm.home / "after"]
    for pipe in pipes:
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    hold = ("hold_around_save", SAVED, *map(str, pipes))
    child = farm.start("resume", "hit", hooks=[("record_rows", str(other.folder.with_name("hit.rows"))), hold])
    end = child.waits_at(pipes[0])
    if end is None:
        raise RuntimeError(child.wait().err)
    log = farm.home / "strace.log"
    more = ["-e", f"inject={inject}"] if inject else []
    command = ["strace", "-f", "-qq", "-o", log, *more, "-p", str(child.pid)]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while "TracerPid:\t0\n" in Path(f"/proc/{child.pid}/status").read_text():
        time.sleep(0.002)
    os.close(end)
    end = child.waits_at(pipes[1])
    tracer.terminate()
    with suppress(subprocess.TimeoutExpired):
        tracer.wait(2)
    tracer.kill()  # now and then it waits for a thread of what it has killed
    tracer.wait()
    if end is not None:
        os.close(end)
    mine = (line.partition(" ") for line in log.read_text().splitlines())
    return child.wait(), end is None, [told for pid, _, told in mine if pid == str(child.pid)]


def _compared(farm: Farm, run: Run, other: Run) -> list[str]:
    """What `other` differs in from the straight run, and what `tunebook verify` finds in it."""
    verified = farm.run("verify", other.name)
    return differences(run, other) + ([verified.out] if verified.code else [])


def _newest_good(run: Run) -> int:
    """The step of the newest whole checkpoint; 0 for none. One that is just being rotated away is passed over."""
    return next((step for step in steps_saved(run.checkpoints) if not damage(run.checkpoints, step)), 0)


PARTS = {"matrix": matrix, "kills": kills, "sweep": sweep, "errors": errors}


def read_results() -> list[dict[str, Any]]:
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [json.loads(line) for line in lines]


def summary() -> int:
    """Print what was seen so far; returns how many cases differed."""
    results = read_results()
    counts = Counter(row["part"] for row in results if not row["case"].endswith(", all"))
    wrong = [row for row in results if row["found"]]
    for part in PARTS:
        bad = sum(row["part"] == part for row in wrong)
        print(f"{part:<8} {counts[part]:>5} cases, {bad} that differed")
    chains = sum(row["case"].endswith("to the end") for row in results)
    if chains:
        print(f"         (kills: {counts['kills'] - chains} SIGKILLs in {chains} runs, each then resumed to the end)")
    for row in wrong[:20]:
        print(f"  {row['part']}, {row['case']}: {'; '.join(row['found'])[:300]}")
    return len(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=[*PARTS], help="one part alone")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so many seconds")
    parser.add_argument("--summary", action="store_true", help="run nothing, print what was seen so far")
    given = parser.parse_args()
    deadline = time.monotonic() + given.seconds
    RESULTS.parent.mkdir(exist_ok=True)
    if not shutil.which("strace"):
        print("strace is not installed: there is no sweep of system calls.")
        for part in ("sweep", "errors"):
            PARTS.pop(part)
    for part in [] if given.summary else [given.part] if given.part else PARTS:
        done = {row["case"] for row in read_results() if row["part"] == part}
        with tempfile.TemporaryDirectory(prefix="faults-") as home, Farm(Path(home)) as farm:
            farm.furnish()
            for case, found in PARTS[part](farm, done):
                with RESULTS.open("a") as file:
                    file.write(json.dumps({"part": part, "case": case, "found": found}) + "\n")
                if found:
                    print(f"{part}, {case}: {found}", flush=True)
                if time.monotonic() > deadline:
                    break
    sys.exit(1 if summary() else 0)


if __name__ == "__main__":
    main()
