"""The time that the matrix products of a micro-batch take alone: what no engine on this machine can be faster than.

Counted are the products of the linear layers, forward and backward, of their adapters and of the head, with the model's
own weights and as many rows as the engine gives them; and for themselves attention's products, queries with keys and
weights with values, over the blocks that the engine makes. Not counted: everything elementwise, norms, the optimizer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from tunebook.model.fused.blocks import AttentionBlock
from tunebook.model.fused.pieces import Layout, Linears
from tunebook.model.products import EXACT
from tunebook.train.batches import MicroBatch
from tunebook.train.forward import Engine
from tunebook.train.loss import CHUNK

Product = tuple[Tensor, Tensor]


def seconds_of_products(engine: Engine, batch: MicroBatch) -> float:
    """Seconds of the products alone, one after the other, results thrown away. The engine must go the fused way."""
    assert engine.fused is not None
    trained = len(batch.where)
    seconds = 0.0
    for number, (attention, feed_forward) in enumerate(engine.fused.layers, 1):
        rows = trained if number == len(engine.fused.layers) else batch.tokens
        seconds += sum(_seconds(linears, batch.tokens) for linears in (attention.qkv.linears, attention.o))
        seconds += sum(_seconds(linears, rows) for linears in (feed_forward.gate_up.linears, feed_forward.down))
    head = engine.head.weight
    for start in range(0, trained, CHUNK):
        hidden = torch.randn(min(CHUNK, trained - start), head.shape[1])
        logits = torch.randn(len(hidden), head.shape[0])
        seconds += _time([(hidden, head.t()), (logits, head)])
        if head.requires_grad:
            seconds += _time([(logits.t(), hidden)])
    return seconds


def seconds_of_attention(engine: Engine, batch: MicroBatch) -> float:
    """Seconds of attention's products alone: two forward, and backward five, since its weights are not kept."""
    assert engine.fused is not None
    nothing = torch.empty(batch.tokens, 1, 1)
    looks = Layout.of(nothing, nothing, batch.lengths, batch.prefix).looks
    blocks = [(look.rows.stop - look.rows.start, look.prefix + look.rows.stop - look.since) for look in looks]
    return sum(
        _time(list(_attention_products(attention, rows, keys)))
        for attention, _ in engine.fused.layers
        for rows, keys in blocks
    )


def _attention_products(block: AttentionBlock, rows: int, keys: int) -> Iterator[Product]:
    """Of a block of rows that see so many keys; query heads that share a key head are one product."""
    heads, kv_heads = (len(part.weight) // block.dim for part in block.qkv.linears.parts[:2])
    q = torch.randn(kv_heads, rows * heads // kv_heads, block.dim)
    k, weights = torch.randn(kv_heads, keys, block.dim), torch.randn(kv_heads, q.shape[1], keys)
    yield from [(q, k.mT)] * 3  # scores, the scores again, the weights' gradient
    yield from [(weights, k)] * 2  # what is said, the queries' gradient
    yield from [(weights.mT, q)] * 2  # the keys' and the values' gradient


def _seconds(linears: Linears, rows: int) -> float:
    """Forward and backward of linear layers of one input."""
    x = torch.randn(rows, linears.parts[0].weight.shape[1])
    widths = [part.weight.shape[0] for part in linears.parts]
    return sum(_time(list(_products(linears, x, torch.randn(rows, width), at))) for at, width in enumerate(widths))


def _products(linears: Linears, x: Tensor, grad: Tensor, at: int) -> Iterator[Product]:
    part = linears.parts[at]
    yield x, part.weight.t()
    yield grad, part.weight
    if part.weight.requires_grad:
        yield grad.t(), x
    if part.a is not None and part.b is not None:
        inner = x[:, : len(part.a)]
        yield x, part.a.t()
        yield inner, part.b.t()
        yield grad, part.b
        yield grad.t(), inner
        yield inner.t(), x
        yield inner, part.a


def _time(products: list[Product]) -> float:
    with torch.no_grad():
        started = time.perf_counter()
        for a, b in products:
            EXACT(a, b)  # as the engine multiplies in float32
        return time.perf_counter() - started
