"""Any number of labels for a text: one independent binary decision per label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from launcher.datafiles import Row
from launcher.train.tasks.base import MicroBatch, Scores, Task, named_classes, sigmoid
from launcher.train.token_cache import TokenSplit

THRESHOLD = 0.5


class MultiLabel(Task):
    metric = "micro_f1"

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {**named_classes(label_names), "problem_type": "multi_label_classification"}

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """Sum over examples of the binary cross-entropy averaged over labels."""
        assert batch.labels is not None
        losses = functional.binary_cross_entropy_with_logits(
            output.logits.float(), batch.labels.float(), reduction="none"
        )
        return losses.mean(dim=-1).sum()

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        return output.logits.float().cpu().numpy()  # type: ignore[no-any-return]

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        from sklearn.metrics import f1_score

        assert isinstance(scores, np.ndarray)
        predicted = sigmoid(scores) >= THRESHOLD
        truth = truth >= 0.5
        return {
            "accuracy": float((predicted == truth).mean()),
            "exact_match": float((predicted == truth).all(axis=-1).mean()),
            "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
            "micro_f1": float(f1_score(truth, predicted, average="micro", zero_division=0)),
        }

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        assert isinstance(scores, np.ndarray)
        return [
            {
                "prediction": [name for name, p in zip(label_names, row, strict=True) if p >= THRESHOLD],
                "probabilities": {name: float(p) for name, p in zip(label_names, row, strict=True)},
            }
            for row in sigmoid(scores)
        ]


TASK = MultiLabel
