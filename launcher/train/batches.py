"""The global batches of a training, and this rank's part of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from launcher.train.job import Job
from launcher.train.packed.batch_layout import (
    CPU_OVERHEAD,
    CUDA_OVERHEAD,
    Indices,
    Limits,
    epoch_order,
    global_batch,
    lay_out,
)
from launcher.train.packed.collate import token_lengths
from launcher.train.tasks import MicroBatch


@dataclass(frozen=True)
class GlobalBatch:
    """The examples of one optimizer step."""

    step: int
    """Steps done before this one."""
    epoch: int
    examples: int
    """Over all ranks."""
    units: float
    """Loss terms over all ranks: what the loss is averaged over."""
    parts: list[Indices | None]
    """The examples of each of this rank's micro-batches; None stands for one that only keeps step with the other ranks."""

    def example_ids(self) -> list[int]:
        """The examples that this rank computes, in order."""
        return [int(example) for part in self.parts if part is not None for example in part]


@dataclass(frozen=True)
class Part:
    """One micro-batch of a global batch."""

    batch: MicroBatch
    weight: float
    """1, or 0 where the micro-batch only keeps step with the other ranks."""
    tokens: int
    """Real tokens that count."""
    last: bool
    """Whether it is this rank's last of the step."""


def global_batches(job: Job, start: int) -> Iterator[GlobalBatch]:
    """Each global batch from step `start` on, epoch after epoch."""
    train, per_epoch = job.dataset.train, job.steps.per_epoch
    step, epoch, order = start, -1, np.empty(0, dtype=np.int64)
    while True:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = epoch_order(len(train), job.recipe.seed, epoch)
        examples = global_batch(order, step % per_epoch, job.plan.layout.global_batch_size)
        # Where nothing is labelled, the loss is 0.
        units = job.task.units(train, examples, epoch) or 1.0
        yield GlobalBatch(step, epoch, len(examples), units, _own_parts(job, examples))
        step += 1


def micro_batches(job: Job, batch: GlobalBatch) -> Iterator[Part]:
    """This rank's micro-batches, each made when it is asked for."""
    for index, part in enumerate(batch.parts):
        examples = np.zeros(1, np.int64) if part is None else part
        made = job.collate(job.dataset.train, examples, batch.epoch)
        counts = part is not None
        yield Part(made, float(counts), made.tokens * counts, last=index == len(batch.parts) - 1)


def _own_parts(job: Job, examples: Indices) -> list[Indices | None]:
    layout = job.plan.layout
    overhead = CUDA_OVERHEAD if job.ranks.device.type == "cuda" else CPU_OVERHEAD
    limits = Limits(layout.micro_batch_size, layout.max_tokens, overhead, job.collate.pads)
    shares = lay_out(token_lengths(job.dataset.train, examples), job.ranks.world_size, limits)
    mine: list[Indices | None] = [examples[positions] for positions in shares[job.ranks.rank]]
    if job.strategy.even_micro_batches:
        mine += [None] * (max(map(len, shares)) - len(mine))
    return mine
