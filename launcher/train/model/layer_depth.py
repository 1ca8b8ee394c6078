"""How deep in the model a parameter lies: what layer-wise learning rates and freezing go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from launcher.recipe.recipe import Recipe
from launcher.train.model.family import family_of
from launcher.train.tasks import extra_head


def depths(model: torch.nn.Module) -> dict[str, int]:
    """Depth of each parameter by its name: 0 the embeddings, 1 to L the layers that have parameters, L + 1 the head."""
    whole = _whole(model)
    names = family_of(whole.config).modules
    layers = f"{names.layers}."
    below = tuple(f"{name}." for name in names.below)
    top = len(whole.base_model.get_submodule(names.layers))

    def depth(name: str) -> int:
        inner = _within_encoder(whole, name)
        if inner is None:
            return top + 1
        if inner.startswith(layers):
            return int(inner.removeprefix(layers).partition(".")[0]) + 1
        return 0 if inner.startswith(below) else top  # a norm behind the last layer

    return {name: depth(name) for name, _ in model.named_parameters()}


def layer_matrices(model: torch.nn.Module) -> set[str]:
    """Names of the matrices that stand in the layers, those of adapters included."""
    whole = _whole(model)
    layers = f"{family_of(whole.config).modules.layers}."
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() == 2 and (_within_encoder(whole, name) or "").startswith(layers)
    }


def rate_scales(recipe: Recipe, model: torch.nn.Module) -> Mapping[str, float]:
    """Learning rate of each parameter as a multiple of train.lr; names that are left out have 1.

    Layer-wise decay as in Howard and Ruder (2018, section 3.2) and Clark et al. (2020): each layer learns at
    train.layer_decay times the rate of the one above, the head at the full rate. LoRA+: Hayou et al. (2024).
    """
    train, ratio = recipe.train, recipe.lora.plus_ratio
    scales: dict[str, float] = {}
    if train.layer_decay != 1.0 or train.head_lr is not None or train.crf_lr is not None:
        depth = depths(model)
        head = max(depth.values())
        for name, place in depth.items():
            scales[name] = train.layer_decay ** (head - place)
            own = _own_rate(recipe, name) if place == head else None
            if own is not None:
                scales[name] = own / train.lr
    if recipe.tuning == "lora" and ratio != 1.0:
        for name, _ in model.named_parameters():
            if ".lora_B." in name or ".lora_embedding_B." in name:
                scales[name] = scales.get(name, 1.0) * ratio
    return scales


def _own_rate(recipe: Recipe, name: str) -> float | None:
    """Rate of a parameter of the head, where the recipe gives one."""
    train = recipe.train
    if extra_head.NAME in name.split(".") and train.crf_lr is not None:
        return train.crf_lr
    return train.head_lr


def _within_encoder(whole: Any, name: str) -> str | None:
    """The name of a parameter within the encoder's body; None for those of poolers and heads."""
    inner = name.removeprefix("base_model.model.")
    if whole.base_model is not whole:
        prefix = f"{whole.base_model_prefix}."
        if not inner.startswith(prefix):
            return None
        inner = inner.removeprefix(prefix)
    return None if inner.partition(".")[0] in ("pooler", extra_head.NAME) else inner


def _whole(model: torch.nn.Module) -> Any:
    """The transformers model, without adapters around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
