"""The other side of `train.py`: the same optimizer steps by TRL's SFTTrainer; runs in an environment of TRL's own.

It uses nothing of Tunebook. Ways: padded, packed (`padding_free`, the layout that TRL's packing trains in, which keeps
a step's examples together), or one example after the other with gradients accumulated, each with or without gradient
checkpointing.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """Seconds of each optimizer step and the loss that the trainer logs for it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.cpu: list[float] = []
        self.started = self.started_cpu = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started, self.started_cpu = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.started)
        self.cpu.append(time.process_time() - self.started_cpu)

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


class InOrder(SFTTrainer):
    """Takes the examples in the order given."""

    def _get_train_sampler(self, *_: Any) -> Any:
        return SequentialSampler(self.train_dataset)


def model_of(case: dict[str, Any]) -> Any:
    """The model in float32, with the adapters that the other side begins with."""
    model = AutoModelForCausalLM.from_pretrained(case["model"], dtype=torch.float32)
    if case["method"] == "full":
        return model
    torch.manual_seed(case["seed"])
    lora = {"r": case["rank"], "lora_alpha": case["alpha"], "lora_dropout": 0.0, "target_modules": "all-linear"}
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))


def main() -> None:
    """Take the steps, one of them to warm up."""
    case = json.loads(Path(sys.argv[1]).read_text())
    rows = case["rows"]
    labels = [
        [token if mark else -100 for token, mark in zip(row["input_ids"], row["completion_mask"], strict=True)]
        for row in rows
    ]
    packed, checkpointing = "packed" in case["way"], "checkpointing" in case["way"]
    at_once = 1 if "one by one" in case["way"] else case["batch_size"]
    config = SFTConfig(
        output_dir=sys.argv[2],
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=case["batch_size"] // at_once,
        max_steps=case["steps"],
        learning_rate=case["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=checkpointing,
        padding_free=packed,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=case["precision"] == "bfloat16",
        disable_tqdm=True,
    )
    clock = Clock()
    trainer = InOrder(
        model=model_of(case),
        args=config,
        train_dataset=Dataset.from_dict({"input_ids": [row["input_ids"] for row in rows], "labels": labels}),
        processing_class=AutoTokenizer.from_pretrained(case["model"]),
        callbacks=[clock],
    )
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print("\n" + json.dumps({"seconds": clock.seconds, "cpu": clock.cpu, "losses": clock.losses, "peak": peak}))


if __name__ == "__main__":
    main()
