"""Vectors of texts: a bi-encoder, whose loss of in-batch negatives is that of the whole global batch on any layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from launcher.errors import RunFailed
from launcher.tasks.embedding import OF_PAIRS
from launcher.tasks.embedding import Embedding as EmbeddingSpec
from launcher.tasks.shared.rows import FileRow, Row
from launcher.train.reading.sources import Source, text_of
from launcher.train.tasks.base import Array, MicroBatch, Resampling, Scores, Task
from launcher.train.tasks.outcomes import Outcomes, correlations, far_off
from launcher.train.tasks.retrieval import Search, mean_figures
from launcher.train.tasks.sentence_transformers_files import further_files
from launcher.train.tasks.similarity_losses import (
    Layout,
    cosent,
    cosine_error,
    info_nce,
    pair_cosines,
    triplet,
)
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.encoder import Encoder, Tokens
from launcher.train.tokens.gather import Indices
from launcher.train.tokens.mover import Mover


@dataclass(frozen=True)
class Truth:
    """What the vectors of a split are measured by."""

    scores: NDArray[np.float64]
    """(n,) how alike the texts of each example are; NaN where the data don't say it."""
    layout: Layout
    texts: NDArray[np.int64]
    """(s + c,) the same number for the same text, the corpus behind the texts of the examples."""

    def search(self) -> Search:
        """Anchors of pairs without scores among all their documents and the corpus."""
        unscored = np.isnan(self.scores)
        anchors, counts = self.layout.anchors[unscored], self.layout.counts[unscored]
        negatives = [
            place
            for start, count in zip(anchors, counts, strict=True)
            for place in range(start + 2, start + count)
        ]
        corpus = range(int(self.layout.counts.sum()), len(self.texts))
        return Search.of(self.texts, anchors, [*negatives, *corpus])


