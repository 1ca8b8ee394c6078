"""One of several labels for a text or a pair of texts: cross-entropy over a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from launcher.train.tasks.base import Array, MicroBatch, softmax


class Classification:
    metric = "accuracy"
    auto_class = "AutoModelForSequenceClassification"
    peft_type = "SEQ_CLS"

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        return {
            "id2label": dict(enumerate(label_names)),
            "label2id": {name: index for index, name in enumerate(label_names)},
            "problem_type": "single_label_classification",
        }

    def units(self, labels: Array | None, examples: int) -> NDArray[np.float64]:
        return np.ones(examples)

    def loss_sum(self, logits: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        assert batch.labels is not None
        return functional.cross_entropy(logits.float(), batch.labels, reduction="sum")

    def scores(self, logits: torch.Tensor, batch: MicroBatch) -> Array:
        return logits.float().cpu().numpy()

    def metrics(self, scores: Array, labels: Array) -> dict[str, float]:
        from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

        predicted = scores.argmax(axis=-1)
        values = {
            "accuracy": accuracy_score(labels, predicted),
            "macro_f1": f1_score(labels, predicted, average="macro", zero_division=0),
            "micro_f1": f1_score(labels, predicted, average="micro", zero_division=0),
            "mcc": matthews_corrcoef(labels, predicted),
        }
        if scores.shape[-1] == 2:
            values["f1"] = f1_score(labels, predicted, average="binary", zero_division=0)
        return {name: float(value) for name, value in values.items()}

    def decode(self, scores: Array, label_names: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "prediction": label_names[int(row.argmax())],
                "probabilities": {name: float(p) for name, p in zip(label_names, row, strict=True)},
            }
            for row in softmax(scores)
        ]


TASK = Classification()
