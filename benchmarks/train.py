"""The same optimizer steps by Tunebook and by a peer at its best, in turns, each in a fresh process.

    make bench                                                  # the table of docs/benchmarks.md; some hours
    python benchmarks/train.py --data FILE --batch 4 --method lora --pairs 5
    python benchmarks/train.py --peer litgpt --method lora      # beside LitGPT
    python benchmarks/train.py --table                          # what was measured so far, nothing run

Same model, float32 weights, adapters, token ids, masks, order of examples, batch, schedule and precision of products
(a peer's bfloat16 is autocast); the losses of each step must agree to 3 digits, in bfloat16 to 2. TRL first tries its
ways (padded, packed, each with and without gradient checkpointing; one example at a time) by one step each; the fastest
is paired with ours, and the leanest one's memory is told beside it. Tokens are those of the examples, without padding.
Each pair gives a ratio; the table tells their median, smallest and largest. Every measurement is appended to a file,
and one that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from peers import ROOT, python_of

SHARED = ROOT.parent / "shared" / "data"
DATA = (SHARED / "llamafactory" / "alpaca_en_demo.json", SHARED / "nl2bash")
DEMO = ROOT / "src" / "tunebook" / "demo" / "examples.jsonl"
WAYS = {
    "trl": ("padded", "padded, checkpointing", "packed", "packed, checkpointing", "one by one"),
    "litgpt": ("padded", "one by one"),
}
NAMES = {"trl": "TRL", "litgpt": "LitGPT"}
RATES = {"lora": 1e-3, "full": 5e-5}
ALLOCATED = ", our allocator settings"
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


# a way that the system killed, as it does what takes more memory than there is: never the fastest nor the leanest
KILLED: dict[str, Any] = {"speed": 0.0, "peak": float("inf"), "seconds": [], "cpu": [], "losses": []}


@dataclass(frozen=True)
class Case:
    """What both sides train."""

    model: str
    data: str
    method: str
    batch: int
    steps: int  # after one to warm up
    precision: str = "float32"
    quantization: str | None = None  # of ours: `four_bits.py`

    @property
    def name(self) -> str:
        rounded = "" if self.precision == "float32" else f", {self.precision}"
        return f"{Path(self.model).name}, {self.method}, {Path(self.data).stem}, batch {self.batch}{rounded}"


class Results:
    """Measurements by key, kept in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.kept: dict[str, dict[str, Any]] = {row["key"]: row for row in map(json.loads, lines)}

    def once(self, case: Case, side: str, way: str, number: int, **more: Any) -> dict[str, Any]:
        """The measurement of one run, made where it is missing."""
        key = f"{case.name} | {side} | {way} | {number}"
        if key not in self.kept:
            self.kept[key] = {"key": key, **measure(case, side, way, **more)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(self.kept[key]) + "\n")
            speed, peak = self.kept[key]["speed"], self.kept[key]["peak"]
            print(f"{key}: {f'{speed:.0f} tokens/s, {peak / 1e9:.2f} GB' if speed else 'killed'}", flush=True)
        return self.kept[key]

    def of(self, case: Case, side: str, way: str) -> list[dict[str, Any]]:
        """What is there of one side and way, by number."""
        start = f"{case.name} | {side} | {way} | "
        found = {int(key.removeprefix(start)): row for key, row in self.kept.items() if key.startswith(start)}
        return [found[number] for number in sorted(found)]


