"""Fifteen faults, each tried on Transformers' Trainer and on Tunebook: what does each do?

    python benchmarks/faults_peers.py             # the table, some minutes; needs the network once, for Accelerate
    python benchmarks/faults_peers.py --only 7 8  # some of its rows

The same tiny Llama is trained by both. Trainer runs 15 optimizer steps with dropout, a checkpoint every 3; Tunebook 8,
a checkpoint every 2. Each row is done for real and judged by what comes out:

right    the end is equal to that of a run that nothing happened to, or the run is refused or ended with the reason
loud     it ends with an error, and does not go on from what is whole
warns    it goes on to another end, and says something that it does not say when nothing is wrong
silent   it goes on to another end without a word, or what it leaves is not what it says

Trainer lives in TRL's environment, which `benchmarks/peers.py` makes on first use.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from safetensors.numpy import load_file  # noqa: E402
from tests.faults.compare import differences  # noqa: E402
from tests.faults.conftest import SETTINGS  # noqa: E402
from tests.faults.farm import Done, Farm  # noqa: E402
from tests.faults.matrix import straight  # noqa: E402

from peers import python_of  # noqa: E402
from tunebook.files import read_json  # noqa: E402
from tunebook.runs.checkpoints import damage, steps_saved  # noqa: E402
from tunebook.runs.store import Run  # noqa: E402

FAULTS = [
    "killed before the last file of a checkpoint is written",
    "the disk is full during a save",
    "the optimizer's file is gone",
    "the file of random states is gone",
    "one bit flipped in the weights",
    "one bit flipped in the optimizer's file",
    "one row of the data edited before the resume",
    "batch halved before the resume",
    "learning rate changed before the resume",
    "seed changed before the resume",
    "a loss of NaN at step 5",
    "a loss of NaN late, two checkpoints kept",
    "the clock set back an hour before a save, two kept",
    "SIGTERM",
    "held-out loss, measured with other batches",
]
Verdict = tuple[str, str]  # right, loud, warns or silent; and in a few words what happened

# ---------------------------------------------------------------- Transformers' Trainer, in a process of its own
THEIRS = r"""
import hashlib, json, math, os, resource, signal, sys, time
wish = json.loads(sys.argv[1])
import torch, transformers
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
torch.set_num_threads(1)
out = wish["out"]
def rows():
    make = torch.Generator().manual_seed(1)
    found = []
    for number in range(46):
        length = int(torch.randint(4, 24, (1,), generator=make))
        found.append(torch.randint(3, 96, (length,), generator=make).tolist())
    if wish.get("edit"):
        found[11] = [5] * len(found[11])
    return [{"input_ids": ids, "labels": ids} for ids in found]
