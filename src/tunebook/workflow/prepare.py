"""The steps before training: initialize, validate, split, load, configure, logging. Each returns its evidence."""

from __future__ import annotations

import shutil
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from tunebook.data.cache import tokenizer_fingerprint
from tunebook.data.gate import check_data
from tunebook.data.split import split as split_examples
from tunebook.data.template import chat_template
from tunebook.errors import RunError
from tunebook.files import to_json
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.model.four_bits import weight_count
from tunebook.model.sources import (
    cache_folder,
    load_model,
    load_tokenizer,
    loaded_bytes,
    read_config,
    weights_sha256,
)
from tunebook.plan.files import values_by_path
from tunebook.runs.trackers import Follower
from tunebook.train.batches import steps_per_epoch
from tunebook.train.forward import make_engine
from tunebook.train.optim import make_optimizer
from tunebook.train.state import TrainState, seed_step
from tunebook.workers.meet import describe
from tunebook.workers.sharding import shard
from tunebook.workflow.context import Context
from tunebook.workflow.hardware import gpu_bytes, has_gpu, keep_memory, pick_device, precisions, probe
from tunebook.workflow.inputs import remember_inputs
from tunebook.workflow.memory import MICRO_BATCH_TOKENS, Shape, check_memory, micro_batch_tokens


def initialize(context: Context) -> dict[str, Any]:
    """Seed, look at the machine, and write `environment.json`."""
    keep_memory()
    seed_step(context.plan.training.seed, 0)
    machine = probe(context.run.folder)
    context.write({"format": 1, **machine}, "environment.json")
    if not context.workers.alone:
        context.emit("workers", **describe(context.workers))
    return {name: machine[name] for name in ("device", "cores", "memory_bytes")}


def validate(context: Context) -> dict[str, Any]:
    """Pass every row through the data gate; findings and bad rows go to `data/`."""
    with context.workers.first_goes_first("data"):
        return _validate(context)


def _validate(context: Context) -> dict[str, Any]:
    plan, base = context.plan, context.run.folder
    context.tokenizer = load_tokenizer(plan.model.name, base)
    checked = check_data(plan.data, base, context.tokenizer, cache_folder() / "data")
    context.examples = checked.examples
    findings = checked.findings.to_json()
    context.write(findings, "data", "findings.json")
    if checked.quarantine.exists() and context.workers.first:
        shutil.copyfile(checked.quarantine, context.path("data", "quarantine.jsonl"))
    digests = {
        "template": sha256(chat_template(context.tokenizer).encode()).hexdigest(),
        "tokenizer": tokenizer_fingerprint(context.tokenizer, ""),
        "data": checked.examples.fingerprint,
    }
    if checked.validation:
        context.validation_examples = checked.validation.examples
        digests["validation_data"] = checked.validation.examples.fingerprint
    remember_inputs(context, **digests)
    if counts := checked.findings.counts:
        found = ", ".join(f"{count:,} {code}" for code, count in counts.most_common())
        context.emit("log", message=f"What the rows have, by line in data/findings.json: {found}.")
    told = {name: findings[name] for name in ("rows", "good", "examples")}
    return told | {"problems": sum(counts.values())}


def split(context: Context) -> dict[str, Any]:
    """Decide which rows train and which are held out; ids of both sides go to `data/split.json`."""
    seed = context.plan.training.seed
    parts = split_examples(context.examples, context.plan.data, seed, context.validation_examples)
    context.train_rows, context.validation_rows = parts.train_indices, parts.validation_indices
    if context.validation_examples is None:
        context.validation_examples = context.examples
    remember_inputs(context, split=parts.fingerprint)
    ids, held_out_ids = context.examples.row_ids, context.validation_examples.row_ids
    sides = {
        "training": [ids[row] for row in context.train_rows],
        "validation": [held_out_ids[row] for row in context.validation_rows],
        "left_out": [ids[row] for row in parts.left_out],
    }
    context.write({"format": 1, "fingerprint": parts.fingerprint, **sides}, "data", "split.json")
    return {name: len(rows) for name, rows in sides.items() if rows or name != "left_out"}


def load(context: Context) -> dict[str, Any]:
    """Read the base model's weights into memory and take their hash."""
    name, base = context.plan.model.name, context.run.folder
    if context.workers.sharded and context.plan.model.quantization:
        raise RunError(
            "A model in 4 bits cannot be split over workers.",
            do="Leave out --sharded, so that each worker holds a copy, or set model.quantization to null.",
        )
    digest = weights_sha256(name, base)
    if context.plan.model.sha256 and context.plan.model.sha256 != digest:
        raise RunError(
            f"The weights of '{name}' are not the ones that the plan was made for "
            f"({digest[:12]}... instead of {context.plan.model.sha256[:12]}...).",
            do="Put the right model there, or take model.sha256 out of the plan.",
        )
    config = to_json(read_config(name, base))
    remember_inputs(context, model=digest, model_config=sha256(config.encode()).hexdigest())
    _check_memory(context)
    context.model = load_model(name, base, torch.float32, context.plan.model.quantization)
    if not context.workers.sharded:  # what is split goes to the devices part by part
        context.model.to(pick_device())
    parameters = weight_count(context.model)
    if context.configured:
        _assemble(context)
    return {"parameters": parameters, "sha256": digest}


