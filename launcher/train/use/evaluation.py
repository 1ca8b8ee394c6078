"""Evaluation of a split over all ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from launcher.train.packed.batch_layout import Limits, in_length_order
from launcher.train.tasks.base import Scores, in_order, nothing_to_measure
from launcher.train.tokens.cache import TokenSplit

if TYPE_CHECKING:
    from launcher.train.loop import Job

EXAMPLES = {"cpu": 32, "cuda": 256}
TOKENS = {"cpu": 4096, "cuda": 65536}
ROUNDS_BETWEEN_POLLS = 10


class Interrupted(Exception):
    """The run was asked to stop in the middle of an evaluation; nothing of it counts."""


def evaluate(job: Job, split: TokenSplit) -> dict[str, float]:
    """`loss` and the task's metrics over the whole split; the same values on every rank.

    Raises Interrupted on every rank where any of them is asked to stop.
    """
    device = job.ranks.device
    limits = Limits(EXAMPLES[device.type], TOKENS[device.type], overhead=0)
    deals = in_length_order(split.lengths, job.ranks.world_size, limits)
    mine = deals[job.ranks.rank]
    rounds = max(map(len, deals))
    loss = torch.zeros((), device=device, dtype=torch.float64)
    units = 0.0
    scores: list[Scores] = []
    job.strategy.train_mode(False)
    with torch.no_grad():
        for index in range(rounds):
            if index % ROUNDS_BETWEEN_POLLS == 0:
                job.events.phase("evaluating", index, rounds)
                if job.ranks.any(job.stop()):
                    raise Interrupted
            if index >= len(mine):
                # Sharded parameters are gathered by all ranks together: keep step with a batch that doesn't count.
                if job.strategy.even_micro_batches:
                    job.strategy.forward(job.collate(split, deals[0][0][:1]).inputs)
                continue
            batch = job.collate(split, mine[index])
            output = job.strategy.forward(batch.inputs)
            loss += job.task.loss_sum(output, batch).double()
            units += job.task.units(split, mine[index])
            scores.append(job.task.scores(output, batch))
    total_loss, units = job.ranks.sum([float(loss), units])
    if not units:
        raise nothing_to_measure("validation")
    gathered = job.ranks.gather((mine, scores))
    metrics = None
    if gathered is not None:
        positions = [part for batches, _ in gathered for part in batches]
        ordered = in_order(positions, [part for _, parts in gathered for part in parts], len(split))
        truth = job.task.truth(split)
        job.task.tune(ordered, truth)
        metrics = {"loss": total_loss / units, **job.task.metrics(ordered, truth)}
    result: dict[str, float] = job.ranks.broadcast(metrics)
    return result
