"""What the tasks with one target for each example have in common: a loss that the recipe chooses."""

from __future__ import annotations

from typing import Any

import torch

from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.tasks.base import MicroBatch, Task
from launcher.train.tasks.deep_head import DeepHead
from launcher.train.tasks.losses import LossFunction, load_loss, own_terms
from launcher.train.tasks.weighted import WeightedTask


class LabelledTask(WeightedTask):
    """A task with one target, class, number or set of labels, for each example."""

    def __init__(self, recipe: Recipe, tokenizer: Any) -> None:
        super().__init__(recipe, tokenizer)
        self.own_loss: LossFunction | None = None
        """The user's loss, where there is one."""

    def extra_head(self, config: Any) -> torch.nn.Module | None:
        head = self.recipe.model.head
        if not head.layers:
            return None
        return DeepHead(head, config.hidden_size, config.num_labels, config.initializer_range)

    def terms(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(n,) loss of each example, from float32 logits (n, L)."""
        raise NotImplementedError

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        assert batch.labels is not None
        logits = self.logits(output, batch)
        if self.own_loss is not None:
            return own_terms(self.own_loss, logits, batch.labels).sum()
        return self.terms(logits, batch.labels).sum()


def take_own_loss(task: Task, run: RunDir) -> None:
    """Let a task use the loss that the run directory holds, where it was launched with one."""
    if task.recipe.train.loss.name == "custom":
        assert isinstance(task, LabelledTask)
        task.own_loss = load_loss(run.loss)
