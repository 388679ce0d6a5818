"""Check and render of a data set, beside TRL's preparation of the same file: rows a second, peak memory, second run.

    python benchmarks/data.py                       # 20,000 rows, three alternating runs of each
    python benchmarks/data.py --rows 100000 --runs 1
    python benchmarks/data.py --memory 10000 1000000

Both read the same JSONL file of prompt and completion messages with the same tokenizer, in one process each. Tunebook
reads, checks, renders, masks, looks for duplicates, near-duplicates and private text, and writes Arrow; TRL loads the
file with `datasets` and runs the preparation of `SFTTrainer`, which masks the prompt. TRL lives in an environment of
its own (`build/bench-trl`), made on first use; it shares this one's torch, transformers and tokenizers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections import deque
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRL = ROOT / "build" / "bench-trl"
TRL_VERSION = "1.16.0"

OURS = """
import json, resource, sys, time
from pathlib import Path
from tunebook.data.gate import examine
from tunebook.data.survey import Settings
from transformers import AutoTokenizer
path, model, cache = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
start, cpu = time.perf_counter(), time.process_time()
checked = examine(Path(path), None, tokenizer, Settings(duplicates="keep"), Path(cache))
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
start = time.perf_counter()
again = examine(Path(path), None, tokenizer, Settings(duplicates="keep"), Path(cache))
assert len(again.examples) == len(checked.examples)
print(json.dumps({
    "rows": len(checked.examples), "seconds": seconds, "cpu": cpu, "again": time.perf_counter() - start,
    "near": checked.findings.near_duplicates, "tokens": checked.findings.tokens.total, "trained": checked.findings.tokens.trained,
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


def make_trl() -> Path:
    """The Python of TRL's environment."""
    python = TRL / "bin" / "python"
    if not (TRL / "ready").exists():
        venv.create(TRL, with_pip=True, clear=True)
        site = TRL / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        # Not the bare path: its own .pth files are to be followed too.
        (site / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
        subprocess.run([python, "-m", "pip", "install", "-q", f"trl=={TRL_VERSION}"], check=True)
        (TRL / "ready").touch()
    return python


def measure(python: Path | str, script: str, path: Path, model: str) -> dict[str, float]:
    """Run one side in a fresh process with a fresh cache."""
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": cache,
            "TRANSFORMERS_VERBOSITY": "error",
        }
        done = subprocess.run(
            [python, "-c", script, path, model, cache], env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(rows: int, runs: int, model: str, folder: Path) -> None:
    """Alternate the two sides and print the ratio of each pair of runs."""
    path = folder / "rows.jsonl"
    write_rows(path, rows)
    ratios, cpu = [], []
    for number in range(1, runs + 1):
        ours = measure(sys.executable, OURS, path, model)
        theirs = measure(make_trl(), THEIRS, path, model)
        assert ours["rows"] == theirs["rows"] == rows, (ours, theirs)
        ratios.append(theirs["seconds"] / ours["seconds"])
        cpu.append(theirs["cpu"] / ours["cpu"])
        print(
            f"run {number}: tunebook {rows / ours['seconds']:,.0f} rows/s ({ours['peak'] / 1e9:.2f} GB, again from "
            f"the cache {ours['again']:.2f} s), TRL {rows / theirs['seconds']:,.0f} rows/s "
            f"({theirs['peak'] / 1e9:.2f} GB): {ratios[-1]:.2f} times as fast; "
            f"processor time {cpu[-1]:.2f} times less",
            flush=True,
        )
    print(f"{rows:,} rows, median of {runs}: {statistics.median(ratios):.2f} times TRL's rows per second")


def memory(counts: list[int], model: str, folder: Path) -> None:
    """Peak memory and speed of Tunebook alone for each number of rows."""
    for rows in counts:
        path = folder / f"rows{rows}.jsonl"
        write_rows(path, rows, longest=40)
        ours = measure(sys.executable, OURS, path, model)
        path.unlink()
        print(
            f"{rows:,} rows: {rows / ours['seconds']:,.0f} rows/s, peak {ours['peak'] / 1e9:.2f} GB, "
            f"again from the cache {ours['again']:.2f} s",
            flush=True,
        )


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="+", metavar="ROWS", help="measure memory alone, at these sizes")
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer to use")
    options = parser.parse_args()
    from tunebook.model.sources import model_folder

    model = str(model_folder(options.model, Path.cwd()))
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            memory(options.memory, model, Path(folder))
        else:
            compare(options.rows, options.runs, model, Path(folder))


if __name__ == "__main__":
    main()