def collate(batch):
    width = max(len(row["input_ids"]) for row in batch)
    def pad(name, value):
        return torch.tensor([row[name] + [value] * (width - len(row[name])) for row in batch])
    ids = pad("input_ids", 0)
    mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in batch])
    return {"input_ids": ids, "labels": pad("labels", -100), "attention_mask": mask}
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, attention_dropout=0.2, max_position_embeddings=64))
class Faults(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == wish.get("full_at"):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        if state.global_step == wish.get("term_at"):
            os.kill(os.getpid(), signal.SIGTERM)
if wish.get("back_at"):  # what is saved from then on carries a time one hour earlier, as files written then would
    import transformers.trainer as module
    rotate = module.rotate_checkpoints
    def rotating(*given, **named):
        newest = max((n for n in os.listdir(out) if n.startswith("checkpoint-")), key=lambda n: int(n.split("-")[1]))
        if int(newest.split("-")[1]) > wish["back_at"]:
            os.utime(os.path.join(out, newest), (time.time() - 3600,) * 2)
        return rotate(*given, **named)
    module.rotate_checkpoints = rotating
class Its(Trainer):
    def compute_loss(self, model, inputs, *given, **named):
        found = super().compute_loss(model, inputs, *given, **named)
        if self.model.training and self.state.global_step + 1 == wish.get("nan_at"):
            loss = found[0] if isinstance(found, tuple) else found
            found = loss * float("nan")
        return found
arguments = TrainingArguments(output_dir=out, per_device_train_batch_size=wish.get("batch", 5),
    gradient_accumulation_steps=2, num_train_epochs=3, learning_rate=wish.get("rate", 1e-2), save_steps=3,
    logging_steps=1, seed=wish.get("seed", 42), report_to=[], use_cpu=True, disable_tqdm=True,
    save_total_limit=wish.get("limit"), per_device_eval_batch_size=wish.get("eval_batch", 8))
trainer = Its(model=model, args=arguments, train_dataset=rows(), eval_dataset=rows()[:23], data_collator=collate,
              callbacks=[Faults()])
if wish.get("eval_batch"):
    print(json.dumps({"eval_loss": trainer.evaluate()["eval_loss"]}))
    sys.exit()
trainer.train(resume_from_checkpoint=wish.get("resume", False) or None)
weights = {name: tensor for name, tensor in model.state_dict().items()}
digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in weights.values())).hexdigest()
print(json.dumps({
    "digest": digest,
    "finite": all(bool(tensor.isfinite().all()) for tensor in weights.values()),
    "steps": trainer.state.global_step,
    "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
}))
"""


class Trainer:
    """Runs of Transformers' Trainer in `home`, and what each fault does to them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.python = python_of("trl")
        _, self.end, words = self.run("straight")
        self.copy("unharmed", 9)
        self.usual = plain(words) | plain(self.run("unharmed", resume=True)[2])  # said when nothing is wrong

    def run(self, name: str, **wish: Any) -> tuple[int, dict[str, Any], str]:
        """(exit code, what it says of its end, its words) of one run into the folder `name`."""
        command = [self.python, "-c", THEIRS, json.dumps({"out": str(self.home / name), **wish})]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        last = (done.stdout.strip().splitlines() or [""])[-1]
        return done.returncode, json.loads(last) if last.startswith('{"') else {}, done.stderr

    def copy(self, name: str, newest: int) -> Path:
        """A copy of the straight run as it was when checkpoint `newest` was the newest; returns that checkpoint."""
        folder = self.home / name
        shutil.copytree(self.home / "straight", folder)
        for place in folder.glob("checkpoint-*"):
            if int(place.name.split("-")[1]) > newest:
                shutil.rmtree(place)
        return folder / f"checkpoint-{newest}"

    def resumed(self, name: str, **wish: Any) -> Verdict:
        """Resume the run `name`, and judge what comes of it."""
        code, end, words = self.run(name, resume=True, **wish)
        if code:
            return "loud", f"ends: {_last(words)}"
        if end["digest"] == self.end["digest"] and not wish:
            return "right", "goes on to the same end"
        warned = plain(words) - self.usual
        same = ", to the end of the old value" if end["digest"] == self.end["digest"] else " to another end"
        return ("warns", f"goes on{same}, with a warning") if warned else ("silent", f"goes on{same} without a word")

    def fault(self, number: int) -> Verdict:
        """Do fault `number` (from 1)."""
        return getattr(self, f"_{number}")()  # type: ignore[no-any-return]

    def _1(self) -> Verdict:
        self.copy("f1", 9).joinpath("trainer_state.json").unlink()
        return self.resumed("f1")

    def _2(self) -> Verdict:
        code, _, words = self.run("f2", full_at=5)
        if code == 0:
            return "right", "goes on"
        again = self.resumed("f2")
        return again[0], f"training dies; the next try {again[1]}"

    def _3(self) -> Verdict:
        self.copy("f3", 9).joinpath("optimizer.pt").unlink()
        return self.resumed("f3")

    def _4(self) -> Verdict:
        self.copy("f4", 9).joinpath("rng_state.pth").unlink()
        return self.resumed("f4")

    def _5(self) -> Verdict:
        flip(self.copy("f5", 9) / "model.safetensors")
        return self.resumed("f5")

    def _6(self) -> Verdict:
        flip(self.copy("f6", 9) / "optimizer.pt")
        return self.resumed("f6")

    def _7(self) -> Verdict:
        self.copy("f7", 9)
        return self.resumed("f7", edit=True)

    def _8(self) -> Verdict:
        self.copy("f8", 9)
        return self.resumed("f8", batch=2)

    def _9(self) -> Verdict:
        self.copy("f9", 9)
        return self.resumed("f9", rate=1e-3)

    def _10(self) -> Verdict:
        self.copy("f10", 9)
        return self.resumed("f10", seed=7)

    def _11(self) -> Verdict:
        code, end, words = self.run("f11", nan_at=5)
        if code:
            return "right", f"ends: {_last(words)}"
        return "silent", f"finishes; weights finite: {end['finite']}; last logged losses {end['losses'][-3:]}"

    def _12(self) -> Verdict:
        code, _, _ = self.run("f12", nan_at=8, limit=2)
        kept = sorted((self.home / "f12").glob("checkpoint-*"), key=lambda place: int(place.name.split("-")[1]))
        good = [place.name for place in kept if finite(place / "model.safetensors")]
        words = f"exit {code}; kept {', '.join(place.name for place in kept)}, finite: {', '.join(good) or 'none'}"
        return ("right" if good else "silent"), words

    def _13(self) -> Verdict:
        self.run("f13", back_at=11, limit=2)
        kept = sorted(int(place.name.split("-")[1]) for place in (self.home / "f13").glob("checkpoint-*"))
        return ("right" if kept[-2:] == [12, 15] else "silent"), f"kept the checkpoints of steps {kept}"

    def _14(self) -> Verdict:
        code, _, _ = self.run("f14", term_at=5)
        saved = sorted(int(place.name.split("-")[1]) for place in (self.home / "f14").glob("checkpoint-*"))
        right = code == 143 and 5 in saved
        return ("right" if right else "silent"), f"exit {code}, stopped at step 5 with steps {saved} saved"

    def _15(self) -> Verdict:
        losses = [self.run("f15", eval_batch=size)[1]["eval_loss"] for size in (1, 4, 23)]
        spread = max(losses) - min(losses)
        return ("right" if spread < 1e-5 else "silent"), f"{', '.join(f'{loss:.6f}' for loss in losses)}"


