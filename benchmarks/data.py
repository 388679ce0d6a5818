"""Check and render of a data set, beside TRL's preparation of the same file: rows a second, peak memory, second run.

    python benchmarks/data.py                          # 20,000 rows, three alternating runs of each side
    python benchmarks/data.py --cores 1                # the same on one core
    python benchmarks/data.py --rows 100000 --runs 1
    python benchmarks/data.py --memory 10000 1000000   # Tunebook alone, short rows

Both sides read the same JSONL file of prompt and completion messages with the same tokenizer, in one process each.
Tunebook reads, checks, renders, masks, looks for duplicates, near-duplicates and private text, and writes Arrow; TRL
loads the file with `datasets` and runs the preparation of `SFTTrainer`, which masks the prompt. One process of Tunebook
uses two cores where there are two (the tokenizer's own threads beside Python), one of TRL uses one: `--cores 1` shows
what is left without that, and the processor time is told either way. The second run is `tunebook data check` as a user
calls it, start of Python and all. TRL lives in an environment of its own with the same versions of the libraries that
both use (`peers.py`), made on first use.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from peers import python_of

ROOT = Path(__file__).resolve().parent.parent

OURS = """
import json, resource, sys, time
from pathlib import Path
from tunebook.data.gate import examine
from tunebook.data.survey import Settings
from transformers import AutoTokenizer
path, model, cache = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
start, cpu = time.perf_counter(), time.process_time()
checked = examine(Path(path), None, tokenizer, Settings(), Path(cache, "data"))
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
tokens = checked.findings.tokens
print(json.dumps({
    "rows": len(checked.examples), "seconds": seconds, "cpu": cpu, "near": checked.findings.near_duplicates,
    "tokens": tokens.total, "trained": tokens.trained,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""

THEIRS = """
import json, resource, sys, time
path, model, cache = sys.argv[1:]
from datasets import load_dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer
tokenizer = AutoTokenizer.from_pretrained(model)
tiny = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                    num_attention_heads=1, num_key_value_heads=1))
config = SFTConfig(output_dir=cache, max_length=1024, report_to=[], use_cpu=True, bf16=False)
prepare, spent = SFTTrainer._prepare_dataset, []
def timed(*arguments, **named):
    start, cpu = time.perf_counter(), time.process_time()
    made = prepare(*arguments, **named)
    spent.append((time.perf_counter() - start, time.process_time() - cpu))
    return made
SFTTrainer._prepare_dataset = timed
start, cpu = time.perf_counter(), time.process_time()
dataset = load_dataset("json", data_files=path, split="train", cache_dir=cache)
read = time.perf_counter() - start, time.process_time() - cpu
trainer = SFTTrainer(model=tiny, args=config, train_dataset=dataset, processing_class=tokenizer)
made = trainer.train_dataset
some = made.select(range(min(1000, len(made))))
print(json.dumps({
    "rows": len(made), "seconds": read[0] + spent[0][0], "cpu": read[1] + spent[0][1],
    "trained": sum(label != -100 for labels in some["labels"] for label in labels) * len(made) // len(some),
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""


def write_rows(path: Path, count: int, longest: int = 200) -> None:
    """Conversations with answers of 20 to `longest` words, made of the words of the shipped data.

    One in fifty says what one of the last hundred said with one word changed: near-duplicates to be found.
    """
    pick = random.Random(7)
    shipped = (ROOT / "src/tunebook/demo/examples.jsonl").read_text(encoding="utf-8").splitlines()
    words = " ".join(turn["content"] for line in shipped for turn in json.loads(line)["messages"]).split()
    last: deque[list[str]] = deque(maxlen=100)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            asked = pick.choices(words, k=pick.randint(8, longest // 3))
            answer = pick.choices(words, k=pick.randint(20, longest))
            if last and number % 50 == 0:
                answer = [*pick.choice(last)]
                answer[pick.randrange(len(answer))], asked = str(number), asked[:3]
            last.append(answer)
            row = {
                "prompt": [{"role": "user", "content": f"{' '.join(asked)} ({number})?"}],
                "completion": [{"role": "assistant", "content": " ".join(answer)}],
            }
            file.write(json.dumps(row) + "\n")


def measure(python: Path | str, script: str, path: Path, model: str) -> dict[str, float]:
    """Run one side in a fresh process with a fresh cache; of Tunebook, the command once more behind it."""
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        environment = {**os.environ, **quiet, "HF_DATASETS_CACHE": cache, "TUNEBOOK_CACHE": cache}
        result: dict[str, float] = json.loads(_run([python, "-c", script, path, model, cache], environment)[-1])
        if script is OURS:
            start = time.perf_counter()
            _run([python, "-m", "tunebook", "data", "check", path, "--model", model, "--json"], environment)
            result["again"] = time.perf_counter() - start
    return result


def _run(command: list[Any], environment: dict[str, str]) -> list[str]:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return done.stdout.splitlines()


def compare(rows: int, runs: int, model: str, folder: Path) -> None:
    """Alternate the two sides, each first in turn, and print the ratio of each pair of runs."""
    path = folder / "rows.jsonl"
    write_rows(path, rows)
    sides = {"tunebook": (sys.executable, OURS), "TRL": (python_of("trl"), THEIRS)}
    ratios, cpu = [], []
    for number in range(1, runs + 1):
        order = list(sides) if number % 2 else list(sides)[::-1]
        found = {side: measure(*sides[side], path, model) for side in order}
        ours, theirs = found["tunebook"], found["TRL"]
        assert ours["rows"] == theirs["rows"] == rows, found
        ratios.append(theirs["seconds"] / ours["seconds"])
        cpu.append(theirs["cpu"] / ours["cpu"])
        print(
            f"run {number}: {_told(ours)}; TRL {rows / theirs['seconds']:,.0f} rows/s, {_gigabytes(theirs)}", flush=True
        )
        print(
            f"  {ratios[-1]:.2f} times TRL's rows per second, {cpu[-1]:.2f} times in rows per second of processor time"
        )
    print(
        f"{rows:,} rows, {runs} runs, {len(os.sched_getaffinity(0))} cores: {_spread(ratios)} times TRL's rows per "
        f"second; by processor time {_spread(cpu)}"
    )


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def memory(counts: list[int], model: str, folder: Path) -> None:
    """Peak memory and speed of Tunebook alone for each number of rows; the rows are short, so that it takes minutes."""
    for rows in counts:
        path = folder / f"rows{rows}.jsonl"
        write_rows(path, rows, longest=40)
        ours = measure(sys.executable, OURS, path, model)
        path.unlink()
        print(f"{rows:,} rows of {ours['tokens'] / rows:.0f} tokens: {_told(ours)}", flush=True)


def _told(ours: dict[str, float]) -> str:
    return (
        f"tunebook {ours['rows'] / ours['seconds']:,.0f} rows/s, {_gigabytes(ours)}, {ours['near']:,} near-duplicates, "
        f"second run {ours['again']:.2f} s"
    )


def _gigabytes(side: dict[str, float]) -> str:
    return f"{side['peak'] / 1e9:.2f} GB"


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cores", type=int, help="let both sides use so many cores alone")
    parser.add_argument("--memory", type=int, nargs="+", metavar="ROWS", help="measure memory alone, at these sizes")
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer to use")
    options = parser.parse_args()
    from tunebook.model.sources import model_folder

    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    model = str(model_folder(options.model, Path.cwd()))
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            memory(options.memory, model, Path(folder))
        else:
            compare(options.rows, options.runs, model, Path(folder))


if __name__ == "__main__":
    main()
