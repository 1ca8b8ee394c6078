"""How relevant a document is to a query, both read together: a cross-encoder (Nogueira and Cho, 2019).

Trained row by row with binary cross-entropy on relevance / ranking.max_relevance, or by how the documents of a query are
ordered (`ranking_losses`); evaluated by that order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from launcher.errors import RunFailed
from launcher.tasks.shared.rows import Row
from launcher.train.reading.sources import Source
from launcher.train.tasks.base import Array, MicroBatch, Resampling, Scores, Task, sigmoid
from launcher.train.tasks.losses import yes_or_no
from launcher.train.tasks.outcomes import Outcomes, far_off
from launcher.train.tasks.ranking_losses import ORDER_LOSSES, OrderLoss
from launcher.train.tasks.retrieval import CUT
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.gather import EVALUATION, Indices

SIGMOID = "torch.nn.modules.activation.Sigmoid"


class Ranking(Task):
    """Labels are (n, 2): relevance, and the number of the query within the split."""

    by_row = False  # a document has its place among those of its query

    def labels(self, source: Source, targets: Sequence[Any], names: tuple[str, ...]) -> Array | None:
        query = self.spec.text_columns[0]
        numbers: dict[Any, int] = {}
        found = np.zeros((len(targets), 2))
        for index, ((_, row), relevance) in enumerate(zip(source.rows(), targets, strict=True)):
            found[index] = relevance, numbers.setdefault(row.values.get(query), len(numbers))
        return found

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def remembered(self) -> dict[str, Any]:
        """What sentence-transformers makes scores of logits with: a model that is started from may say otherwise."""
        return {**super().remembered(), "sentence_transformers": {"activation_fn": SIGMOID}}

    def groups(self, split: TokenSplit) -> NDArray[Any] | None:
        return self._labels(split)[:, 1] if self._orders is not None else None

    def fit(self, train: TokenSplit, label_names: Sequence[str]) -> None:
        """Raises RunFailed('data') where no query says anything about the order of its documents."""
        if not self.units(train, np.arange(len(train))):
            raise self.nothing_to_measure("training")

    def nothing_to_measure(self, split: str) -> RunFailed:
        if self._orders is None:
            return super().nothing_to_measure(split)
        text = f"no {split} query has documents of different relevance"
        return RunFailed("data", text, "train.loss.name=pointwise learns from each row alone")

    def units(self, split: TokenSplit, examples: Indices, epoch: int = EVALUATION) -> float:
        """Number of rows, or of queries whose documents differ in relevance."""
        if self._orders is None:
            return float(len(examples))
        labels = self._labels(split)[examples]
        return float(sum(np.ptp(labels[places, 0]) > 0 for places in _by_query(labels[:, 1])))

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        assert batch.labels is not None
        logits, relevance = self.logits(output, batch).squeeze(-1), batch.labels[:, 0]
        if self._orders is not None:
            return self._orders(logits, relevance.float(), _together(batch)).sum()
        wanted = (relevance / self.recipe.ranking.max_relevance).float()
        return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """(n, 2) relevant or not; of a loss of order (n, n) which of its query's documents is the best, in each of their rows."""
        logits = self.logits(output, batch).squeeze(-1)
        if self._orders is None:
            return yes_or_no(logits)
        return logits.expand(len(logits), -1).masked_fill(~_together(batch), -torch.inf)

    def weigh(self, differences: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        """Each query once."""
        if self._orders is not None:
            differences = differences / _together(batch).sum(dim=-1)
        return differences.sum()

    @property
    def _orders(self) -> OrderLoss | None:
        """The loss of a query's documents together; None where each row counts by itself."""
        return ORDER_LOSSES.get(self.recipe.train.loss.name or "")

    def _labels(self, split: TokenSplit) -> NDArray[Any]:
        assert split.labels is not None
        return np.asarray(split.labels)

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        return np.asarray(self.logits(output, batch).squeeze(-1).cpu().numpy())

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        """`accuracy` counts rows told apart at one half, which means something after the loss of single rows alone.

        The others are means over queries, those without any relevant document left out: `map` over all documents, `mrr`
        and `ndcg` over the first ten, `ndcg@k` over the first k. Documents with the same score stand in any order alike: what
        is given is the mean over all orders, and nothing that depends on which of them a file names first.
        """
        resampling = self.resampling(scores, truth)
        return dict(resampling.metrics(np.arange(resampling.units)))

    def resampling(self, scores: Scores, truth: Any) -> Resampling:
        """Queries are drawn, each with all of its documents: those are not independent of each other."""
        values = np.asarray(scores, np.float64)
        sums = np.array([self._sums(values[own], truth[own, 0]) for own in _by_query(truth[:, 1])])

        def metrics(chosen: Indices) -> dict[str, float]:
            right, pairs, measured, *figures = sums[chosen].sum(axis=0)
            means = {
                name: float(figure / measured) if measured else float("nan")
                for name, figure in zip(FIGURES, figures, strict=True)
            }
            return {"accuracy": float(right / pairs), **means}

        return Resampling(len(sums), metrics, "queries")

    def _sums(self, values: NDArray[np.float64], relevance: NDArray[np.float64]) -> tuple[float, ...]:
        """Of one query: rows told apart, rows, 1 where its figures count, and these."""
        relevant = relevance > self.recipe.ranking.max_relevance / 2
        right = float(((values > 0) == relevant).sum())
        if not relevance.any():
            return right, len(values), 0.0, *(0.0 for _ in FIGURES)
        ordered = relevance[np.argsort(-values, kind="stable")]
        ties = np.unique(-values, return_counts=True)[1]
        return right, len(values), 1.0, *(figure(ordered, ties) for figure in FIGURES.values())

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes:
        return far_off(sigmoid(np.asarray(scores)) * self.recipe.ranking.max_relevance, truth[:, 0])

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """`prediction` is the relevance, `rank` the document's place among those of its query, from 1."""
        query = self.spec.text_columns[0]
        values = np.asarray(scores)
        _, numbers = np.unique([str(row.values.get(query)) for row in rows], return_inverse=True)
        ranks = np.zeros(len(rows), np.int64)
        for places in _by_query(numbers):
            ranks[places[np.argsort(-values[places], kind="stable")]] = np.arange(1, len(places) + 1)
        relevance = sigmoid(values) * self.recipe.ranking.max_relevance
        return [{"prediction": float(p), "rank": int(rank)} for p, rank in zip(relevance, ranks, strict=True)]


Relevance = NDArray[np.float64]
"""(documents,) of a query's documents, those with the highest scores first, of which one is relevant at least."""
Ties = NDArray[np.int64] | None
"""(k,) how many documents each have the same score, down from the highest; they add up to all. None: each one."""


def reciprocal_rank(relevance: Relevance, ties: Ties = None) -> float:
    """1 / place of the first relevant document, 0 where none of the first CUT is; the mean over the orders of equals."""
    for before, hits in _tied(relevance > 0, ties):
        size, count = len(hits), int(hits.sum())
        if count:
            first = range(1, min(size - count + 1, CUT - before) + 1)  # where the first of them may stand
            ways = ((math.comb(size - place, count - 1), before + place) for place in first)
            return sum(some / math.comb(size, count) / place for some, place in ways)
    return 0.0


def average_precision(relevance: Relevance, ties: Ties = None) -> float:
    """Mean over the relevant documents of the share of relevant ones down to each, over the orders of equals too.

    McSherry and Najork, 2008 (doi:10.1007/978-3-540-78646-7_38), equation 7.
    """
    found, total = 0.0, 0
    for before, hits in _tied(relevance > 0, ties):
        size, count = len(hits), int(hits.sum())
        # Of the same score, above each place; of these the mean number over all orders is relevant.
        above = np.arange(size)
        relevant_above = total + above * (count - 1) / max(size - 1, 1)
        found += count / size * float(((1 + relevant_above) / (1 + before + above)).sum())
        total += count
    return found / total


def ndcg(relevance: Relevance, ties: Ties = None, cut: int = CUT) -> float:
    """Normalised discounted cumulative gain of the first `cut` (Järvelin and Kekäläinen, 2002), gain 2^r - 1.

    The mean over the orders of equals, as scikit-learn has it.
    """
    discounts = 1 / np.log2(np.arange(2, cut + 2))
    gains = 2.0**relevance - 1

    def discounted(order: NDArray[np.float64]) -> float:
        first = order[:cut]
        return float((first * discounts[: len(first)]).sum())

    expected = np.concatenate([np.full(len(some), some.mean()) for _, some in _tied(gains, ties)])
    return discounted(expected) / discounted(np.sort(gains)[::-1])


def _tied(values: NDArray[Any], ties: Ties) -> Iterator[tuple[int, NDArray[Any]]]:
    """For each score how many documents have a higher one, and the values (k,) of those that have it."""
    ends = np.arange(1, len(values) + 1) if ties is None else np.cumsum(ties)
    yield from zip([0, *ends[:-1].tolist()], np.split(values, ends[:-1]), strict=True)


FIGURES: dict[str, Callable[[Relevance, Ties], float]] = {
    "mrr": reciprocal_rank,
    "map": average_precision,
    "ndcg": ndcg,
    "ndcg@1": partial(ndcg, cut=1),
    "ndcg@5": partial(ndcg, cut=5),
}
"""Metric -> its value for a query's documents in their order."""


def _together(batch: MicroBatch) -> torch.Tensor:
    """(n, n) whether two rows of a micro-batch have the same query."""
    assert batch.labels is not None
    query = batch.labels[:, 1]
    return query[:, None] == query


def _by_query(numbers: NDArray[Any]) -> Iterator[NDArray[np.int64]]:
    """The places of each query's documents."""
    order = np.argsort(numbers, kind="stable")
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    yield from np.split(order, cuts)


TASK = Ranking
