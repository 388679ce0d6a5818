"""The workers of one run, seen from one of them: few calls, and with one worker none of them does anything.

    deal            which examples of a step are mine            sum_gradients   of all workers, in float32 or wider
    share           split a list of work, gather the results     whole           tensors of which each worker has a part
    same, gather    the first worker's value; everybody's        any             has anybody ...?

Every worker makes the same calls in the same order. A worker that is gone or hangs makes them raise WorkerLost on all
others.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tunebook.errors import TunebookError, WorkerLost
from tunebook.workers.deal import deal
from tunebook.workers.sharding import is_sharded, whole

T = TypeVar("T")
R = TypeVar("R")
_BUCKET = 2**24  # numbers summed at once: 64 MB of float32
_ANSWER = 10.0  # seconds that the store is given to say what it knows of a worker that is lost
_LONG = timedelta(days=2)  # how long others wait while the first worker prepares data


@dataclass(slots=True, eq=False)
class Workers:
    """One of `world` workers, numbered by `rank` from 0. `store` is the key-value store that all of them see."""

    rank: int = 0
    world: int = 1
    sharded: bool = False  # is every worker's model a part of the whole (fully_shard), or a copy of it?
    patience: float = 600.0  # seconds until a worker that does not answer counts as lost
    store: Any = None
    doing: str = "starting"

    @property
    def first(self) -> bool:
        """The first worker alone writes to the run folder."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.world == 1

    def deal(self, costs: Sequence[int]) -> list[list[int]]:
        """Which examples each worker takes."""
        return [list(range(len(costs)))] if self.alone else deal(costs, self.world)

    def same(self, value: T) -> T:
        """The first worker's `value`, on all workers."""
        if self.alone:
            return value
        box = [value]
        with self._together():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Every worker's `value`, in the order of their ranks, on all workers."""
        if self.alone:
            return [value]
        box: list[Any] = [None] * self.world
        with self._together():
            dist.all_gather_object(box, value)
        return box

    def any(self, flag: bool) -> bool:
        """Does any worker say so?"""
        return flag if self.alone else any(self.gather(flag))

    def share(self, items: Sequence[T], costs: Sequence[int], work: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
        """`work(items)`, which gives one result an item, split over the workers; all results, in order, on all workers.

        Sharded workers all do all of it: each of them holds a part of every layer, so they can only move together.
        """
        if self.alone or self.sharded:
            return list(work(items))
        hands = self.deal(costs)
        mine = hands[self.rank]
        parts = self.gather(list(work([items[place] for place in mine])))
        found = {
            place: result
            for hand, part in zip(hands, parts, strict=True)
            for place, result in zip(hand, part, strict=True)
        }
        return [found[place] for place in range(len(items))]

    def sum_gradients(self, parameters: Iterable[Tensor], loss: float) -> float:
        """Make every gradient the sum over all workers, and return the sum of their losses.

        One all-reduce an optimizer step, in buckets, in float32 or wider. What `fully_shard` has split was summed in
        the backward pass. A parameter that has a gradient on no worker keeps none.
        """
        if self.alone:
            return loss
        copies = [parameter for parameter in parameters if not is_sharded(parameter)]
        facts = torch.tensor([loss, *(parameter.grad is not None for parameter in copies)], dtype=torch.float64)
        with self._together():
            dist.all_reduce(facts)
            used = [parameter for parameter, count in zip(copies, facts[1:].tolist(), strict=True) if count]
            for bucket in _buckets(used):
                _sum_bucket(bucket)
        return float(facts[0])

    def sum(self, value: float) -> float:
        """The sum of every worker's `value`."""
        if self.alone:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        with self._together():
            dist.all_reduce(total)
        return float(total)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`tensors` with the parts of all workers put together, one after the other; on the first worker alone."""
        found = {}
        with self._together():
            for name, tensor in tensors.items():
                full = whole(tensor)
                if self.first:
                    found[name] = full.cpu()  # a GPU may not hold the whole
        return found

    @contextmanager
    def first_goes_first(self, what: str) -> Iterator[None]:
        """The first worker does the block, then the others, who find its results on disk."""
        if self.alone:
            yield
            return
        with self._together():
            if not self.first:
                self.store.wait([what], _LONG)
        yield
        if self.first:
            self.store.set(what, "done")

    def mark(self, doing: str) -> None:
        """Say what this worker is at, so that others can say who did not get there."""
        if not self.alone:
            self.doing = doing
            with self._together():
                self.store.set(f"at/{self.rank}", doing)

    def report(self, error: BaseException) -> None:
        """Tell the others, and torchrun, why this worker ends; where that fails, its end is noticed anyway."""
        words = str(error) if isinstance(error, TunebookError) else f"{type(error).__name__}: {error}"
        if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
            with suppress(OSError):
                Path(path).write_text(json.dumps({"message": words, "timestamp": int(time.time())}))
        if self.alone or isinstance(error, WorkerLost):
            return
        try:
            self.store.compare_set("fault", "", json.dumps({"rank": self.rank, "words": words}))
        except RuntimeError:
            return

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What fails between workers fails with RuntimeErrors of many kinds; all of them mean that one is not there."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise self._lost(str(error)) from error

    def _lost(self, said: str) -> WorkerLost:
        """Which worker is not there, and why, as far as the store knows."""
        hangs = "timed out" in said.lower() or "timeout" in said.lower()
        fault, at = _within(_ANSWER, self._known) or (None, {})
        if fault and fault["rank"] != self.rank:
            return WorkerLost(f"Worker {fault['rank']} of 0 to {self.world - 1} ended: {fault['words']}")
        others = [rank for rank in range(self.world) if rank != self.rank]
        behind = others if len(others) == 1 else [rank for rank in others if at and at.get(rank) != self.doing]
        who = f"Worker {behind[0]} of 0 to {self.world - 1}" if len(behind) == 1 else f"One of the {self.world} workers"
        how = f"has not answered for {self.patience:g} seconds" if hangs else "is gone without a word"
        seen = at.get(behind[0], self.doing) if len(behind) == 1 else self.doing
        last = f"; it was last seen at {seen}" if seen != self.doing else ""
        return WorkerLost(f"{who} {how}, at {self.doing}{last}.")

    def _known(self) -> tuple[dict[str, Any] | None, dict[int, str]]:
        """The fault that a worker reported, and what each was at, as far as the store can be asked."""
        try:
            fault = json.loads(self.store.get("fault")) if self.store.check(["fault"]) else None
            ranks = [rank for rank in range(self.world) if self.store.check([f"at/{rank}"])]
            return fault, {rank: self.store.get(f"at/{rank}").decode() for rank in ranks}
        except RuntimeError:
            return None, {}


ALONE = Workers()


def _within(seconds: float, ask: Callable[[], T]) -> T | None:
    """What `ask` returns, or None when that takes longer: a store on a machine that is cut off never answers."""
    found: list[T] = []
    thread = Thread(target=lambda: found.append(ask()), daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters in order, in groups of one kind of number and at most `_BUCKET` numbers; a larger one goes alone."""
    bucket: list[Tensor] = []
    for parameter in parameters:
        full = sum(p.numel() for p in bucket) + parameter.numel() > _BUCKET
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _sum_bucket(parameters: Sequence[Tensor]) -> None:
    """Sum the gradients of `parameters` over all workers, in one message."""
    wide = torch.promote_types(parameters[0].dtype, torch.float32)
    flat = torch.cat(
        [torch.zeros_like(p, dtype=wide).flatten() if p.grad is None else p.grad.flatten().to(wide) for p in parameters]
    )
    dist.all_reduce(flat)
    for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        summed = part.view_as(parameter)
        if parameter.grad is None:
            parameter.grad = summed.to(parameter.dtype)
        else:
            parameter.grad.copy_(summed)
