"""Any number of labels for a text: one independent binary decision per label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from launcher.train.tasks.base import Array, MicroBatch

THRESHOLD = 0.5


class MultiLabel:
    metric = "micro_f1"
    auto_class = "AutoModelForSequenceClassification"
    peft_type = "SEQ_CLS"

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {
            "id2label": dict(enumerate(label_names)),
            "label2id": {name: index for index, name in enumerate(label_names)},
            "problem_type": "multi_label_classification",
        }

    def units(self, labels: Array | None, examples: int) -> NDArray[np.float64]:
        return np.ones(examples)

    def loss_sum(self, logits: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        """Sum over examples of the binary cross-entropy averaged over labels."""
        assert batch.labels is not None
        losses = functional.binary_cross_entropy_with_logits(
            logits.float(), batch.labels.float(), reduction="none"
        )
        return losses.mean(dim=-1).sum()

    def scores(self, logits: torch.Tensor, batch: MicroBatch) -> Array:
        return logits.float().cpu().numpy()

    def metrics(self, scores: Array, labels: Array) -> dict[str, float]:
        from sklearn.metrics import f1_score

        predicted = _sigmoid(scores) >= THRESHOLD
        truth = labels >= 0.5
        return {
            "accuracy": float((predicted == truth).mean()),
            "exact_match": float((predicted == truth).all(axis=-1).mean()),
            "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
            "micro_f1": float(f1_score(truth, predicted, average="micro", zero_division=0)),
        }

    def decode(self, scores: Array, label_names: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "prediction": [name for name, p in zip(label_names, row, strict=True) if p >= THRESHOLD],
                "probabilities": {name: float(p) for name, p in zip(label_names, row, strict=True)},
            }
            for row in _sigmoid(scores)
        ]


def _sigmoid(logits: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64))  # exp would overflow


TASK = MultiLabel()
