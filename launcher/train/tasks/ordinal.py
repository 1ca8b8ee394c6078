"""One of several labels that have an order, such as stars: CORAL (Cao, Mirjalili and Raschka, 2020).

The linear head gives one score for each text. Label k is exceeded with probability sigmoid(score + threshold k): as many
binary decisions as there are labels but one, which share all weights and so can't contradict each other.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from launcher.tasks.shared.rows import Row
from launcher.train.tasks.base import Array, MicroBatch, Scores, Task, sigmoid, with_probabilities
from launcher.train.tasks.extra_head import NAME
from launcher.train.tasks.losses import yes_or_no
from launcher.train.tasks.outcomes import Outcomes, correlations, one_of_several
from launcher.train.tokens.cache import TokenSplit

LABELS = "ordinal_labels"
"""Entry of the model's configuration with the labels from lowest to highest: its own are those of a single output."""


class Thresholds(torch.nn.Module):
    """(n, 1) scores -> (n, labels - 1) logits of a label being above each but the last, in float32."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        # Falling from the start, as in the authors' coral-pytorch: equal thresholds take long to come apart.
        self.bias = torch.nn.Parameter(torch.arange(labels - 1, 0, -1) / (labels - 1))

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.float() + self.bias.float()


class Ordinal(Task):
    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression", LABELS: list(label_names)}

    def names_in(self, config: Any) -> tuple[str, ...]:
        return tuple(getattr(config, LABELS))

    def extra_head(self, config: Any) -> torch.nn.Module | None:
        return Thresholds(len(getattr(config, LABELS)))

    def strata(self, labels: Array | None) -> Array | None:
        return labels

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """Sum over examples of the binary cross-entropies, one for each label but the last, added up."""
        assert batch.labels is not None
        logits: torch.Tensor = output[NAME]
        ranks = torch.arange(logits.shape[-1], device=logits.device)
        above = (batch.labels[:, None] > ranks).float()
        return functional.binary_cross_entropy_with_logits(logits, above, reduction="sum")

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        return yes_or_no(output[NAME])

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        return output[NAME].cpu().numpy()  # type: ignore[no-any-return]

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        """`mae`, `mse`, `pearson` and `spearman` count labels by their places: the next but one is 2 away."""
        from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

        assert isinstance(scores, np.ndarray)
        predicted = ranks(scores)
        distance = np.abs(predicted - truth).astype(np.float64)
        with warnings.catch_warnings():
            # Where every text gets the same label there is no agreement: NaN, recorded as null.
            warnings.simplefilter("ignore", RuntimeWarning)
            labels = range(scores.shape[-1] + 1)
            kappa = cohen_kappa_score(truth, predicted, labels=labels, weights="quadratic")
        return {
            "mae": float(distance.mean()),
            "mse": float(np.square(distance).mean()),
            "accuracy": float(accuracy_score(truth, predicted)),
            "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
            "qwk": float(kappa),
            **correlations(predicted, truth),
        }

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes:
        assert isinstance(scores, np.ndarray)
        predicted = ranks(scores)
        confidence = probabilities(scores)[np.arange(len(predicted)), predicted]
        return one_of_several(np.asarray(truth), confidence, predicted, names)

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        assert isinstance(scores, np.ndarray)
        predictions = (label_names[rank] for rank in ranks(scores))
        return with_probabilities(predictions, probabilities(scores), label_names)


def ranks(logits: Array) -> Array:
    """(n,) places of the labels predicted: how many of the decisions (n, labels - 1) say `above`."""
    above: Array = np.count_nonzero(logits > 0, axis=-1)
    return above


def probabilities(logits: Array) -> Array:
    """(n, labels) differences of the probabilities of being above; thresholds out of order are put in order first."""
    above = np.minimum.accumulate(sigmoid(logits), axis=-1)
    ones = np.ones((len(above), 1))
    passed: Array = np.concatenate([ones, above, 0 * ones], axis=-1)
    return -np.diff(passed, axis=-1)


TASK = Ordinal
