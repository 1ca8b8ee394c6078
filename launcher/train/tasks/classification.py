"""One of several labels for a text or a pair of texts: cross-entropy over a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.tasks.shared.rows import Row
from launcher.train.tasks.base import Array, MicroBatch, Scores, named_classes, softmax, with_probabilities
from launcher.train.tasks.confusion import Counts, accuracy, f1_by_class, macro_f1, mcc
from launcher.train.tasks.labelled import LabelledTask
from launcher.train.tasks.losses import class_weights, cross_entropy
from launcher.train.tasks.outcomes import Outcomes, one_of_several
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.gather import EVALUATION, Indices

BLOCK = 1 << 22
"""Scores whose probabilities are computed at once."""


class Classification(LabelledTask):
    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {**named_classes(label_names), "problem_type": "single_label_classification"}

    def strata(self, labels: Array | None) -> NDArray[np.int64] | None:
        return labels

    def fit(self, train: TokenSplit, label_names: Sequence[str]) -> None:
        self.weights = class_weights(self.recipe.train.loss, label_names, np.asarray(train.labels))

    def units(self, split: TokenSplit, examples: Indices, epoch: int = EVALUATION) -> float:
        """Sum of the weights of the examples' classes: their number where there are no weights."""
        if self.weights is None:
            return float(len(examples))
        return float(np.asarray(self.weights)[np.asarray(split.labels)[examples]].sum())

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits, labels, self.recipe.train.loss, self.weights_on(logits))

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        return self.logits(output, batch)

    def weigh(self, differences: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        weights = self.weights_on(differences)
        return (differences if weights is None else differences * weights[batch.labels]).sum()

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        return self.logits(output, batch).cpu().numpy()

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        assert isinstance(scores, np.ndarray)
        counts = Counts.of(np.asarray(truth), scores.argmax(axis=-1), scores.shape[-1])
        values = {
            "accuracy": accuracy(counts),
            "macro_f1": macro_f1(counts),
            "micro_f1": accuracy(counts),
            "mcc": mcc(counts),
        }
        if scores.shape[-1] == 2:
            values["f1"] = float(f1_by_class(counts)[1])
        return values

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes:
        assert isinstance(scores, np.ndarray)
        # By blocks: in float64 all probabilities of many classes take twice the room of their scores.
        blocks = np.array_split(scores, max(1, scores.size // BLOCK))
        confidence = np.concatenate([softmax(block).max(axis=-1) for block in blocks])
        return one_of_several(np.asarray(truth), confidence, scores.argmax(axis=-1), names)

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        assert isinstance(scores, np.ndarray)
        chances = softmax(scores)
        return with_probabilities((label_names[i] for i in chances.argmax(axis=-1)), chances, label_names)


TASK = Classification
