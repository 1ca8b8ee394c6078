"""Structural pruning: heads, feed-forward neurons, hidden dimensions and layers are taken out, and what is left is a
smaller model of the same family that plain transformers loads.

The families derive the width of a head from hidden width / heads, and every layer has as many heads as the configuration
says. So each layer loses the same number of heads (its own least important ones), and the hidden width shrinks with them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch

from launcher.families.shared.names import ConfigKeys, Modules
from launcher.recipe.recipe import Recipe
from launcher.train.compress.importance import Importance
from launcher.train.model.family import family_of
from launcher.train.model.parts import Kept, head_count


def choose(importance: Importance, recipe: Recipe) -> Kept:
    """The most important parts, as many as the recipe leaves."""
    prune = recipe.prune
    layers, heads = importance.heads.shape
    staying = max(1, heads - round(prune.heads * heads))
    neurons = max(1, round((1 - prune.ffn) * importance.neurons.shape[1]))
    return Kept(
        layers=_most(importance.layers, max(1, layers - prune.layers)).tolist(),
        heads=[_most(row, staying) for row in importance.heads],
        neurons=[_most(row, neurons) for row in importance.neurons],
        hidden=_most(importance.hidden, len(importance.hidden) * staying // heads),
    )


def shrink(model: Any, kept: Kept) -> Any:
    """A new model of the same class that holds what is kept, its weights copied."""
    family = family_of(model.config)
    smaller = type(model)(_pruned_config(model.config, family.keys, kept))
    weights = model.state_dict()
    state = {}
    for name, tensor in smaller.state_dict().items():
        source = weights[_old_name(name, model, family.modules, kept)].cpu()
        for axis, index in enumerate(_indices(name, source, model, family.modules, kept)):
            source = source if index is None else source.index_select(axis, index)
        assert source.shape == tensor.shape, name
        state[name] = source.contiguous()
    smaller.load_state_dict(state)
    return smaller


def _most(values: torch.Tensor, count: int) -> torch.Tensor:
    """Places of the `count` largest values, ascending."""
    return torch.sort(torch.topk(values, count).indices).values


def _pruned_config(config: Any, keys: ConfigKeys, kept: Kept) -> Any:
    smaller = copy.deepcopy(config)
    sizes = {
        keys.hidden: len(kept.hidden),
        keys.heads: len(kept.heads[0]),
        keys.intermediate: len(kept.neurons[0]),
        keys.layers: len(kept.layers),
    }
    if keys.embedding and getattr(config, keys.embedding) == getattr(config, keys.hidden):
        sizes[keys.embedding] = len(kept.hidden)
    for name, size in sizes.items():
        setattr(smaller, name, size)
    return smaller


def _place(name: str, model: Any, names: Modules) -> tuple[str, int | None, str]:
    """(what stands before the layer's number, the number, what stands behind it); no number outside the layers."""
    prefix = f"{model.base_model_prefix}.{names.layers}."
    if not name.startswith(prefix):
        return name, None, ""
    number, _, rest = name.removeprefix(prefix).partition(".")
    return prefix, int(number), rest


def _old_name(name: str, model: Any, names: Modules, kept: Kept) -> str:
    prefix, number, rest = _place(name, model, names)
    return name if number is None else f"{prefix}{kept.layers[number]}.{rest}"


def _indices(
    name: str, source: torch.Tensor, model: Any, names: Modules, kept: Kept
) -> Iterator[torch.Tensor | None]:
    """For each axis of the old tensor, what stays of it; None where all does."""
    _, number, rest = _place(name, model, names)
    width = model.config.hidden_size
    if number is None:
        yield from _outside_layers(name.removeprefix(f"{model.base_model_prefix}."), source, width, kept)
        return
    old = kept.layers[number]
    module = rest.rpartition(".")[0]
    heads = _columns(kept.heads[old], width // head_count(model.config))
    axes = {
        **dict.fromkeys(names.attention_in, (heads, kept.hidden)),
        names.attention_out: (kept.hidden, heads),
        names.up: (kept.neurons[old], kept.hidden),
        names.down: (kept.hidden, kept.neurons[old]),
    }.get(module, (kept.hidden,))
    yield from axes[: source.dim()]


def _outside_layers(
    inside: str, source: torch.Tensor, width: int, kept: Kept
) -> Iterator[torch.Tensor | None]:
    """Embeddings hold the hidden dimension last; poolers and heads hold it wherever an axis has its width."""
    for axis, size in enumerate(source.shape):
        last = axis == source.dim() - 1
        yield kept.hidden if size == width and (last or not inside.startswith("embeddings.")) else None


def _columns(heads: torch.Tensor, size: int) -> torch.Tensor:
    """Dimensions of these heads, each `size` wide."""
    return (heads[:, None] * size + torch.arange(size)).flatten()
