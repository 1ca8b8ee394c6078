"""A number for a text or a pair of texts: squared error over a linear head of one output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from launcher.tasks.shared.rows import Row
from launcher.train.tasks.base import MicroBatch, Scores
from launcher.train.tasks.labelled import LabelledTask
from launcher.train.tasks.losses import distance
from launcher.train.tasks.outcomes import Outcomes, correlations, far_off
from launcher.train.tokens.cache import TokenSplit


class Regression(LabelledTask):
    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return distance(logits.squeeze(-1), labels.float(), self.recipe.train.loss)

    def divergence_sum(self, first: Any, second: Any, batch: MicroBatch) -> torch.Tensor:
        """Of numbers, the squared difference."""
        return (self.logits(first, batch) - self.logits(second, batch)).square().sum()

    def taught_sum(self, student: Any, teacher: Any, batch: MicroBatch, temperature: float) -> torch.Tensor:
        """Of numbers, the squared difference: there is nothing to soften."""
        return self.divergence_sum(student, teacher, batch)

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        return self.logits(output, batch).squeeze(-1).cpu().numpy()

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        assert isinstance(scores, np.ndarray)
        difference = scores.astype(np.float64) - truth
        return {
            **correlations(scores, truth),
            "mse": float(np.square(difference).mean()),
            "mae": float(np.abs(difference).mean()),
        }

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes:
        return far_off(np.asarray(scores, np.float64), np.asarray(truth, np.float64))

    def probability(self, logits: torch.Tensor, target: int) -> None:
        return None

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        return [{"prediction": float(value)} for value in scores]


TASK = Regression