# ---------------------------------------------------------------- Tunebook, by its command line
class Ours:
    """The same faults on Tunebook."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.straight = straight(farm, 0, SETTINGS)

    def run(self, name: str, *hooks: Any, plan: str = "plan-0.yaml", sets: tuple[str, ...] = ()) -> tuple[Run, Done]:
        words = [word for text in sets for word in ("--set", text)]
        done = self.farm.run("run", plan, "--name", name, *words, hooks=list(hooks))
        return Run(self.farm.home / "runs" / name), done

    def copy(self, name: str, step: int = 6) -> Run:
        """A copy of the straight run as a kill after the checkpoint of `step` leaves it."""
        folder = self.straight.folder.with_name(name)
        shutil.copytree(self.straight.folder.with_name(f"{self.straight.name}-checkpoint-{step}"), folder)
        return Run(folder)

    def resumed(self, run: Run, *words: str) -> Verdict:
        """Resume, and judge what comes of it."""
        done = self.farm.run("resume", run.name, *words)
        last = " ".join(done.err.split("\n[")[-1].strip().split())
        if done.code:
            return ("right", f"refused: {last[:150]}") if "Traceback" not in done.err else ("loud", last[-150:])
        different = differences(self.straight, run)
        if different:
            return "silent", f"another end: {different[0]}"
        passed = [line.strip() for line in done.err.splitlines() if "passed over" in line]
        return "right", (passed[0] if passed else "goes on") + " The end is equal to the bit."

    def fault(self, number: int) -> Verdict:
        """Do fault `number` (from 1)."""
        return getattr(self, f"_{number}")()  # type: ignore[no-any-return]

    def _hurt(self, name: str, file: str, how: Callable[[Path], object]) -> Verdict:
        run = self.copy(name)
        how(run.checkpoints / "step-6" / file)
        return self.resumed(run)

    def _1(self) -> Verdict:
        return self._hurt("o1", "MANIFEST.json", Path.unlink)

    def _2(self) -> Verdict:
        run, done = self.run("o2", ("limit_file_size", "metrics", 3, 30_000), ("unlimit_file_size", "metrics", 7))
        failed = done.err.count("could not be saved")
        equal = done.code == 0 and not differences(self.straight, run)
        return ("right" if equal else "silent"), f"tells of {failed} saves that failed and trains on to the same end"

    def _3(self) -> Verdict:
        return self._hurt("o3", "optimizer.safetensors", Path.unlink)

    def _4(self) -> Verdict:
        return self._hurt("o4", "state.json", Path.unlink)

    def _5(self) -> Verdict:
        return self._hurt("o5", "weights.safetensors", flip)

    def _6(self) -> Verdict:
        return self._hurt("o6", "optimizer.safetensors", flip)

    def _7(self) -> Verdict:
        data = self.farm.home / "rows.jsonl"
        kept = data.read_bytes()
        try:
            data.write_bytes(kept.replace(b"The fox is", b"The fox was", 1))
            return self.resumed(self.copy("o7"))
        finally:
            data.write_bytes(kept)

    def _8(self) -> Verdict:
        return self.resumed(self.copy("o8"), "--set", "training.batch_size=4")

    def _9(self) -> Verdict:
        return self.resumed(self.copy("o9"), "--set", "training.learning_rate=1e-4")

    def _10(self) -> Verdict:
        return self.resumed(self.copy("o10"), "--set", "training.seed=7")

    def _nan(self, name: str, step: int) -> Verdict:
        run, done = self.run(name, ("lose_sight", step))
        saved = steps_saved(run.checkpoints)
        whole = all(
            not damage(run.checkpoints, s) and finite(run.checkpoints / f"step-{s}" / "weights.safetensors")
            for s in saved
        )
        right = done.code == 1 and "not finite" in done.err and whole
        return (
            "right" if right else "silent"
        ), f"ends before the update, names the rows; kept steps {sorted(saved)}, finite"

    def _11(self) -> Verdict:
        return self._nan("o11", 5)

    def _12(self) -> Verdict:
        return self._nan("o12", 8)

    def _13(self) -> Verdict:
        run, done = self.run("o13", ("set_clock_back", 5, 3600.0))
        kept = sorted(steps_saved(run.checkpoints))
        right = done.code == 0 and not differences(self.straight, run)
        return ("right" if right else "silent"), f"kept the checkpoints of steps {kept}"

    def _14(self) -> Verdict:
        run, done = self.run("o14", ("kill_at", "metrics", 5, signal.SIGTERM))
        right = done.code == 143 and steps_saved(run.checkpoints)[0] == 5
        return ("right" if right else "silent"), f"exit {done.code}, stopped at step 5 with it saved"

    def _15(self) -> Verdict:
        losses = []
        for tokens in (8, 90, 4096):
            run, done = self.run(
                f"o15-{tokens}", sets=("training.max_steps=1", f"training.micro_batch_tokens={tokens}")
            )
            losses.append(read_json(run.folder / "evaluation" / "heldout-base.json")["loss"])
        return ("right" if max(losses) - min(losses) < 1e-5 else "silent"), ", ".join(f"{loss:.6f}" for loss in losses)


def flip(path: Path) -> None:
    """Flip the exponent's highest bit of a number in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[(len(data) // 8) * 4 + 3] ^= 0x40
    path.write_bytes(data)


