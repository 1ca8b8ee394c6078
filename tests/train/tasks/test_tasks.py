"""Each task: its loss is the one transformers computes, its metrics are those computed by hand, its decoding is readable."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from launcher import tasks
from launcher.recipe.recipe import Recipe
from launcher.train.tasks import MicroBatch, Task, get_task
from launcher.train.tokens.cache import TokenSplit

NAMES = {"classification": ("bad", "fair", "good"), "multilabel": ("red", "green", "blue"), "regression": ()}
LABELS = {
    "classification": torch.tensor([2, 0, 1, 1, 2]),
    "multilabel": torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]], dtype=torch.float32),
    "regression": torch.tensor([0.5, -1.0, 2.5, 0.0, 4.0]),
}


def _task(name: str) -> Task:
    return get_task(Recipe.model_validate({"task": name}))


def _split(labels: torch.Tensor | None = None, examples: int = 5) -> TokenSplit:
    ends = np.arange(examples + 1, dtype=np.int64)
    return TokenSplit(np.zeros(examples, np.int32), ends, labels=None if labels is None else labels.numpy())


def _decoded(name: str, scores: np.ndarray) -> list[dict[str, Any]]:
    return _task(name).decode(scores, NAMES[name], _split(examples=len(scores)), ())


def _batch(labels: torch.Tensor) -> MicroBatch:
    ids = torch.arange(5, 5 + len(labels) * 4).reshape(len(labels), 4)
    return MicroBatch({"input_ids": ids}, labels, tokens=ids.numel())


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_that_of_transformers(name: str) -> None:
    task = _task(name)
    torch.manual_seed(1)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=40, **size, **task.head_config(NAMES[name]))
    ).eval()
    batch = _batch(LABELS[name])
    theirs = model(**batch.inputs, labels=LABELS[name])
    units = task.units(_split(LABELS[name]), np.arange(5))
    ours = task.loss_sum(theirs, batch) / units
    torch.testing.assert_close(ours, theirs.loss)
    parts = [_batch(LABELS[name][:2]), _batch(LABELS[name][2:])]
    summed = sum(
        task.loss_sum(SimpleNamespace(logits=logits), part)
        for logits, part in zip(theirs.logits.split([2, 3]), parts, strict=True)
    )
    torch.testing.assert_close(summed / units, theirs.loss)


def test_the_loss_is_computed_in_float32() -> None:
    logits = torch.tensor([[3.01, -2.0], [0.5, 0.25]], dtype=torch.bfloat16)
    loss = _task("classification").loss_sum(SimpleNamespace(logits=logits), _batch(torch.tensor([1, 0])))
    assert loss.dtype == torch.float32


def test_classification_metrics_by_hand() -> None:
    scores = np.array([[2.0, 1], [0, 1], [1, 0], [0, 3], [5, 1], [0, 1]])  # predicts 0 1 0 1 0 1
    found = _task("classification").metrics(scores, np.array([0, 1, 1, 1, 0, 0]))
    # 1 is predicted 3 times, of which 2 are right, and stands there 3 times: precision and recall 2/3; so for 0.
    assert found == pytest.approx(
        {"accuracy": 4 / 6, "f1": 2 / 3, "macro_f1": 2 / 3, "micro_f1": 4 / 6, "mcc": 3 / 9}
    )


def test_classification_metrics_of_three_classes_by_hand() -> None:
    scores = np.eye(3)[[0, 0, 1, 2, 2, 2]]
    found = _task("classification").metrics(scores, np.array([0, 1, 1, 2, 2, 0]))
    f1 = [2 * 1 / (2 + 2), 2 * 1 / (1 + 2), 2 * 2 / (3 + 2)]
    assert "f1" not in found
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["macro_f1"] == pytest.approx(sum(f1) / 3)


def test_multilabel_metrics_by_hand() -> None:
    scores = np.array([[2.0, -1, 1], [-1, -1, -1], [1, -1, 1], [-1, 1, 1]])
    labels = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], dtype=np.float32)
    found = _task("multilabel").metrics(scores, labels)
    # 12 decisions, 2 wrong; 5 true positives, 1 false positive (blue), 1 false negative (green).
    assert found["accuracy"] == pytest.approx(10 / 12)
    assert found["exact_match"] == pytest.approx(2 / 4)
    assert found["micro_f1"] == pytest.approx(2 * 5 / (2 * 5 + 1 + 1))
    assert found["macro_f1"] == pytest.approx((1.0 + 2 / 3 + 4 / 5) / 3)


def test_regression_metrics_by_hand() -> None:
    found = _task("regression").metrics(np.array([1.0, 2, 4]), np.array([1.0, 3, 2]))
    assert found["mse"] == pytest.approx(5 / 3)
    assert found["mae"] == pytest.approx(1.0)
    assert found["pearson"] == pytest.approx(1 / math.sqrt(42 / 9 * 2))
    assert found["spearman"] == pytest.approx(0.5)


@pytest.mark.parametrize(("scores", "labels"), [([1.0, 1.0], [0.0, 2.0]), ([1.0], [1.0])])
def test_a_correlation_that_does_not_exist_is_nan(scores: list[float], labels: list[float]) -> None:
    found = _task("regression").metrics(np.array(scores), np.array(labels))
    assert math.isnan(found["pearson"])
    assert math.isnan(found["spearman"])


def test_predictions_name_labels_and_give_probabilities() -> None:
    even, sure = np.array([[0.0, 0.0, math.log(2)], [9.0, 0.0, 0.0]])
    first, second = _decoded("classification", np.stack([even, sure]))
    assert first["prediction"] == "good"
    assert first["probabilities"] == pytest.approx({"bad": 0.25, "fair": 0.25, "good": 0.5})
    assert second["prediction"] == "bad"

    several, none = _decoded("multilabel", np.array([[9.0, -9, 0], [-9, -9, -9]]))
    assert several["prediction"] == ["red", "blue"]
    assert none["prediction"] == []
    assert several["probabilities"]["blue"] == pytest.approx(0.5)

    assert _decoded("regression", np.array([1.5])) == [{"prediction": 1.5}]


def test_extreme_logits_give_finite_probabilities() -> None:
    extreme = np.array([[1e4, -1e4, 0.0]])
    for name in ("classification", "multilabel"):
        (found,) = _decoded(name, extreme)
        assert all(0 <= p <= 1 for p in found["probabilities"].values())


def test_only_errors_and_losses_are_better_when_lower() -> None:
    better = tasks.named("regression").higher_is_better
    assert [better(name) for name in ("pearson", "spearman", "loss", "mse", "mae")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert not tasks.named("masked-lm").higher_is_better("perplexity")
    assert tasks.named("token-classification").higher_is_better("f1/PER")
