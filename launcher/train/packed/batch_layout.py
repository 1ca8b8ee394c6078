"""The batch layout: which examples make a step, and which rank computes which of them when.

Pure functions of (seed, epoch, lengths, world size, limits): every rank computes the whole layout and takes its own part,
so nothing has to be communicated and a resumed run repeats it exactly.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """What one micro-batch may hold, and what starting one costs."""

    examples: int
    """Most examples."""
    tokens: int | None
    """Most tokens, padding included; None is no limit. A single longer example still makes a micro-batch."""
    overhead: int
    """Cost of one more micro-batch, in tokens: what splitting by length must save to be worth it."""
    padded: bool = True
    """Whether examples are padded to the longest of their micro-batch, rather than laid end to end."""


CPU_OVERHEAD = 48
"""Tokens that a small encoder computes on a core in the time that starting a micro-batch takes."""
CUDA_OVERHEAD = 8192
"""On a GPU a micro-batch of short texts costs its kernel launches, whatever it holds."""


def epoch_order(examples: int, seed: int, epoch: int) -> Indices:
    """A permutation of range(examples) that depends on nothing but its arguments."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(examples)


def global_batch(order: Indices, index: int, size: int) -> Indices:
    """Example ids of the batch `index` of an epoch; the last batch of an epoch may be smaller."""
    return order[index * size : (index + 1) * size]


def lay_out(lengths: NDArray[np.int32], world_size: int, limits: Limits) -> list[list[Indices]]:
    """Partition one global batch: `result[rank][k]` are the positions that `rank` computes in its micro-batch k.

    Every position of `lengths` (tokens of each example of the global batch) occurs exactly once. Ranks get even numbers
    of tokens; within a rank, micro-batches hold neighbours in length. A rank can be left without any.
    """
    return [_micro_batches(positions, lengths, limits) for positions in split_ranks(lengths, world_size)]


def split_ranks(lengths: NDArray[np.int32], world_size: int) -> list[Indices]:
    """Share positions among ranks by tokens: longest first, always to the rank with the fewest (LPT; Graham, 1969).

    The most loaded rank has at most 4/3 of the best possible share. Each share is in descending length.
    """
    shares: list[list[int]] = [[] for _ in range(world_size)]
    heap = [(0, rank) for rank in range(world_size)]
    for position in np.argsort(-lengths.astype(np.int64), kind="stable"):
        load, rank = heapq.heappop(heap)
        shares[rank].append(int(position))
        heapq.heappush(heap, (load + int(lengths[position]), rank))
    return [np.array(share, dtype=np.int64) for share in shares]


def _micro_batches(positions: Indices, lengths: NDArray[np.int32], limits: Limits) -> list[Indices]:
    """Cut positions (in descending length) where computed tokens plus the cost of the cuts are least."""
    count = len(positions)
    if count == 0:
        return []
    tokens = lengths[positions].astype(np.int64)
    fits = limits.tokens is None or int(tokens.sum()) <= limits.tokens
    if fits and count <= limits.examples and not limits.padded:
        return [positions]  # where nothing is padded, every cut only costs
    before = np.concatenate([[0], np.cumsum(tokens)])
    best = np.full(count + 1, np.iinfo(np.int64).max // 2)
    best[0] = 0
    start_of = np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        starts = np.arange(max(0, end - limits.examples), end)
        cost = (end - starts) * tokens[starts] if limits.padded else before[end] - before[starts]
        if limits.tokens is not None:
            allowed = (cost <= limits.tokens) | (starts == end - 1)
            starts, cost = starts[allowed], cost[allowed]
        total = best[starts] + cost + limits.overhead
        choice = int(np.argmin(total))
        best[end], start_of[end] = total[choice], starts[choice]
    cuts = [count]
    while cuts[-1] > 0:
        cuts.append(int(start_of[cuts[-1]]))
    cuts.reverse()
    return [positions[start:end] for start, end in pairwise(cuts)]


def in_length_order(lengths: NDArray[np.int32], world_size: int, limits: Limits) -> list[list[Indices]]:
    """Evaluation: the whole split in micro-batches of neighbours in length, dealt to the ranks in turn."""
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    batches: list[Indices] = []
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        by_tokens = max(1, limits.tokens // longest) if limits.tokens is not None else limits.examples
        end = min(len(order), start + min(limits.examples, by_tokens))
        batches.append(order[start:end])
        start = end
    return [batches[rank::world_size] for rank in range(world_size)]
