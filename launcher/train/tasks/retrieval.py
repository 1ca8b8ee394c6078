"""How well vectors find what belongs to a query, and how well their cosines go with scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.tasks.embedding import OF_RETRIEVAL

CUT = 10
"""Documents of a query that MRR and nDCG look at."""
BLOCK = 1024
"""Queries that are compared with the corpus at once."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Search:
    """Queries, a corpus without repetitions, and what of it belongs to each query."""

    queries: NDArray[np.int64]
    """(q,) places of the queries among all texts."""
    corpus: NDArray[np.int64]
    """(c,) places of the documents."""
    relevant: Sequence[frozenset[int]]
    """For each query the numbers of the documents that belong to it."""
    itself: Sequence[tuple[int, int]] = ()
    """(query, document) where a query is a document too, which doesn't belong to it: that it finds itself says nothing."""

    @classmethod
    def of(cls, texts: NDArray[np.int64], anchors: NDArray[np.int64], others: Sequence[int]) -> Search:
        """`texts` (s,) number the texts, `anchors` are the places of the queries, each before its positive.

        The corpus is all positives, and the texts at the places `others`.
        """
        numbers: dict[int, int] = {}
        places = [*(anchors + 1).tolist(), *others]
        for place in places:
            numbers.setdefault(int(texts[place]), len(numbers))
        corpus = np.zeros(len(numbers), np.int64)
        for place in reversed(places):
            corpus[numbers[int(texts[place])]] = place
        found: dict[int, set[int]] = defaultdict(set)
        first: dict[int, int] = {}
        for place in anchors.tolist():
            found[int(texts[place])].add(numbers[int(texts[place + 1])])
            first.setdefault(int(texts[place]), place)
        queries = np.array(list(first.values()), np.int64)
        relevant = [frozenset(found[text]) for text in first]
        itself = [(query, numbers[text]) for query, text in enumerate(first) if text in numbers]
        return cls(queries, corpus, relevant, [each for each in itself if each[1] not in relevant[each[0]]])

    def figures(self, vectors: Floats) -> NDArray[np.float64]:
        """(q, 4) recall@1, recall@10, reciprocal rank and nDCG of the first ten, for each query."""
        documents = torch.from_numpy(vectors[self.corpus])
        rows = []
        for start in range(0, len(self.queries), BLOCK):
            queries = torch.from_numpy(vectors[self.queries[start : start + BLOCK]])
            cosines = queries @ documents.T
            for query, document in self.itself:
                if start <= query < start + BLOCK:
                    cosines[query - start, document] = -torch.inf
            best = cosines.topk(min(CUT, len(self.corpus)), dim=-1).indices.tolist()
            rows += [_figures(found, self.relevant[start + number]) for number, found in enumerate(best)]
        return np.array(rows, np.float64).reshape(-1, len(OF_RETRIEVAL))


def _figures(found: Sequence[int], relevant: frozenset[int]) -> tuple[float, ...]:
    """Of one query; recall is the share of what belongs to it, gains are 0 or 1 (Järvelin and Kekäläinen, 2002)."""
    places = [place for place, document in enumerate(found) if document in relevant]
    gain = sum(1 / np.log2(place + 2) for place in places)
    ideal = sum(1 / np.log2(place + 2) for place in range(min(len(relevant), CUT)))
    at_once = float(bool(places) and places[0] == 0) / len(relevant)
    first = 1 / (places[0] + 1) if places else 0.0
    return at_once, len(places) / len(relevant), first, float(gain / ideal)


def mean_figures(figures: NDArray[np.float64]) -> dict[str, float]:
    """The means over queries (q, 4); NaN where there are none."""
    means = figures.mean(axis=0) if len(figures) else np.full(len(OF_RETRIEVAL), np.nan)
    return dict(zip(OF_RETRIEVAL, map(float, means), strict=True))
