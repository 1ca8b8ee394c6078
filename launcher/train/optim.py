"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import math

import torch

from launcher.recipe import Recipe
from launcher.techniques import Train


def make_optimizer(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters; weight decay on matrices only."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": recipe.train.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.train.lr,
        betas=(recipe.train.beta1, recipe.train.beta2),
        eps=recipe.train.epsilon,
        fused=True,
    )


def learning_rate(train: Train, step: int, total: int, warmup: int) -> float:
    """Learning rate of the 0-based optimizer step: linear warm-up to train.lr, then the schedule, zero after `total`."""
    if step < warmup:
        return train.lr * step / warmup
    progress = (step - warmup) / (total - warmup) if step < total else 1.0
    if train.schedule == "constant":
        return train.lr
    if train.schedule == "cosine":
        return train.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return train.lr * (1 - progress)
