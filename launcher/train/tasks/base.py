"""What a task is: everything that differs between classifying texts and, say, tagging words.

A task is one file in this package holding a `TASK` object; `get_task` finds it by its name in the recipe.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class MicroBatch:
    """Examples that go through the model together, on its device."""

    inputs: dict[str, torch.Tensor]
    """What the model's forward takes: input_ids, (examples, tokens) or (1, tokens) where packed, and what goes with it."""
    labels: torch.Tensor | None
    """Labels as the task defines them, examples first; None where there are none."""
    tokens: int
    """Real tokens, padding not counted."""


class Task(Protocol):
    """One kind of thing that an encoder learns to do."""

    metric: str
    """The metric that chooses the best checkpoint unless the recipe names another."""
    auto_class: str
    """Name of the transformers class that builds encoder and head."""
    peft_type: str
    """peft's name for the task."""

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Entries of the model's configuration that shape the head."""

    def units(self, labels: Array | None, examples: int) -> NDArray[np.float64]:
        """(examples,) number of loss terms in each example: what the loss is averaged over."""

    def loss_sum(self, logits: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        """Sum, not mean, of the loss terms of the micro-batch; float32 scalar."""

    def scores(self, logits: torch.Tensor, batch: MicroBatch) -> Array:
        """Per example, what `metrics` and `decode` need; first axis is examples."""

    def metrics(self, scores: Array, labels: Array) -> dict[str, float]:
        """Metrics over a whole split, without prefix."""

    def decode(self, scores: Array, label_names: Sequence[str]) -> list[dict[str, Any]]:
        """One `{prediction, probabilities}` per example."""


def get_task(name: str) -> Task:
    """The task that a recipe names."""
    module = importlib.import_module(f"launcher.train.tasks.{name.replace('-', '_')}")
    task: Task = module.TASK
    return task


LOWER_IS_BETTER = frozenset({"loss", "mse", "mae", "rmse", "perplexity"})


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of this metric means a better model."""
    return metric not in LOWER_IS_BETTER


def softmax(logits: Array) -> Array:
    """Softmax over the last axis in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]
