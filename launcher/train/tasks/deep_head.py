"""A classification head of chosen depth."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from launcher.recipe.model import Head

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class DeepHead(nn.Module):
    """Fully connected layers beside the linear one: features (n, hidden) -> what is added to the logits (n, labels).

    The model's own linear head stays, as in a residual connection, so that the saved model loads without this one.
    """

    reads_features: ClassVar[bool] = True

    def __init__(self, settings: Head, hidden: int, labels: int, std: float) -> None:
        super().__init__()
        width = settings.width or hidden
        layers: list[nn.Module] = []
        for index in range(settings.layers):
            layers += [nn.Linear(width if index else hidden, width), ACTIVATIONS[settings.activation]()]
            layers.append(nn.Dropout(settings.dropout))
        self.stack = nn.Sequential(*layers, nn.Linear(width, labels))
        for layer in self.stack:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self.stack(features)
        return added
