"""A number for a text or a pair of texts: squared error over a linear head of one output."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.train.tasks.base import Array, MicroBatch


class Regression:
    metric = "pearson"
    auto_class = "AutoModelForSequenceClassification"
    peft_type = "SEQ_CLS"

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def units(self, labels: Array | None, examples: int) -> NDArray[np.float64]:
        return np.ones(examples)

    def loss_sum(self, logits: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        assert batch.labels is not None
        difference = logits.float().squeeze(-1) - batch.labels.float()
        return difference.square().sum()

    def scores(self, logits: torch.Tensor, batch: MicroBatch) -> Array:
        return logits.float().squeeze(-1).cpu().numpy()

    def metrics(self, scores: Array, labels: Array) -> dict[str, float]:
        from scipy import stats

        difference = scores.astype(np.float64) - labels
        with warnings.catch_warnings():
            # A constant prediction has no correlation: NaN, which is recorded as null.
            warnings.simplefilter("ignore", stats.ConstantInputWarning)
            pearson = stats.pearsonr(scores, labels).statistic if len(labels) > 1 else np.nan
            spearman = stats.spearmanr(scores, labels).statistic if len(labels) > 1 else np.nan
        return {
            "pearson": float(pearson),
            "spearman": float(spearman),
            "mse": float(np.square(difference).mean()),
            "mae": float(np.abs(difference).mean()),
        }

    def decode(self, scores: Array, label_names: Sequence[str]) -> list[dict[str, Any]]:
        return [{"prediction": float(value)} for value in scores]


TASK = Regression()