class Embedding(Task):
    """An example is a sequence for each text: anchor, positive, negatives. Its scores are their vectors, (texts, d)."""

    spec: EmbeddingSpec
    auto_class = "AutoModel"
    peft_type = None
    ready_head = True
    unread = ("pooler",)

    # From rows to tokens

    def labels(self, source: Source, targets: Sequence[Any], names: tuple[str, ...]) -> Array | None:
        return np.array([np.nan if score is None else score for score in targets], np.float32)

    def encode(
        self, encoder: Encoder, rows: Sequence[FileRow], targets: Sequence[Any] | None, names: tuple[str, ...]
    ) -> Tokens:
        """Without targets a row may hold one of the two texts, which is embedded alone."""
        texts = [self._texts(name, row, whole=targets is not None) for name, row in rows]
        prompts = self.recipe.embedding.prompts
        sides = (prompts.query, prompts.document)
        given = [sides[min(side, 1)] + text for parts in texts for side, text in parts]
        counts = np.array([len(parts) for parts in texts], np.int64)
        empty = sum(not any(text for _, text in parts) for parts in texts)
        return encoder.encode_together(given, counts, empty)

    def _texts(self, name: str, row: Row, whole: bool) -> list[tuple[int, str]]:
        """The texts of a row, each with its side: 0 for the anchor, 1 for its positive and its negatives."""
        columns = self.spec.given_texts
        given = [
            (side, text_of(row.values.get(column), name, row))
            for side, column in enumerate(columns)
            if whole or row.values.get(column) is not None
        ]
        if not whole:
            return given or [(0, "")]
        if len(columns) == 1:  # twice the same, and dropout makes them differ (Gao et al., 2021)
            given *= 2
        return [*given, *((1, text) for text in self.spec.negatives_of(row))]

    # The model

    def check_model(self, config: Any) -> None:
        """Raise RunFailed('recipe') where vectors are to be longer than the model's."""
        for conflict in self.spec.width_conflicts(config.hidden_size):
            sizes = list(self.recipe.embedding.dimensions or ())
            raise RunFailed("recipe", f"embedding.dimensions={sizes}: {conflict.message}", conflict.remedy)

    def further_files(self, config: Any, longest: int) -> dict[str, Any]:
        return further_files(self.recipe.embedding, config, longest)

    # Vectors and loss

    @property
    def whole_batch(self) -> bool:
        return self.spec.loss in ("infonce", "cosent")

    def vectors(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        assert batch.lengths is not None
        rows = batch.token_rows(output.last_hidden_state)
        lengths, move = batch.lengths, Mover(rows.device)
        if self.recipe.embedding.pooling == "cls":
            pooled = rows.index_select(0, move(np.cumsum(lengths) - lengths))
        else:
            text = move(np.repeat(np.arange(len(lengths)), lengths))
            sums = rows.new_zeros(len(lengths), rows.shape[-1]).index_add(0, text, rows)
            pooled = sums / move(lengths)[:, None]
        return functional.normalize(pooled, dim=-1) if self.recipe.embedding.normalize else pooled

    def joint_terms(self, vectors: torch.Tensor, split: TokenSplit, examples: Indices) -> torch.Tensor:
        assert split.labels is not None
        layout = layout_of(split, examples)
        scores = Mover(vectors.device)(split.labels[examples])
        return self.terms(vectors, layout, scores)

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """Of a loss over whole batches, that of the micro-batch as if it were one."""
        assert batch.sequences is not None
        assert batch.labels is not None
        return self.terms(self.vectors(output, batch), Layout(batch.sequences), batch.labels).sum()

    def terms(self, vectors: torch.Tensor, layout: Layout, scores: torch.Tensor) -> torch.Tensor:
        """(n,) terms, added up over the sizes that are learnt for (Kusupati et al., 2022)."""
        shorter = [self._shortened(vectors, size) for size in self._sizes(vectors.shape[-1])]
        return torch.stack([self._terms_of(each, layout, scores) for each in shorter]).sum(dim=0)

    def _terms_of(self, vectors: torch.Tensor, layout: Layout, scores: torch.Tensor) -> torch.Tensor:
        settings = self.recipe.embedding
        match self.spec.loss:
            case "infonce":
                return info_nce(vectors, layout, settings.temperature)
            case "cosent":
                return cosent(vectors, layout, scores, settings.temperature)
            case "cosine":
                return cosine_error(vectors, layout, scores / settings.max_score)
            case _:
                return triplet(vectors, layout, settings.margin)

    def _sizes(self, width: int) -> list[int]:
        return sorted({width, *(self.recipe.embedding.dimensions or ())}, reverse=True)

    def _shortened(self, vectors: torch.Tensor, size: int) -> torch.Tensor:
        if size == vectors.shape[-1]:
            return vectors
        first = vectors[:, :size]
        return functional.normalize(first, dim=-1) if self.recipe.embedding.normalize else first

    # Metrics

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        assert batch.sequences is not None
        vectors = self.vectors(output, batch).cpu().numpy()
        return list(np.split(vectors, np.cumsum(batch.sequences)[:-1]))

    def truth(self, split: TokenSplit) -> Truth:
        assert split.labels is not None
        numbers: dict[bytes, int] = {}
        layout = layout_of(split, np.arange(len(split)), numbers)
        assert layout.texts is not None
        texts = [layout.texts]
        if self.corpus is not None:
            texts.append(_numbered(self.corpus, range(len(self.corpus)), numbers))
        return Truth(np.asarray(split.labels, np.float64), layout, np.concatenate(texts))

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        """Correlations over pairs with scores, the others over the queries of pairs without."""
        resampling = self.resampling(scores, truth)
        return dict(resampling.metrics(np.arange(resampling.units)))

    def resampling(self, scores: Scores, truth: Any) -> Resampling:
        """Pairs with scores are drawn, and queries: those before these."""
        found = list(self._measured(np.concatenate(list(scores)), truth))
        pairs = len(found[0].scores)
        of = "queries" if len(found[0].figures) else "examples"

        def metrics(chosen: Indices) -> dict[str, float]:
            scored, queries = chosen[chosen < pairs], chosen[chosen >= pairs] - pairs
            values: dict[str, float] = {}
            for each in found:
                values |= each.metrics(scored, queries)
            return values

        return Resampling(pairs + len(found[0].figures), metrics, of)

    def _measured(self, vectors: NDArray[np.float32], truth: Truth) -> Iterator[_Measured]:
        search, scored = truth.search(), ~np.isnan(truth.scores)
        anchors = truth.layout.anchors[scored]
        for size in self._sizes(vectors.shape[-1]):
            unit = functional.normalize(torch.from_numpy(vectors[:, :size]), dim=-1).numpy()
            cosines = (unit[anchors] * unit[anchors + 1]).sum(axis=-1, dtype=np.float64)
            suffix = "" if size == vectors.shape[-1] else f"/{size}"
            yield _Measured(suffix, cosines, truth.scores[scored], search.figures(unit))

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes | None:
        """Of pairs with scores the cosine beside the score; what isn't found for a query can't be said of an example alone."""
        if not len(truth.scores) or np.isnan(truth.scores).any():
            return None
        vectors = torch.from_numpy(np.concatenate(list(scores)))
        return far_off(
            pair_cosines(vectors, truth.layout).numpy(), truth.scores / self.recipe.embedding.max_score
        )

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """`embedding` is the vector of the text, a list of both where there are two, whose cosine `similarity` is."""
        return [
            _decoded(vectors) for vectors, _ in zip(scores, rows, strict=False)
        ]  # a corpus is behind them


@dataclass(frozen=True)
class _Measured:
    """The vectors of one size, measured."""

    suffix: str
    cosines: NDArray[np.float64]
    """(p,) of the pairs with scores."""
    scores: NDArray[np.float64]
    figures: NDArray[np.float64]
    """(q, 4) of the queries."""

    def metrics(self, pairs: Indices, queries: Indices) -> dict[str, float]:
        both = correlations(self.cosines[pairs], self.scores[pairs])
        found = {name: both[name] for name in OF_PAIRS} | mean_figures(self.figures[queries])
        return {f"{name}{self.suffix}": value for name, value in found.items()}


def layout_of(split: TokenSplit, examples: Indices, numbers: dict[bytes, int] | None = None) -> Layout:
    """Where the texts of these examples stand, one example after another, and which of them are the same.

    `numbers` are those of texts by their tokens, to which new ones are added.
    """
    assert split.sequences is not None
    counts = split.sequences[examples + 1] - split.sequences[examples]
    return Layout(counts, _numbered(split, examples, {} if numbers is None else numbers))


def _numbered(split: TokenSplit, examples: Iterable[int], numbers: dict[bytes, int]) -> NDArray[np.int64]:
    """The numbers of the texts of these examples."""
    sequences, offsets = split.sequences, split.offsets
    assert sequences is not None
    texts = [
        numbers.setdefault(split.ids[offsets[place] : offsets[place + 1]].tobytes(), len(numbers))
        for example in examples
        for place in range(sequences[example], sequences[example + 1])
    ]
    return np.array(texts, np.int64)


def _decoded(vectors: NDArray[np.float32]) -> dict[str, Any]:
    if len(vectors) == 1:
        return {"embedding": vectors[0].tolist(), "similarity": None}
    first, second = (torch.from_numpy(vector) for vector in vectors[:2])
    similarity = float(functional.cosine_similarity(first, second, dim=-1))
    return {"embedding": vectors[:2].tolist(), "similarity": similarity}


TASK = Embedding