def plain(words: str) -> set[str]:
    """The lines of `words`, their numbers left out."""
    return {re.sub(r"[0-9][0-9.e:-]*", "#", line.strip()) for line in words.splitlines() if line.strip()}


def finite(path: Path) -> bool:
    """Are all numbers of a safetensors file finite?"""
    return all(bool((abs(tensor) < float("inf")).all()) for tensor in load_file(path).values())


def _last(words: str) -> str:
    return (words.strip().splitlines() or ["no word"])[-1][:110]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", type=int, help="rows to do, from 1")
    parser.add_argument(
        "--json", type=Path, help="keep the rows in this file; rows that stand there are not done again"
    )
    given = parser.parse_args()
    kept: dict[str, Any] = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    wanted = [n for n in given.only or range(1, len(FAULTS) + 1) if str(n) not in kept]
    with tempfile.TemporaryDirectory(prefix="faults-") as place, Farm(Path(place)) as farm:
        farm.furnish()
        theirs, ours = (Trainer(Path(place) / "theirs"), Ours(farm)) if wanted else (None, None)
        for number in wanted:
            assert theirs is not None
            assert ours is not None
            kept[str(number)] = {"theirs": theirs.fault(number), "ours": ours.fault(number)}
            if given.json:
                given.json.write_text(json.dumps(kept, indent=1))
    print("| fault | Transformers' Trainer | Tunebook |\n|---|---|---|")
    for number, row in sorted(kept.items(), key=lambda item: int(item[0])):
        sides = [f"**{verdict}**: {words}" for verdict, words in (row["theirs"], row["ours"])]
        print(f"| {FAULTS[int(number) - 1]} | {sides[0]} | {sides[1]} |")
    for side in ("theirs", "ours"):
        verdicts = [row[side][0] for row in kept.values()]
        print(side, {verdict: verdicts.count(verdict) for verdict in ("right", "loud", "warns", "silent")})


if __name__ == "__main__":
    main()
