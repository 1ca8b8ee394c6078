"""BM25 (Robertson and Zaragoza, 2009): the documents of a corpus that share rare words with a query."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from launcher.tasks.shared.words import IDEOGRAPHS
from launcher.train.tokens.marks import MARKS
from launcher.train.use.evaluation import Progress, no_progress

WORDS = re.compile(rf"[{IDEOGRAPHS}]|[^\W{IDEOGRAPHS}]+(?:[{MARKS}]+[^\W{IDEOGRAPHS}]*)*")
"""Characters of Chinese and Japanese, and words of other scripts; no punctuation."""
K1 = 1.2
B = 0.75
"""How soon a word that comes again adds nothing, and how far long documents count less: the usual values."""
BETWEEN_REPORTS = 1000
"""Documents."""


class Bm25:
    """A corpus, indexed by its words."""

    def __init__(self, documents: Sequence[str], progress: Progress = no_progress) -> None:
        from scipy import sparse

        self._numbers: dict[str, int] = {}
        each, words, counts = array("q"), array("q"), array("d")
        for number, text in enumerate(documents, 1):
            if number % BETWEEN_REPORTS == 0 or number == len(documents):
                progress(number, len(documents))
            count = Counter(_words(text))
            each.append(len(count))
            words.extend(self._numbers.setdefault(found, len(self._numbers)) for found in count)
            counts.extend(count.values())
        document = np.repeat(np.arange(len(each)), np.asarray(each))
        word, often = np.asarray(words), np.asarray(counts)
        shape = (len(each), max(1, len(self._numbers)))
        weights = self._weights(document, word, often, shape)
        self._table = sparse.csc_array((weights, (document, word)), shape=shape)

    @staticmethod
    def _weights(
        document: NDArray[np.int64],
        word: NDArray[np.int64],
        often: NDArray[np.float64],
        shape: tuple[int, int],
    ) -> NDArray[np.float64]:
        holding = np.bincount(word, minlength=shape[1])
        rarity = np.log1p((shape[0] - holding + 0.5) / (holding + 0.5))
        lengths = np.bincount(document, often, minlength=shape[0])
        fair = 1 - B + B * lengths / max(lengths.mean(), 1e-9)
        weights: NDArray[np.float64] = rarity[word] * often * (K1 + 1) / (often + K1 * fair[document])
        return weights

    def scores(self, query: str) -> NDArray[np.float64]:
        """(documents,) how well each answers a query: 0 for one that shares no word with it."""
        known = [self._numbers[word] for word in set(_words(query)) if word in self._numbers]
        return np.asarray(self._table[:, known].sum(axis=1), np.float64).ravel()

    def best(self, queries: Sequence[str], most: int) -> Iterator[NDArray[np.int64]]:
        """For each query up to `most` documents by number, the best first; none that shares no word with it."""
        for query in queries:
            scores = self.scores(query)
            found = np.flatnonzero(scores)
            yield found[np.argsort(-scores[found], kind="stable")[:most]]


def _words(text: str) -> list[str]:
    return WORDS.findall(text.lower())
