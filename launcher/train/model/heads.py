"""A classification head of chosen depth, which weights start anew, and which don't train."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from launcher.errors import RunFailed
from launcher.recipe.model import Head
from launcher.recipe.recipe import Recipe
from launcher.train.model.layer_depth import depths

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


def reinitialise(base: Any, layers: int) -> None:
    """Draw the weights of the top layers anew, as the model's family does it (Zhang et al., 2021).

    Raises RunFailed('recipe') where there are fewer.
    """
    places = depths(base)
    top = max(places.values()) - 1
    if layers > top:
        raise RunFailed("recipe", f"model.reinit_layers={layers}: the model has {top} layers")
    fresh = {name.rpartition(".")[0] for name, place in places.items() if top - layers < place <= top}
    for name in sorted(fresh):
        module = base.get_submodule(name)
        for parameter in module.parameters(recurse=False):
            parameter._is_hf_initialized = False  # transformers leaves alone what came from a file
        base._init_weights(module)


def freeze(model: nn.Module, recipe: Recipe) -> None:
    """Take what `model.freeze` names out of training. Raises RunFailed('recipe') where there are fewer layers."""
    wanted = recipe.model.freeze
    if not wanted.embeddings and not wanted.layers:
        return
    places = depths(model)
    top = max(places.values()) - 1
    if wanted.layers > top:
        raise RunFailed("recipe", f"model.freeze.layers={wanted.layers}: the model has {top} layers")
    for name, parameter in model.named_parameters():
        if (wanted.embeddings and places[name] == 0) or 1 <= places[name] <= wanted.layers:
            parameter.requires_grad_(False)
