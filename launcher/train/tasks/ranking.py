"""How relevant a document is to a query, both read together: a cross-encoder (Nogueira and Cho, 2019).

Trained pair by pair with binary cross-entropy on relevance / ranking.max_relevance; evaluated by how it orders the
documents of each query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from launcher.tasks.shared.rows import Row
from launcher.train.reading.sources import Source
from launcher.train.tasks.base import Array, MicroBatch, Resampling, Scores, Task, sigmoid
from launcher.train.tasks.losses import yes_or_no
from launcher.train.tasks.outcomes import Outcomes, far_off
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.gather import Indices

CUT = 10
"""Documents of a query that MRR and nDCG look at."""


class Ranking(Task):
    """Labels are (n, 2): relevance, and the number of the query within the split."""

    def labels(self, source: Source, targets: Sequence[Any], names: tuple[str, ...]) -> Array | None:
        query = self.spec.text_columns[0]
        numbers: dict[Any, int] = {}
        found = np.zeros((len(targets), 2))
        for index, ((_, row), relevance) in enumerate(zip(source.rows(), targets, strict=True)):
            found[index] = relevance, numbers.setdefault(row.values.get(query), len(numbers))
        return found

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        assert batch.labels is not None
        wanted = (batch.labels[:, 0] / self.recipe.ranking.max_relevance).float()
        logits = self.logits(output, batch).squeeze(-1)
        return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        return yes_or_no(self.logits(output, batch).squeeze(-1))

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        return np.asarray(self.logits(output, batch).squeeze(-1).cpu().numpy())

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        """`accuracy` counts pairs told apart at one half; `mrr` and `ndcg` are means over queries, of the first ten.

        Queries without any relevant document count in neither.
        """
        values = np.asarray(scores, np.float64)
        relevant = truth[:, 0] > self.recipe.ranking.max_relevance / 2
        ordered = [
            truth[places[np.argsort(-values[places], kind="stable")], 0]
            for places in _by_query(truth[:, 1])
            if truth[places, 0].any()
        ]
        return {
            "accuracy": float(((values > 0) == relevant).mean()),
            "mrr": float(np.mean([reciprocal_rank(row) for row in ordered])) if ordered else float("nan"),
            "ndcg": float(np.mean([ndcg(row) for row in ordered])) if ordered else float("nan"),
        }

    def resampling(self, scores: Scores, truth: Any) -> Resampling:
        """Queries are drawn, each with all of its documents: those are not independent of each other."""
        values, places = np.asarray(scores, np.float64), list(_by_query(truth[:, 1]))
        sums = np.array([self._sums(values[own], truth[own, 0]) for own in places])

        def metrics(chosen: Indices) -> dict[str, float]:
            right, pairs, mrr, gain, measured = sums[chosen].sum(axis=0)
            found = {"mrr": mrr / measured, "ndcg": gain / measured} if measured else {}
            return {"accuracy": right / pairs, "mrr": np.nan, "ndcg": np.nan, **found}

        return Resampling(len(places), metrics, "queries")

    def _sums(self, values: NDArray[np.float64], relevance: NDArray[np.float64]) -> tuple[float, ...]:
        """Of one query: pairs told apart, pairs, reciprocal rank, gain, and 1 where the latter two count."""
        relevant = relevance > self.recipe.ranking.max_relevance / 2
        right = float(((values > 0) == relevant).sum())
        if not relevance.any():
            return right, len(values), 0.0, 0.0, 0.0
        ordered = relevance[np.argsort(-values, kind="stable")]
        return right, len(values), reciprocal_rank(ordered), ndcg(ordered), 1.0

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


def reciprocal_rank(relevance: NDArray[np.float64]) -> float:
    """1 / place of the first relevant document in this order, 0 where none of the first CUT is."""
    hits = np.flatnonzero(relevance[:CUT] > 0)
    return 1.0 / (int(hits[0]) + 1) if len(hits) else 0.0


def ndcg(relevance: NDArray[np.float64]) -> float:
    """Normalised discounted cumulative gain of the first CUT in this order (Järvelin and Kekäläinen, 2002), gain 2^r - 1."""
    discounts = 1 / np.log2(np.arange(2, CUT + 2))

    def gain(order: NDArray[np.float64]) -> float:
        first = order[:CUT]
        return float(((2.0**first - 1) * discounts[: len(first)]).sum())

    return gain(relevance) / gain(np.sort(relevance)[::-1])


def _by_query(numbers: NDArray[Any]) -> Iterator[NDArray[np.int64]]:
    """The places of each query's documents."""
    order = np.argsort(numbers, kind="stable")
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    yield from np.split(order, cuts)


TASK = Ranking
