"""Losses over a whole global batch: each vector is compared with those of all ranks and micro-batches.

The vectors are computed micro-batch by micro-batch without a graph and brought together, the loss and its derivative by
each vector are computed once, and each micro-batch is then computed again, with the same dropout, and takes its part of that
derivative on (GradCache; Gao et al., 2021, arXiv:2101.06983). The first micro-batch of a rank keeps its graph, so where a
rank has no more than one nothing is computed twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.distributed as dist

from launcher.train.batches import GlobalBatch, Part, Share, micro_batches
from launcher.train.job import Job
from launcher.train.process.random_state import dropout_seed, seed_dropout
from launcher.train.tasks import MicroBatch
from launcher.train.tokens.gather import Indices
from launcher.train.tokens.mover import Mover


def parts_of(job: Job, batch: GlobalBatch) -> Iterable[Part]:
    """This rank's micro-batches of a step, each with its share of the whole batch's loss where that is what is minimised."""
    parts = micro_batches(job, batch)
    return _with_shares(job, batch, list(parts)) if job.task.whole_batch else parts


def share_of_loss(job: Job, batch: MicroBatch, share: Share) -> torch.Tensor:
    """The loss terms of a micro-batch's examples, with a derivative that is that of the whole batch's loss."""
    vectors = share.vectors
    if vectors is None:
        seed_dropout(job.ranks.device, share.seed)
        vectors = job.task.vectors(job.strategy.forward(batch.inputs), batch)
    carried = (vectors * share.gradient).sum()
    return share.loss_sum + (carried - carried.detach())


def _with_shares(job: Job, batch: GlobalBatch, parts: list[Part]) -> Iterator[Part]:
    places = [_places(job, batch, examples) for examples in batch.parts]
    seeds = [dropout_seed(job.recipe.seed, batch.step, job.ranks.rank, n) for n in range(len(parts))]
    vectors = [_vectors(job, parts[n], seeds[n], graph=n == 0) for n in reversed(range(len(parts)))][::-1]
    whole = _gathered(job, batch, places, vectors)
    with torch.enable_grad():
        whole.requires_grad_()
        terms = job.task.joint_terms(whole, job.dataset.train, batch.everyone)
        (gradient,) = torch.autograd.grad(terms.sum(), whole)
    for number, part in enumerate(parts):
        examples, texts = map(Mover(whole.device), places[number])
        counts = batch.parts[number] is not None
        share = Share(
            seed=seeds[number],
            loss_sum=terms.detach().index_select(0, examples).sum(),
            gradient=gradient.index_select(0, texts) if counts else torch.zeros_like(vectors[number]),
            vectors=vectors[number] if number == 0 else None,
        )
        vectors[number] = torch.empty(0)  # so that the graph goes when the loop has done with it
        yield dataclasses.replace(part, share=share)


def _vectors(job: Job, part: Part, seed: int, graph: bool) -> torch.Tensor:
    """(texts, d) of a micro-batch."""
    job.heartbeat.forward()
    seed_dropout(job.ranks.device, seed)
    with torch.set_grad_enabled(graph):
        return job.task.vectors(job.strategy.forward(part.batch.inputs), part.batch)


def _gathered(
    job: Job, batch: GlobalBatch, places: list[tuple[Indices, Indices]], vectors: list[torch.Tensor]
) -> torch.Tensor:
    """(s, d) the vectors of the global batch in its order, whichever rank computed them."""
    width = job.built.base.config.hidden_size
    whole = torch.zeros(_texts(job, batch.everyone).sum(), width, device=job.ranks.device)
    for (_, texts), found, examples in zip(places, vectors, batch.parts, strict=True):
        if examples is not None:
            whole.index_copy_(0, Mover(whole.device)(texts), found.detach())
    if job.ranks.world_size > 1:
        dist.all_reduce(whole)  # every row stands on one rank, and is 0 on the others
    return whole


def _places(job: Job, batch: GlobalBatch, examples: Indices | None) -> tuple[Indices, Indices]:
    """Where these examples, and their texts, stand in the global batch; nowhere where they only keep step."""
    if examples is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(batch.everyone, kind="stable")
    found = order[np.searchsorted(batch.everyone, examples, sorter=order)]
    counts = _texts(job, batch.everyone)
    starts = np.cumsum(counts) - counts
    texts = [np.arange(starts[place], starts[place] + counts[place]) for place in found]
    return found, np.concatenate([np.empty(0, np.int64), *texts])


def _texts(job: Job, examples: Indices) -> Indices:
    """(n,) texts of each of these examples."""
    sequences = job.dataset.train.sequences
    if sequences is None:
        return np.ones(len(examples), np.int64)
    counts: Indices = sequences[examples + 1] - sequences[examples]
    return counts
