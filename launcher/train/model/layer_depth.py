"""How deep in the model a parameter lies: what layer-wise learning rates and freezing go by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from launcher.recipe.recipe import Recipe
from launcher.train.model import extra_head

LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
EMBEDDINGS = re.compile(r"(?:^|\.)(?:embeddings|embeddings_project|rel_embeddings|encoder\.LayerNorm)\.")
"""Modules below the first layer; DeBERTa's `encoder.LayerNorm` normalises its relative positions."""


def depths(model: torch.nn.Module) -> dict[str, int]:
    """Depth of each parameter by its name: 0 the embeddings, 1 to L the layers, L + 1 the head."""
    prefix = f"{_whole(model).base_model_prefix}."
    names = [name for name, _ in model.named_parameters()]
    inner = {name: name.removeprefix("base_model.model.") for name in names}
    encoder = {name for name in names if inner[name].startswith(prefix) and ".pooler." not in inner[name]}
    layer = {name: int(found[1]) + 1 for name in encoder if (found := LAYER.search(inner[name]))}
    top = max(layer.values(), default=0)

    def depth(name: str) -> int:
        if name not in encoder:
            return top + 1
        if EMBEDDINGS.search(inner[name]):
            return 0
        return layer.get(name, top)  # a norm behind the last layer

    return {name: depth(name) for name in names}


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


def _whole(model: torch.nn.Module) -> Any:
    """The transformers model, without adapters around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
