"""Another side of `train.py`: the same optimizer steps by LitGPT; runs in an environment of LitGPT's own.

It uses nothing of Tunebook. Model, adapters, batches (padded on the right), head in chunks and loss are LitGPT's, and a
step is what `litgpt finetune_lora` takes: "padded" with the whole batch as its micro-batch, "one by one" with LitGPT's
usual micro-batch of one example, whose loss here counts by its trained tokens, since a mean of means is another loss.
The clipping of gradients, which LitGPT leaves out, is added. The adapters begin as the other side's.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from litgpt.data import get_sft_collate_fn
from litgpt.lora import GPT, Config, mark_only_lora_as_trainable
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
from litgpt.utils import chunked_cross_entropy
from safetensors.torch import load_file

# a layer's linear layers in LitGPT's model, and in the other side's: q, k and v are one, and so are their adapters
_LAYERS = {
    "attn.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.proj": ("self_attn.o_proj",),
    "mlp.fc_1": ("mlp.gate_proj",),
    "mlp.fc_2": ("mlp.up_proj",),
    "mlp.proj": ("mlp.down_proj",),
}


def config_of(case: dict[str, Any]) -> Config:
    """The model's configuration, in LitGPT's words, with adapters on every linear layer but the head."""
    own = json.loads((Path(case["model"]) / "config.json").read_text())
    everywhere = dict.fromkeys(("query", "key", "value", "projection", "mlp"), True)
    return Config(
        name="case",
        block_size=own["max_position_embeddings"],
        vocab_size=own["vocab_size"],
        padded_vocab_size=own["vocab_size"],
        n_layer=own["num_hidden_layers"],
        n_head=own["num_attention_heads"],
        n_query_groups=own["num_key_value_heads"],
        n_embd=own["hidden_size"],
        intermediate_size=own["intermediate_size"],
        rotary_percentage=1.0,
        rope_base=int((own.get("rope_parameters") or own)["rope_theta"]),
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=own["rms_norm_eps"],
        mlp_class_name="LLaMAMLP",
        lora_r=case["rank"],
        lora_alpha=case["alpha"],
        lora_dropout=0.0,
        **{f"lora_{part}": on for part, on in everywhere.items()},
    )


def model_of(case: dict[str, Any]) -> GPT:
    """LitGPT's model with the weights of the case and the adapters that the other side begins with."""
    config = config_of(case)
    with torch.device("meta"):
        model = GPT(config)
    weights: dict[str, torch.Tensor] = {}
    given: dict[str, torch.Tensor] = {}
    for file in sorted(Path(case["model"]).glob("*.safetensors")):
        given |= load_file(file)
    copy_weights_hf_llama(config, {}, weights, given, dtype=torch.float32)
    adapters = load_file(case["adapters"])
    for layer in range(config.n_layer):
        for name, theirs in _LAYERS.items():
            for side in ("lora_A", "lora_B"):
                parts = [adapters[f"layers.{layer}.{other}.{side}"] for other in theirs]
                weights[f"transformer.h.{layer}.{name}.{side}"] = torch.cat(parts)
    model.load_state_dict(weights, strict=True, assign=True)
    model.cos, model.sin = model.rope_cache()
    mark_only_lora_as_trainable(model)
    return model.train()


def main() -> None:
    """Take the steps, one of them to warm up."""
    case = json.loads(Path(sys.argv[1]).read_text())
    rows, size, steps = case["rows"], case["batch_size"], case["steps"]
    precision = "bf16-mixed" if case["precision"] == "bfloat16" else "32-true"
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision=precision)
    model = model_of(case)
    model.max_seq_length = max(len(row["input_ids"]) for row in rows)
    model = fabric.setup_module(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(trained, lr=case["learning_rate"], weight_decay=0.0))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    collate = get_sft_collate_fn()
    found: dict[str, Any] = {"seconds": [], "cpu": [], "losses": []}
    for step in range(steps):
        started, cpu = time.perf_counter(), time.process_time()
        samples = [sample(row) for row in rows[step * size : (step + 1) * size]]
        trained_tokens = sum(int((each["labels"][1:] != -100).sum()) for each in samples)
        summed = 0.0
        for group in [samples] if case["way"].startswith("padded") else [[each] for each in samples]:
            batch = collate(group)
            targets = batch["labels"][..., 1:]
            logits = model(batch["input_ids"], lm_head_chunk_size=128)
            logits[-1] = logits[-1][..., :-1, :]
            loss = chunked_cross_entropy(logits, targets) * ((targets != -100).sum() / trained_tokens)
            fabric.backward(loss)
            summed += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        found["losses"].append(summed)
        found["seconds"].append(time.perf_counter() - started)
        found["cpu"].append(time.process_time() - cpu)
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))


def sample(row: dict[str, Any]) -> dict[str, Any]:
    """A row as LitGPT's data modules give it."""
    ids = torch.tensor(row["input_ids"])
    labels = ids.where(torch.tensor(row["completion_mask"], dtype=torch.bool), -100)
    return {"input_ids": ids, "labels": labels, "token_counts": {"raw": len(ids), "raw_plus_prompt_template": len(ids)}}


if __name__ == "__main__":
    main()