def measure(case: Case, side: str, way: str, roofline: bool = False, allocator: bool = False) -> dict[str, Any]:
    """Run one side in a fresh process; seconds, losses and tokens of each step after the first."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.json"
        settings = settings_of(case)
        rows = settings["rows"]
        if side == "litgpt":  # it cannot draw them as PEFT does
            settings["adapters"] = str(save_adapters(settings, Path(folder) / "adapters.safetensors"))
        file.write_text(json.dumps(settings | {"way": way, "roofline": roofline}))
        python = sys.executable if side == "tunebook" else python_of(side)
        script = ROOT / "benchmarks" / ("train_ours.py" if side == "tunebook" else f"train_{side}.py")
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": folder,
            "TOKENIZERS_PARALLELISM": "false",
        }
        environment |= ALLOCATOR if allocator else {}
        done = subprocess.run(
            [python, script, file, folder], capture_output=True, text=True, env=environment, cwd=folder, check=False
        )
    if done.returncode == -signal.SIGKILL:
        return KILLED
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    steps = [rows[at : at + case.batch] for at in range(0, len(rows), case.batch)]
    tokens = [sum(len(row["input_ids"]) for row in step) for step in steps]
    found["speed"] = sum(tokens[1:]) / sum(found["seconds"][1:])
    found["tokens"] = tokens
    return found


def settings_of(case: Case) -> dict[str, Any]:
    """The case as both sides read it."""
    settings = {"model": case.model, "method": case.method, "batch_size": case.batch, "steps": case.steps + 1}
    settings |= {"precision": case.precision, "quantization": case.quantization}
    return settings | {"seed": 42, "rank": 16, "alpha": 32, "learning_rate": RATES[case.method], "rows": rows_of(case)}


def rows_of(case: Case) -> list[dict[str, Any]]:
    """The case's examples in the order in which they are trained: token ids and marks of what is trained."""
    import numpy as np

    from tunebook.data.gate import examine
    from tunebook.data.survey import Settings
    from tunebook.model.sources import cache_folder, load_tokenizer

    tokenizer, settings = load_tokenizer(case.model), Settings(duplicates="keep")
    examples = examine(Path(case.data), None, tokenizer, settings, cache_folder() / "data").examples
    order = np.random.default_rng(0).permutation(len(examples))[: case.batch * (case.steps + 1)]
    picked = [examples[int(row)] for row in order]
    return [{"input_ids": row.ids.tolist(), "completion_mask": np.asarray(row.trained, int).tolist()} for row in picked]


def save_adapters(settings: dict[str, Any], path: Path) -> Path:
    """Write the adapters that Tunebook begins with, as layers.N.self_attn.q_proj.lora_A and so on; returns `path`."""
    from safetensors.torch import save_file

    from train_ours import plan_of
    from tunebook.model.adapters import make_trainable, trainable_parameters
    from tunebook.model.sources import load_model

    model = make_trainable(load_model(settings["model"]), plan_of(settings))
    named = trainable_parameters(model).items()
    short = {name[name.index("layers.") :].removesuffix(".default.weight"): value.data for name, value in named}
    save_file({name: value.contiguous() for name, value in short.items()}, path)
    return path


def as_file(path: Path) -> Path:
    """`path`, or the file of pairs made of a folder that holds them line by line as nl2bash does."""
    if not path.is_dir():
        return path.resolve()
    texts = [(path / name).read_text(encoding="utf-8").splitlines() for name in ("all.nl", "all.cm")]
    rows = [{"prompt": asked, "completion": command} for asked, command in zip(*texts, strict=True)]
    file = ROOT / "build" / f"{path.name}.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def agree(ours: list[float], theirs: list[float], precision: str) -> bool:
    """Are the losses of every step equal to 3 digits? To 2 in bfloat16, which each side rounds to in other places."""
    near = 0.001 if precision == "float32" else 0.005
    return len(ours) == len(theirs) and all(abs(a - b) < near * abs(b) for a, b in zip(ours, theirs, strict=True))


def run(case: Case, peer: str, pairs: int, results: Results) -> None:
    """Find the peer's best way, then alternate."""
    scouted = {way: results.once(replace(case, steps=1), peer, way, 0) for way in WAYS[peer]}
    best = max(scouted, key=lambda way: scouted[way]["speed"])
    results.once(case, "tunebook", _ours(peer), 0, roofline=True)
    for number in range(1, pairs + 1):
        order = [("tunebook", _ours(peer)), (peer, best)]
        for side, way in order if number % 2 else reversed(order):
            results.once(case, side, way, number)
    if pairs:
        results.once(case, peer, best + ALLOCATED, 0, allocator=True)


def _ours(peer: str) -> str:
    """Our way under which what was measured in turns with `peer` is kept."""
    return "fused" if peer == "trl" else f"fused, beside {peer}"


