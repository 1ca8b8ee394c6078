"""Hard negatives for the queries of a run's training data: what its model takes for relevant, though nobody has marked it so.

A model that reads query and document together scores the documents that BM25 finds (all of a small corpus); one that makes
vectors compares a query with every document. Known positives of a query are never its negatives. With a margin neither are
documents that score nearly as high as the positive: these are often positives that nobody has marked (NV-Retriever; Moreira
et al., 2024, arXiv:2407.15831, there TopK-MarginPos).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher.errors import RunFailed
from launcher.reading.corpus import key_of
from launcher.tasks.shared.rows import Row
from launcher.train.dataset.prepare import encode_texts, rows_of
from launcher.train.tasks.base import sigmoid
from launcher.train.use.bm25 import Bm25
from launcher.train.use.evaluation import Progress, no_progress
from launcher.train.use.inference import Predictor

CANDIDATES = 100
"""Documents by BM25 that a model scores for each query, where it reads both together."""
EACH = 4
"""Candidates for each negative that is asked for, at least."""
BATCH = 64
"""Queries whose documents are looked at together."""
FINDING = "finding negatives"
Told = Callable[[str], Progress]
"""By the name of a phase, what hears how far it is."""


@dataclass(frozen=True)
class Wanted:
    """How many negatives each positive gets, and how far below it they have to be."""

    count: int
    margin: float | None = None


@dataclass(frozen=True)
class Query:
    """A query of the training data and everything that is relevant to it."""

    text: str
    positives: tuple[str, ...]
    relevance: tuple[float, ...]
    """Of each positive."""


@dataclass(frozen=True)
class Mined:
    """A positive of a query, and the negatives that were found for it, the hardest first."""

    query: str
    positive: str
    relevance: float
    negatives: tuple[str, ...]


def queries_of(predictor: Predictor) -> list[Query]:
    """The queries of the training data in their order. RunFailed('data') where no row has a positive."""
    task, found = predictor.task, dict[str, dict[str, float]]()
    for row in rows_of(task.recipe, task, "train"):
        pair = task.spec.positive_pair(row)
        if pair is not None:
            query, positive, relevance = pair
            found.setdefault(query, {})[positive] = relevance
    if not found:
        raise RunFailed("data", "the training data of the run hold no query with a positive document")
    return [Query(text, tuple(own), tuple(own.values())) for text, own in found.items()]


def mine(
    predictor: Predictor,
    queries: Sequence[Query],
    documents: Sequence[str],
    wanted: Wanted,
    told: Told,
) -> Iterator[Mined]:
    """The negatives of each positive of each query, in their order; `told(phase)` is what hears how far each phase is."""
    spec = predictor.task.spec
    score = _by_vectors if spec.negatives_by == "vectors" else _together
    keys = list(map(key_of, documents))
    for query, positives, candidates, scores in score(predictor, queries, documents, wanted, told):
        own = {key_of(text) for text in (query.text, *query.positives)}
        order = candidates[np.argsort(-scores, kind="stable")]
        places = [place for place in order.tolist() if keys[place] not in own]
        by_place = dict(zip(candidates.tolist(), scores.tolist(), strict=True))
        own_rows = zip(query.positives, query.relevance, positives.tolist(), strict=True)
        for positive, relevance, reached in own_rows:
            most = np.inf if wanted.margin is None else reached - wanted.margin
            hard = (documents[place] for place in places if by_place[place] <= most)
            yield Mined(query.text, positive, relevance, tuple(islice(hard, wanted.count)))


Scored = tuple[Query, NDArray[Any], NDArray[np.int64], NDArray[Any]]
"""A query, scores of its positives, the documents that may be its negatives, and their scores."""


def _together(
    predictor: Predictor,
    queries: Sequence[Query],
    documents: Sequence[str],
    wanted: Wanted,
    told: Told,
) -> Iterator[Scored]:
    """Scores of query and document read together, from 0 to 1."""
    most = max(CANDIDATES, EACH * wanted.count)
    every = np.arange(len(documents))
    index = None if len(documents) <= most else Bm25(documents, told("indexing the corpus"))
    progress = told(FINDING)
    for start in range(0, len(queries), BATCH):
        some = queries[start : start + BATCH]
        found = [every] * len(some) if index is None else list(index.best([each.text for each in some], most))
        texts = [
            [*each.positives, *(documents[at] for at in places)]
            for each, places in zip(some, found, strict=True)
        ]
        pairs = [(each.text, text) for each, own in zip(some, texts, strict=True) for text in own]
        scores = sigmoid(
            np.asarray(_scores(predictor, pairs, _within(progress, start, len(some), len(queries))))
        )
        parts = np.split(scores, np.cumsum([len(own) for own in texts])[:-1])
        for each, places, own in zip(some, found, parts, strict=True):
            yield each, own[: len(each.positives)], places, own[len(each.positives) :]


def _within(progress: Progress, start: int, count: int, queries: int) -> Progress:
    """Progress on the pairs of `count` queries, told as progress on all queries."""
    return lambda done, total: progress(start + count * done // max(total, 1), queries)


def _by_vectors(
    predictor: Predictor,
    queries: Sequence[Query],
    documents: Sequence[str],
    wanted: Wanted,
    told: Told,
) -> Iterator[Scored]:
    """Cosines of the vectors of a query and of every document."""
    texts = list(dict.fromkeys([*documents, *(text for query in queries for text in query.positives)]))
    number = {text: index for index, text in enumerate(texts)}
    sides = predictor.task.spec.given_texts
    known = _unit(_vectors(predictor, sides[-1], texts, told))
    asked = _unit(_vectors(predictor, sides[0], [query.text for query in queries], told))
    corpus, most = known[: len(documents)], max(CANDIDATES, EACH * wanted.count)
    progress = told(FINDING)
    for start in range(0, len(queries), BATCH):
        cosines = asked[start : start + BATCH] @ corpus.T
        for query, vector, row in zip(queries[start : start + BATCH], asked[start:], cosines, strict=False):
            kept = min(len(row), most + len(query.positives))
            positives = known[[number[text] for text in query.positives]] @ vector
            if wanted.margin is None:
                places = np.argpartition(-row, kept - 1)[:kept]
            else:  # what is too near a positive must not use up the candidates
                order = np.argsort(-row, kind="stable")
                far_enough = np.searchsorted(-row[order], wanted.margin - np.unique(positives))
                places = np.unique(np.concatenate([order[first : first + kept] for first in far_enough]))
            yield query, positives, places, row[places]
        progress(min(start + BATCH, len(queries)), len(queries))


def _scores(predictor: Predictor, pairs: Sequence[tuple[str, str]], progress: Progress) -> Any:
    columns = predictor.task.spec.given_texts
    rows = [Row(dict(zip(columns, pair, strict=True)), index) for index, pair in enumerate(pairs, 1)]
    return predictor.score(_encoded(predictor, rows), progress)[0]


def _vectors(predictor: Predictor, column: str, texts: Sequence[str], told: Told) -> NDArray[np.float32]:
    rows = [Row({column: text}, index) for index, text in enumerate(texts, 1)]
    scores, _ = predictor.score(_encoded(predictor, rows, told("tokenising")), told("making vectors"))
    return np.concatenate(list(scores))


def _encoded(predictor: Predictor, rows: Sequence[Row], progress: Progress = no_progress) -> Any:
    recipe, limit, name = predictor.task.recipe, predictor.longest, "the corpus"
    return encode_texts(predictor.tokenizer, rows, recipe, name=name, position_limit=limit, progress=progress)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit


def table(found: Sequence[Mined], wanted: Wanted, columns: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """A row for each positive: the recipe's two columns, then negative_1 and so on, empty where fewer were found."""
    for each in found:
        cells: list[str | None] = [*each.negatives, *[None] * (wanted.count - len(each.negatives))]
        names = [f"negative_{number}" for number in range(1, wanted.count + 1)]
        yield {columns[0]: each.query, columns[1]: each.positive, **dict(zip(names, cells, strict=True))}


def labelled_table(found: Sequence[Mined], columns: tuple[str, str, str]) -> Iterator[dict[str, Any]]:
    """A row for each document of a query with its relevance, as ranking is trained on; each document once."""
    relevance: dict[str, dict[str, float]] = {}
    for each in found:
        relevance.setdefault(each.query, {})[each.positive] = each.relevance
    for each in found:
        for text in each.negatives:
            relevance[each.query].setdefault(text, 0.0)
    for query, documents in relevance.items():
        for text, value in documents.items():
            yield dict(zip(columns, (query, text, value), strict=True))
