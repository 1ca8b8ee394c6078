"""Evaluation of a split, on one rank or on several: the same loop during the training, after it, and for predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from launcher.planning.estimate import EVALUATED_EXAMPLES, EVALUATED_TOKENS
from launcher.train.inputs import check_vocabulary
from launcher.train.model.precision import keeping_weights
from launcher.train.packed.batch_layout import Limits, in_length_order
from launcher.train.packed.collate import Collate
from launcher.train.packed.groups import Groups
from launcher.train.process.ranks import Ranks
from launcher.train.process.stop_requests import never
from launcher.train.tasks import Task
from launcher.train.tasks.base import Scores, in_order
from launcher.train.tokens.cache import TokenSplit
from launcher.train.use.corpus import corpus_of

LEAST_ROUNDS = 4
"""Micro-batches of each of several ranks, where there are examples enough: so they end at about the same time."""
ROUNDS_BETWEEN_REPORTS = 4

Progress = Callable[[int, int], None]
"""Told (examples done, of how many)."""


class EvaluationStopped(Exception):
    """The run was asked to stop in the middle of an evaluation; nothing of it counts."""


def no_progress(done: int, total: int) -> None:
    """A progress callback that shows nothing."""


@dataclass(frozen=True)
class Scored:
    """A split that has gone through the model."""

    scores: Scores | None
    """Of all examples in order, and of the task's corpus behind them, on rank 0; None on the others."""
    loss: float | None
    """Mean over the loss terms, the same on every rank; None where there are none, as without labels."""


@dataclass(frozen=True)
class Evaluator:
    """A model in evaluation mode, with what it takes to bring examples to it."""

    forward: Callable[[Mapping[str, torch.Tensor]], Any]
    task: Task
    collate: Collate
    ranks: Ranks
    config: Any
    """The model's."""
    even_micro_batches: bool = False
    """Whether all ranks must compute the same number of micro-batches."""

    @torch.no_grad()
    def score(
        self, split: TokenSplit, progress: Progress = no_progress, stop: Callable[[], bool] = never
    ) -> Scored:
        """Put every example through the model; every rank must call it.

        Raises EvaluationStopped on every rank where `stop` says so on any of them.
        """
        # Sharded parameters come and go, and casts of all of them would take the room that sharding made.
        with nullcontext() if self.even_micro_batches else keeping_weights(self.ranks.device):
            return self._score(split, progress, stop)

    def _score(self, split: TokenSplit, progress: Progress, stop: Callable[[], bool]) -> Scored:
        check_vocabulary(split.ids, self.task.tokenizer, self.config.vocab_size)
        device, rank = self.ranks.device, self.ranks.rank
        limits = _limits(len(split), self.ranks.world_size, device.type)
        groups = self.task.groups(split) if split.labelled else None
        if groups is None:
            deals = in_length_order(split.lengths, self.ranks.world_size, limits)
        else:
            deals = Groups.of(groups).in_length_order(split.lengths, self.ranks.world_size, limits)
        scores: list[Scores] = []
        loss = torch.zeros((), device=device, dtype=torch.float64)
        units, done = 0.0, 0
        for index in range(max(map(len, deals))):
            if index % ROUNDS_BETWEEN_REPORTS == 0:
                progress(done, len(split))
                if self.ranks.any(stop()):
                    raise EvaluationStopped
            done += sum(len(deal[index]) for deal in deals if index < len(deal))
            if index >= len(deals[rank]):
                # Sharded parameters are gathered by all ranks together: keep step with a batch that doesn't count.
                if self.even_micro_batches:
                    self.forward(self.collate(split, deals[0][0][:1]).inputs)
                continue
            examples = deals[rank][index]
            batch = self.collate(split, examples)
            output = self.forward(batch.inputs)
            scores.append(self.task.scores(output, batch))
            if batch.labelled and not self.task.whole_batch:
                loss += self.task.loss_sum(output, batch).double()
                units += self.task.units(split, examples)
        progress(done, len(split))
        ordered = _ordered(self.ranks.gather((deals[rank], scores)), len(split))
        if ordered is not None and self.task.whole_batch and split.labelled:
            loss, units = self._joint_loss(split, ordered), self.task.units(split, np.arange(len(split)))
        total_loss, units = self.ranks.sum([float(loss), units])
        corpus = corpus_of(self.task, self.config, progress) if split.labelled else None
        if corpus is not None:
            documents = self.score(corpus, progress, stop).scores
            ordered = None if ordered is None or documents is None else [*ordered, *documents]
        return Scored(ordered, total_loss / units if units else None)

    def _joint_loss(self, split: TokenSplit, vectors: Scores) -> torch.Tensor:
        """Sum of the loss terms where each group of batch.global examples, in the order of the split, is a whole batch."""
        size, device = self.task.recipe.batch.global_, self.ranks.device
        loss = torch.zeros((), device=device, dtype=torch.float64)
        for start in range(0, len(split), size):
            examples = np.arange(start, min(start + size, len(split)))
            whole = torch.from_numpy(np.concatenate(vectors[start : start + size])).to(device)
            loss += self.task.joint_terms(whole, split, examples).double().sum()
        return loss

    def validate(
        self, split: TokenSplit, progress: Progress, stop: Callable[[], bool]
    ) -> tuple[dict[str, float], Scores | None]:
        """`loss` and the task's metrics over the validation split, which the task is tuned on; the same on every rank.

        With the scores, which rank 0 has.

        Raises EvaluationStopped as `score` does, and RunFailed('data') where there is nothing to measure.
        """
        scored = self.score(split, progress, stop)
        if scored.loss is None:
            raise self.task.nothing_to_measure("validation")
        metrics = None
        if scored.scores is not None:
            truth = self.task.truth(split)
            self.task.tune(scored.scores, truth)
            metrics = {"loss": scored.loss, **self.task.metrics(scored.scores, truth)}
        found: dict[str, float] = self.ranks.broadcast(metrics)
        return found, scored.scores


def _limits(examples: int, world_size: int, device: str) -> Limits:
    """Of the micro-batches of a split of so many examples."""
    even = EVALUATED_EXAMPLES if world_size == 1 else math.ceil(examples / (LEAST_ROUNDS * world_size))
    return Limits(min(EVALUATED_EXAMPLES, even), EVALUATED_TOKENS[device], overhead=0)


def _ordered(gathered: list[Any] | None, examples: int) -> Scores | None:
    """The scores of all ranks, where their examples stand in the split."""
    if gathered is None:
        return None
    positions = [part for batches, _ in gathered for part in batches]
    return in_order(positions, [part for _, parts in gathered for part in parts], examples)