def line(case: Case, peer: str, results: Results) -> str | None:
    """A row of the table, or None where nothing is to be told yet."""
    scouted = {way: found[0] for way in WAYS[peer] if (found := results.of(case, peer, way))}
    ours = results.of(case, "tunebook", _ours(peer))
    if not scouted or len(ours) < 2:
        return None
    best = max(scouted, key=lambda way: scouted[way]["speed"])
    theirs = results.of(case, peer, best)[1:]
    roofline, ours = ours[0], ours[1:]
    pairs = [(mine, other) for mine, other in zip(ours, theirs, strict=False) if mine["speed"] and other["speed"]]
    if not pairs:
        return None
    speed = [mine["speed"] / other["speed"] for mine, other in pairs]
    cpu = [sum(other["cpu"][1:]) / sum(mine["cpu"][1:]) for mine, other in pairs]
    memory = [mine["peak"] / other["peak"] for mine, other in pairs]
    allocated = results.of(case, peer, best + ALLOCATED)
    leanest = min(found["peak"] for found in scouted.values())
    attention = roofline.get("attention") or [0.0] * len(roofline["seconds"])  # not there in older measurements
    alone = list(zip(roofline["roofline"], attention, roofline["seconds"], strict=True))[1:]
    layers = statistics.median(products / seconds for products, _, seconds in alone)
    share = statistics.median((products + more) / seconds for products, more, seconds in alone)
    same = all(agree(mine["losses"], other["losses"], case.precision) for mine, other in pairs)
    cells = [
        case.name,
        f"{statistics.median(mine['speed'] for mine, _ in pairs):.0f}",
        f"{statistics.median(other['speed'] for _, other in pairs):.0f} ({best})",
        f"{allocated[0]['speed']:.0f}" if allocated else "",
        f"**{statistics.median(speed):.2f}** ({min(speed):.2f} to {max(speed):.2f})",
        f"{statistics.median(cpu):.2f}",
        f"{statistics.median(mine['peak'] for mine, _ in pairs) / 1e9:.2f}",
        f"{statistics.median(other['peak'] for _, other in pairs) / 1e9:.2f} (leanest way {leanest / 1e9:.2f})",
        f"**{statistics.median(memory):.2f}**",
        f"{share:.0%}" + (f" (attention left out {layers:.0%})" if layers < share else ""),
        "yes" if same else "NO",
        str(len(pairs)),
    ]
    return "| " + " | ".join(cells) + " |"


COLUMNS = (
    "case",
    "ours, tokens/s",
    "{peer}, tokens/s (way)",
    "{peer} with our allocator settings",
    "ratio",
    "ratio of processor time",
    "ours, GB",
    "{peer}, GB",
    "ratio",
    "share of roofline",
    "losses equal",
    "pairs",
)


def main() -> None:
    """Parse the options, measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", nargs="+", type=Path, default=[path for path in DATA if path.exists()] or [DEMO])
    parser.add_argument("--batch", nargs="+", type=int, default=[4, 16])
    parser.add_argument("--method", nargs="+", choices=["lora", "full"], default=["lora", "full"])
    parser.add_argument("--precision", nargs="+", choices=["float32", "bfloat16"], default=["float32"])
    parser.add_argument("--peer", choices=WAYS, default="trl")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, help="measured in each run, after one to warm up; else 12 examples' worth")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench-train.jsonl")
    parser.add_argument("--table", action="store_true", help="print what is there, measure nothing")
    options = parser.parse_args()
    if options.peer == "litgpt" and "full" in options.method:
        parser.error("LitGPT unties the embedding from the head, so that only --method lora trains the same model")
    from tunebook.model.sources import model_folder

    model = str(model_folder(options.model, Path.cwd()))
    results = Results(options.results)
    cases = [
        Case(model, str(as_file(data)), method, batch, options.steps or max(1, 12 // batch), precision)
        for data, method, batch, precision in product(options.data, options.method, options.batch, options.precision)
    ]
    if not options.table:
        for case in cases:
            run(case, options.peer, options.pairs, results)
    print(f"| {' | '.join(COLUMNS)} |".replace("{peer}", NAMES[options.peer]))
    print("|---" * len(COLUMNS) + "|")
    for case in cases:
        if told := line(case, options.peer, results):
            print(told)


if __name__ == "__main__":
    main()
