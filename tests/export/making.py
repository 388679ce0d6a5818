"""A finished run on the tiny model, as small as the export room can take: plan, checkpoint, answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.tiny import save_tiny, tiny_tokenizer
from tunebook.evaluate.generate import generate
from tunebook.files import write_json
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.model.sources import load_model
from tunebook.plan.files import make_plan
from tunebook.plan.schema import Plan
from tunebook.runs.store import Run, create_run
from tunebook.train.checkpoint import save_checkpoint

STEP = 7
NEW_TOKENS = 16
# random weights this large make every answer depend on every weight
LIVELY = {"initializer_range": 0.2, "hidden_size": 64, "tie_word_embeddings": False}


def plan_for(base: Path | str, formats: tuple[str, ...] = ("safetensors",), method: str = "lora") -> Plan:
    return make_plan(
        {
            "model": {"name": str(base)},
            "data": {"path": "data.jsonl"},
            "training": {"method": method},
            "lora": {"rank": 4},
            "evaluation": {"max_new_tokens": NEW_TOKENS},
            "export": {"formats": list(formats)},
        }
    )


def tuned_model(base: Path, plan: Plan, seed: int = 1) -> Any:
    """The base with weights moved as training would: adapters that are not zero, or every weight a little off."""
    model = make_trainable(load_model(str(base)), plan)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in trainable_parameters(model).items():
            if "lora_A" not in name:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
    return model.eval()


def prompts_of(tokenizer: Any, count: int = 6) -> list[list[int]]:
    chats = [[{"role": "user", "content": f"What is {number} + {number}?"}] for number in range(count)]
    return [tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in chats]


def end_more_often(base: Path) -> None:
    """Make the end-of-turn likely enough that some answers end by themselves and others run to their limit."""
    tensors = load_file(base / "model.safetensors")
    if "lm_head.weight" in tensors:
        tensors["lm_head.weight"][2] *= 1.25
        save_file(tensors, base / "model.safetensors", {"format": "pt"})


def finished_run(place: Path, formats: tuple[str, ...] = ("safetensors",), method: str = "lora", **model: Any) -> Run:
    """A run folder after `monitor`: its result is in `checkpoints/step-7` and its answers in `samples/`."""
    base = save_tiny(place / "base", **(LIVELY | model))
    end_more_often(base)
    plan = plan_for(base, formats, method)
    run = create_run("tiny-1", place / "runs", plan)
    tuned, tokenizer = tuned_model(base, plan), tiny_tokenizer()
    save_checkpoint(run.checkpoints, STEP, trainable_parameters(tuned), {}, {"step": STEP})
    prompts = prompts_of(tokenizer)
    answers = generate(tuned, tokenizer, prompts, max_new_tokens=NEW_TOKENS)
    rows = [
        {
            "id": f"held-{number}",
            "prompt": tokenizer.decode(prompt),
            "prompt_ids": prompt,
            "reference": "",
            "answer": answer.text,
            "tokens": len(answer.ids),
            "ended": answer.ended,
        }
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]
    write_json(run.folder / "evaluation" / "result.json", {"format": 1, "step": STEP})
    write_json(run.folder / "samples" / f"step-{STEP}.json", {"format": 1, "step": STEP, "answers": rows})
    write_json(run.folder / "data" / "inputs.json", {"data": "d" * 64})
    return run
