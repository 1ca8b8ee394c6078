"""A number for a text or a pair of texts: squared error over a linear head of one output."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from launcher.datafiles import Row
from launcher.train.tasks.base import MicroBatch, Scores, Task
from launcher.train.token_cache import TokenSplit


class Regression(Task):
    metric = "pearson"

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        assert batch.labels is not None
        logits: torch.Tensor = output.logits.float().squeeze(-1)
        return (logits - batch.labels.float()).square().sum()

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        return output.logits.float().squeeze(-1).cpu().numpy()  # type: ignore[no-any-return]

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        from scipy import stats

        assert isinstance(scores, np.ndarray)
        labels = truth

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

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        return [{"prediction": float(value)} for value in scores]


TASK = Regression
