"""Any number of labels for a text: one independent binary decision per label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row
from launcher.train.tasks.base import (
    Array,
    MicroBatch,
    Resampling,
    Scores,
    named_classes,
    sigmoid,
    with_probabilities,
)
from launcher.train.tasks.labelled import LabelledTask
from launcher.train.tasks.losses import binary_cross_entropy, positive_weights, yes_or_no
from launcher.train.tasks.outcomes import Certainty, Outcomes, figures
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.gather import Indices

HALF = 0.5
THRESHOLDS = "thresholds"
"""Entry of the model's configuration with the probability from which each label is predicted."""


class MultiLabel(LabelledTask):
    def __init__(self, recipe: Recipe, tokenizer: Any) -> None:
        super().__init__(recipe, tokenizer)
        self.thresholds: list[float] | None = None
        """Probability from which each label is predicted; None: a half."""

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {**named_classes(label_names), "problem_type": "multi_label_classification"}

    def fit(self, train: TokenSplit, label_names: Sequence[str]) -> None:
        self.weights = positive_weights(self.recipe.train.loss, label_names, np.asarray(train.labels))

    def tune(self, scores: Scores, truth: Any) -> None:
        if self.recipe.eval.tune_thresholds:
            assert isinstance(scores, np.ndarray)
            self.thresholds = best_thresholds(sigmoid(scores), truth >= 0.5)

    def remembered(self) -> dict[str, Any]:
        return {**super().remembered(), THRESHOLDS: self.thresholds}

    def recall(self, config: Any) -> None:
        super().recall(config)
        self.thresholds = getattr(config, THRESHOLDS, None)

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return binary_cross_entropy(logits, labels.float(), self.recipe.train.loss, self.weights_on(logits))

    def _holds(self, probabilities: Array) -> NDArray[np.bool_]:
        """(n, L) which labels are predicted."""
        limit = HALF if self.thresholds is None else np.asarray(self.thresholds)
        return probabilities >= limit

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        return yes_or_no(self.logits(output, batch))

    def weigh(self, differences: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        return differences.mean(dim=-1).sum()

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        return self.logits(output, batch).cpu().numpy()

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        from sklearn.metrics import f1_score

        assert isinstance(scores, np.ndarray)
        predicted = self._holds(sigmoid(scores))
        truth = truth >= 0.5
        return {
            "accuracy": float((predicted == truth).mean()),
            "exact_match": float((predicted == truth).all(axis=-1).mean()),
            "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
            "micro_f1": float(f1_score(truth, predicted, average="micro", zero_division=0)),
        }

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes:
        assert isinstance(scores, np.ndarray)
        chances, real = sigmoid(scores), np.asarray(truth) >= HALF
        found = self._holds(chances)
        counts = ((found & real).sum(0), real.sum(0), found.sum(0))
        sides = [
            [", ".join(compress(names, row)) or "(none)" for row in side.tolist()] for side in (real, found)
        ]
        return Outcomes(
            badness=(found != real).sum(axis=-1),
            expected=sides[0],
            predicted=sides[1],
            classes=tuple(figures(name, *map(int, row)) for name, *row in zip(names, *counts, strict=True)),
            certainty=Certainty(chances.ravel(), real.ravel(), "labels"),
        )

    def resampling(self, scores: Scores, truth: Any) -> Resampling:
        """By counts: scikit-learn would take seconds for a thousand draws."""
        assert isinstance(scores, np.ndarray)
        real, found = np.asarray(truth) >= HALF, self._holds(sigmoid(scores))
        both, either = (real & found).astype(float), real.astype(float) + found
        equal, exact = (real == found).mean(axis=-1), (real == found).all(axis=-1)

        def metrics(chosen: Indices) -> dict[str, float]:
            hits, sizes = both[chosen].sum(0), either[chosen].sum(0)
            return {
                "accuracy": float(equal[chosen].mean()),
                "exact_match": float(exact[chosen].mean()),
                "macro_f1": float((2 * hits / np.maximum(sizes, 1)).mean()),
                "micro_f1": float(2 * hits.sum() / max(sizes.sum(), 1)),
            }

        return Resampling(len(scores), metrics)

    def probability(self, logits: torch.Tensor, target: int) -> float:
        return float(logits.sigmoid()[target])

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        assert isinstance(scores, np.ndarray)
        found = sigmoid(scores)
        predictions = (list(compress(label_names, holds)) for holds in self._holds(found).tolist())
        return with_probabilities(predictions, found, label_names)


def best_thresholds(probabilities: Array, truth: Array) -> list[float]:
    """For each of L labels the probability from which predicting it gives the best F1 over n examples.

    Both are (n, L). Thresholds lie halfway between two probabilities; of equally good ones the nearest to a half is
    taken, and a half where a label never holds.
    """
    return [_best_threshold(p, t) for p, t in zip(probabilities.T, truth.T, strict=True)]


def _best_threshold(probabilities: Array, truth: Array) -> float:
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    hits = np.cumsum(truth[order])
    last = np.append(ranked[1:] < ranked[:-1], True)  # equal probabilities are predicted together
    f1 = np.where(last, 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1]), -1.0)
    if hits[-1] == 0:
        return HALF
    limits = (ranked + np.append(ranked[1:], 0.0)) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(limits[best[np.abs(limits[best] - HALF).argmin()]])


TASK = MultiLabel
