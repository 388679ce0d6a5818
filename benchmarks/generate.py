"""Answers to 64 held-out prompts: Tunebook's batches beside `model.generate` called with one prompt at a time.

    python benchmarks/generate.py [--data FILE] [--prompts 64] [--new 64] [--runs 4]

The model carries LoRA adapters of rank 16 whose weights change its answers. The prompts are cut into parts, on which
the two sides take turns; each part gives a ratio. Texts are compared one by one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent


def tuned(name: str) -> Any:
    """The model with adapters whose B is not zero."""
    from tunebook.model.adapters import make_trainable
    from tunebook.model.sources import load_model
    from tunebook.plan.files import make_plan

    plan = make_plan({"model": {"name": name}, "data": {"path": "-"}, "training": {"method": "lora"}})
    model = make_trainable(load_model(name), plan)
    torch.manual_seed(0)
    for key, parameter in model.named_parameters():
        if "lora_B" in key:
            parameter.data.normal_(std=0.002)
    return model.eval()


def one_at_a_time(model: Any, tokenizer: Any, prompts: list[list[int]], new: int) -> list[str]:
    """What `model.generate` says."""
    from tunebook.evaluate.generate import stop_token_ids

    stops = list(stop_token_ids(model, tokenizer))
    said = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=stops[0],
        )
        said.append(tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True))
    return said


def main() -> None:
    """Alternate and compare."""
    from tunebook.data.gate import examine
    from tunebook.data.survey import Settings
    from tunebook.evaluate.generate import generate
    from tunebook.model.sources import cache_folder, load_tokenizer
    from tunebook.workflow.hardware import keep_memory

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", type=Path, default=ROOT / "src/tunebook/demo/examples.jsonl")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--new", type=int, default=64, help="tokens of an answer at most")
    parser.add_argument("--runs", type=int, default=4, help="parts that the prompts are cut into")
    options = parser.parse_args()
    keep_memory()
    tokenizer = load_tokenizer(options.model)
    examples = examine(options.data, None, tokenizer, Settings(duplicates="keep"), cache_folder() / "data").examples
    prompts = [examples[row].ids[: examples[row].prompt_length].tolist() for row in range(options.prompts)]
    model = tuned(options.model)
    one_at_a_time(model, tokenizer, prompts[:1], 4)  # to warm up

    ours: list[Any] = []
    theirs: list[str] = []
    ratios = []
    for number in range(options.runs):
        part = prompts[number :: options.runs]
        started = time.perf_counter()
        ours += generate(model, tokenizer, part, max_new_tokens=options.new)
        between = time.perf_counter()
        theirs += one_at_a_time(model, tokenizer, part, options.new)
        ended = time.perf_counter()
        ratios.append((ended - between) / (between - started))
        print(f"part {number + 1}: ours {between - started:.1f} s, model.generate {ended - between:.1f} s", flush=True)
    same = sum(answer.text == text for answer, text in zip(ours, theirs, strict=True))
    tokens = sum(len(answer.ids) for answer in ours)
    print(
        f"{len(prompts)} prompts, {tokens} tokens: {statistics.median(ratios):.1f} times as fast "
        f"({min(ratios):.1f} to {max(ratios):.1f}); {same} of {len(prompts)} texts equal"
    )


if __name__ == "__main__":
    main()
