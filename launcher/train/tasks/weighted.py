"""Weights of classes in a loss, kept with the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from launcher.recipe.recipe import Recipe
from launcher.train.tasks.base import Task
from launcher.train.tokens.mover import Mover

WEIGHTS = "class_weights"
"""Entry of the model's configuration with the weights of the training's loss, so that evaluating gives the same loss."""


class WeightedTask(Task):
    """A task in whose loss some classes may count more than others."""

    def __init__(self, recipe: Recipe, tokenizer: Any) -> None:
        super().__init__(recipe, tokenizer)
        self.weights: list[float] | None = None
        """Weight of each class, once `fit` or `recall` has been called, where there are weights."""
        self._placed: torch.Tensor | None = None
        """The weights on the model's device: copying them there would make the host wait in each step."""

    def remembered(self) -> dict[str, Any]:
        return {WEIGHTS: self.weights}  # also None, which replaces what an earlier training left there

    def recall(self, config: Any) -> None:
        self.weights = getattr(config, WEIGHTS, None)

    def weights_on(self, logits: torch.Tensor) -> torch.Tensor | None:
        """(L,) the weights where the logits are."""
        if self.weights is None:
            return None
        if self._placed is None or self._placed.device != logits.device:
            self._placed = Mover(logits.device)(np.array(self.weights, np.float32))
        return self._placed
