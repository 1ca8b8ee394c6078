"""Which layers of the encoder start from new weights, and which don't train."""

from __future__ import annotations

from typing import Any

from torch import nn

from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.train.compat.initial_weights import draw_anew
from launcher.train.model.layer_depth import depths


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
        draw_anew(base, base.get_submodule(name))


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