def _check_memory(context: Context) -> None:
    """RunError when the plan is beyond the GPU, or beyond the CPU where torch cannot use the GPU that there is.

    Of a GPU what is held is reckoned; examples are rehearsed. Without a GPU all was checked before the run was made.
    """
    plan, named = context.plan, (context.plan.model.name, context.run.folder)
    if not has_gpu() or context.workers.sharded:
        return
    shape, there = Shape.of(read_config(*named), loaded_bytes(*named)), gpu_bytes()
    if there is not None:
        check_memory(plan, shape, longest=0, per_step=0, usual=0, gpu_bytes=there)
        return
    lengths = context.examples.lengths if context.examples is not None else np.zeros(1, int)
    fullest = int(np.sort(lengths)[-plan.training.batch_size :].sum())
    check_memory(plan, shape, int(lengths.max()), fullest, MICRO_BATCH_TOKENS["cpu"])


def configure(context: Context) -> dict[str, Any]:
    """Set what is trained, the optimizer, and how many tokens go through the model at once."""
    context.configured = True
    training = context.plan.training
    settled: dict[str, Any] = {"method": training.method, "learning_rate": training.learning_rate}
    if context.model is None:
        return settled | {"note": "takes effect when the model is loaded, which this plan does later"}
    _assemble(context)
    return settled | {
        "trainable_parameters": sum(p.numel() for p in context.parameters.values()),
        "micro_batch_tokens": context.state.micro_batch_tokens,
        "way": context.engine.way,
    }


def _assemble(context: Context) -> None:
    """Join the plan's settings and the model in memory."""
    training = context.plan.training
    context.model = make_trainable(context.model, context.plan)
    if context.workers.sharded:
        shard(context.model, context.workers.world, pick_device())
    way = "joined" if context.workers.sharded else "fused"  # layers of our own do not put split weights together
    context.engine = make_engine(
        context.model,
        smoothing=training.label_smoothing,
        noise_alpha=training.noise_alpha,
        way=way,
        precision=training.precision,
    )
    if why := context.engine.why_plain or context.engine.why_joined:
        context.emit("log", message=f"Training goes the {context.engine.way} way: {why}.")
    if why_not := context.engine.why_not_flex:
        context.emit("log", message=f"Attention takes one example after the other: {why_not}.")
    if training.precision != context.engine.precision:
        context.emit("warning", code="precision", message=f"Training multiplies in {context.engine.precision}: {why}.")
    elif training.precision not in precisions():
        context.emit(
            "warning",
            code="precision",
            message=f"This processor has no {training.precision} products of its own: float32 would be faster.",
        )
    elif training.precision == "float32" and "bfloat16" in precisions() and not context.engine.why_plain:
        words = "training.precision bfloat16 would be faster; losses then differ by some 0.1 %."
        context.emit("log", message=f"This machine multiplies bfloat16 of its own: {words}")
    context.parameters = trainable_parameters(context.model)
    context.optimizer = make_optimizer(context.parameters, training)
    device = next(context.model.parameters()).device.type
    context.state = TrainState(micro_batch_tokens(context.plan, MICRO_BATCH_TOKENS[device]))


def logging(context: Context) -> dict[str, Any]:
    """Make the folders that training records into, open the plan's trackers, and see what room the disk has."""
    for name in ("checkpoints", "samples", "evaluation") if context.workers.first else ():
        context.path(name).mkdir(exist_ok=True)
    for name in context.plan.trackers if context.workers.first else ():
        follower = Follower(name, context.run, values_by_path(context.plan), partial(_warn, context))
        context.watchers.append(follower)
        context.closing.callback(follower.close)
    free = shutil.disk_usage(context.run.folder).free
    named = {"trackers": ", ".join(context.plan.trackers)} if context.plan.trackers else {}
    return {"disk_free_bytes": free, **named}


def _warn(context: Context, message: str) -> None:
    context.emit("warning", code="tracker", message=message)


def settle_totals(context: Context) -> None:
    """Tell what follows from plan, data and model together, once all three are there."""
    plan, rows = context.plan, len(context.train_rows)
    per_epoch = steps_per_epoch(rows, plan.training.batch_size)
    limit = plan.training.epochs.max * per_epoch
    context.emit(
        "totals",
        optimizer_steps=min(limit, plan.training.max_steps or limit),
        steps_per_epoch=per_epoch,
        parameters=weight_count(context.model),
        trainable_parameters=sum(p.numel() for p in context.parameters.values()),
        micro_batch_tokens=context.state.micro_batch_tokens,
        training_examples=rows,
        validation_examples=len(context.validation_rows),
    )
