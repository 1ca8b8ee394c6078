"""Losses of vectors of texts: each gives (n,) float32 terms, one for each example, of vectors (s, d) in `Layout`'s order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from launcher.train.tokens.mover import Mover

Array = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Where the texts of n examples stand among s: an anchor, its positive, and maybe negatives, one example after another."""

    counts: Array
    """(n,) texts of each example, 2 or more."""
    texts: Array | None = None
    """(s,) the same number for the same text; None where all are taken for different ones."""

    @property
    def anchors(self) -> Array:
        """(n,) places of the anchors."""
        places: Array = np.cumsum(self.counts) - self.counts
        return places

    @property
    def documents(self) -> Array:
        """(s - n,) places of all other texts."""
        return np.delete(np.arange(self.counts.sum()), self.anchors)

    @property
    def targets(self) -> Array:
        """(n,) places of the positives among the documents."""
        return self.anchors - np.arange(len(self.counts))

    def false_negatives(self) -> tuple[list[int], list[int]]:
        """Examples and documents that are no negatives of theirs: the anchor itself, or another positive of the same anchor."""
        rows: list[int] = []
        columns: list[int] = []
        if self.texts is None:
            return rows, columns
        documents, targets = self.texts[self.documents], self.targets
        places: dict[int, list[int]] = defaultdict(list)
        for place, text in enumerate(documents.tolist()):
            places[text].append(place)
        anchors = self.texts[self.anchors].tolist()
        fitting: dict[int, set[int]] = defaultdict(set)
        for anchor, target in zip(anchors, documents[targets].tolist(), strict=True):
            fitting[anchor] |= {anchor, target}
        for row, (anchor, own) in enumerate(zip(anchors, targets.tolist(), strict=True)):
            found = [place for text in fitting[anchor] for place in places.get(text, ()) if place != own]
            rows += [row] * len(found)
            columns += found
        return rows, columns


def info_nce(vectors: torch.Tensor, layout: Layout, temperature: float) -> torch.Tensor:
    """Cross-entropy of finding the positive among the documents of all examples, by cosine / temperature.

    InfoNCE (van den Oord et al., 2018) with the negatives of the whole batch (Henderson et al., 2017), as
    sentence-transformers' MultipleNegativesRankingLoss.
    """
    anchors, documents = _at(vectors, layout.anchors), _at(vectors, layout.documents)
    logits = cosines(anchors, documents) / temperature
    rows, columns = layout.false_negatives()
    move = Mover(logits.device)
    if rows:
        hidden = np.zeros(logits.shape, np.bool_)
        hidden[rows, columns] = True
        logits = logits.masked_fill(move(hidden), -torch.inf)
    return functional.cross_entropy(logits, move(layout.targets), reduction="none")


def cosent(vectors: torch.Tensor, layout: Layout, scores: torch.Tensor, temperature: float) -> torch.Tensor:
    """log(1 + sum over pairs with score_i > score_j of exp((cos_j - cos_i) / temperature)): CoSENT (Su, 2022).

    It is one number of the whole batch, which stands in every term.
    """
    values = pair_cosines(vectors, layout) / temperature
    apart = values[None, :] - values[:, None]
    counted = scores[:, None] > scores[None, :]
    exponents = torch.cat([values.new_zeros(1), apart.masked_fill(~counted, -torch.inf).flatten()])
    return torch.logsumexp(exponents, dim=0).expand(len(values))


def cosine_error(vectors: torch.Tensor, layout: Layout, scores: torch.Tensor) -> torch.Tensor:
    """Squared difference of the cosine and the score (Reimers and Gurevych, 2019); scores are from 0 to 1."""
    return (pair_cosines(vectors, layout) - scores).square()


def triplet(vectors: torch.Tensor, layout: Layout, margin: float) -> torch.Tensor:
    """max(0, |a - p| - |a - n| + margin) in Euclidean distance (Reimers and Gurevych, 2019), a mean over the negatives.

    An example without a negative has a term of 0.
    """
    anchors = layout.anchors
    example = np.repeat(np.arange(len(anchors)), layout.counts - 2)
    first = anchors[example] + 2
    within = np.arange(len(example)) - np.repeat(
        np.cumsum(layout.counts - 2) - (layout.counts - 2), layout.counts - 2
    )
    near = _distance(_at(vectors, anchors), _at(vectors, anchors + 1))
    far = _distance(_at(vectors, anchors[example]), _at(vectors, first + within))
    move = Mover(vectors.device)
    of = move(example)
    each = functional.relu(near.index_select(0, of) - far + margin)
    return near.new_zeros(len(anchors)).index_add(0, of, each) / move(np.maximum(layout.counts - 2, 1))


def cosines(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(n, m) cosines of vectors (n, d) and (m, d)."""
    return functional.normalize(one, dim=-1) @ functional.normalize(other, dim=-1).T


def pair_cosines(vectors: torch.Tensor, layout: Layout) -> torch.Tensor:
    """(n,) cosine of each anchor and its positive."""
    return functional.cosine_similarity(_at(vectors, layout.anchors), _at(vectors, layout.anchors + 1))


def _distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    distance: torch.Tensor = torch.linalg.vector_norm(one - other, dim=-1)
    return distance


def _at(vectors: torch.Tensor, places: Array) -> torch.Tensor:
    return vectors.index_select(0, Mover(vectors.device)(places))
