"""The parts of an encoder that can be weighed and cut, at the places that its family names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from launcher.train.model.family import family_of


@dataclass(frozen=True)
class Layer:
    """The modules of one transformer layer that read from its heads and neurons."""

    out: torch.nn.Linear
    """Reads the heads, side by side."""
    down: torch.nn.Linear
    """Reads the feed-forward neurons."""


@dataclass(frozen=True)
class Kept:
    """What stays of an encoder: indices into the old one, ascending."""

    layers: Sequence[int]
    heads: Sequence[torch.Tensor]
    """For each layer of the old encoder, its heads that stay: the same number in all."""
    neurons: Sequence[torch.Tensor]
    hidden: torch.Tensor


def layers_of(model: Any) -> list[Layer]:
    """Each layer's modules that read from heads and neurons, the lowest first."""
    names = family_of(model.config).modules
    return [
        Layer(layer.get_submodule(names.attention_out), layer.get_submodule(names.down))
        for layer in model.base_model.get_submodule(names.layers)
    ]


def norms_of(model: Any) -> list[torch.nn.Module]:
    """The norms that write the hidden states which layers and heads read."""
    names = family_of(model.config).modules
    found = [model.base_model.get_submodule(names.embeddings_norm)]
    if found[0].weight.shape[0] != model.config.hidden_size:  # a narrower embedding is projected
        found = []
    for layer in model.base_model.get_submodule(names.layers):
        found += [layer.get_submodule(name) for name in names.norms]
    return found


def head_count(config: Any) -> int:
    """Attention heads of each layer."""
    return int(getattr(config, family_of(config).keys.heads))
