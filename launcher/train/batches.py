"""The global batches of a training, and this rank's part of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from launcher.errors import RunFailed
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
from launcher.train.packed.groups import Groups
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
    everyone: Indices
    """The examples over all ranks, in their order."""
    parts: list[Indices | None]
    """The examples of each of this rank's micro-batches; None stands for one that only keeps step with the other ranks."""

    def example_ids(self) -> list[int]:
        """The examples that this rank computes, in order."""
        return [int(example) for part in self.parts if part is not None for example in part]


@dataclass(frozen=True)
class Share:
    """What a micro-batch has of the loss of its whole global batch."""

    seed: int
    """Of its dropout."""
    loss_sum: torch.Tensor
    """The sum of the loss terms of its examples."""
    gradient: torch.Tensor
    """(texts, d) derivative of the summed loss by its vectors."""
    vectors: torch.Tensor | None
    """(texts, d) where they are known with their graph; None where they have to be computed again."""


@dataclass(frozen=True)
class Part:
    """One micro-batch of a global batch."""

    batch: MicroBatch
    weight: float
    """1, or 0 where the micro-batch only keeps step with the other ranks."""
    tokens: int
    """Real tokens that count."""
    positions: int
    """The same with padding."""
    last: bool
    """Whether it is this rank's last of the step."""
    share: Share | None = None
    """Where the loss is one of the whole global batch."""


def global_batches(job: Job, start: int) -> Iterator[GlobalBatch]:
    """Each global batch from step `start` on, epoch after epoch."""
    train, per_epoch = job.dataset.train, job.steps.per_epoch
    groups, batches = _groups(job), list[Indices]()
    step, epoch = start, -1
    while True:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            batches = _epoch(job, groups, epoch)
        chosen = batches[step % per_epoch]
        examples = chosen if groups is None else groups.examples(chosen)
        # Where nothing is labelled, the loss is 0.
        units = job.task.units(train, examples, epoch) or 1.0
        yield GlobalBatch(
            step, epoch, len(examples), units, examples, _own_parts(job, examples, groups, chosen)
        )
        step += 1


def micro_batches(job: Job, batch: GlobalBatch) -> Iterator[Part]:
    """This rank's micro-batches, each made when it is asked for."""
    for index, part in enumerate(batch.parts):
        examples = np.zeros(1, np.int64) if part is None else part
        made = job.collate(job.dataset.train, examples, batch.epoch)
        counts = part is not None
        is_last = index == len(batch.parts) - 1
        yield Part(made, float(counts), made.tokens * counts, made.positions * counts, is_last)


def _groups(job: Job) -> Groups | None:
    """The examples that the loss compares with each other. RunFailed where there are fewer groups of them than steps."""
    train, steps = job.dataset.train, job.steps.per_epoch
    numbers = job.task.groups(train)
    groups = None if numbers is None else Groups.of(numbers)
    if groups is not None and len(groups) < steps:
        size, mean = job.plan.layout.global_batch_size, len(train) / len(groups)
        text = f"batch.global={size} is less than what the loss compares: {mean:.1f} examples on average"
        raise RunFailed("recipe", text, f"use batch.global={8 * math.ceil(mean)} or so")
    return groups


def _epoch(job: Job, groups: Groups | None, epoch: int) -> list[Indices]:
    """The examples of each step of an epoch, or the groups of them."""
    seed, steps = job.recipe.seed, job.steps.per_epoch
    if groups is not None:
        return groups.epoch(seed, epoch, steps)
    order = epoch_order(len(job.dataset.train), seed, epoch)
    return [global_batch(order, step, job.plan.layout.global_batch_size) for step in range(steps)]


def _own_parts(job: Job, examples: Indices, groups: Groups | None, chosen: Indices) -> list[Indices | None]:
    """This rank's micro-batches of these examples, which are those of the `chosen` groups where there are groups."""
    layout = job.plan.layout
    overhead = CUDA_OVERHEAD if job.ranks.device.type == "cuda" else CPU_OVERHEAD
    limits = Limits(layout.micro_batch_size, layout.max_tokens, overhead, job.collate.pads)
    lengths, world_size = token_lengths(job.dataset.train, examples), job.ranks.world_size
    if groups is None:
        shares = lay_out(lengths, world_size, limits)
    else:
        shares = groups.lay_out(chosen, lengths, world_size, limits)
    mine: list[Indices | None] = [examples[positions] for positions in shares[job.ranks.rank]]
    if job.strategy.even_micro_batches:
        mine += [None] * (max(map(len, shares)) - len(mine))
    return mine
