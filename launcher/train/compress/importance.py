"""How much the loss depends on each attention head, feed-forward neuron and hidden dimension of a trained encoder.

A part is multiplied by a gate of 1, and the absolute derivative of the loss by that gate, averaged over examples, is its
importance: Michel et al., 2019 (arXiv:1905.10650) for heads, the first-order term of Molchanov et al., 2017
(arXiv:1611.06440) for neurons. The derivative by a gate is the sum of weight times gradient over the weights that read
from the part, so that no gate has to be put into the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.train.model.parts import head_count, layers_of, norms_of
from launcher.train.packed.collate import Collate
from launcher.train.tasks import Task
from launcher.train.tokens.cache import TokenSplit


@dataclass
class Importance:
    """Mean absolute derivatives of the loss of one example by gates."""

    heads: torch.Tensor
    """(layers, heads)"""
    neurons: torch.Tensor
    """(layers, feed-forward width)"""
    hidden: torch.Tensor
    """(hidden width,): one gate on all that is added to the same dimension"""

    @property
    def layers(self) -> torch.Tensor:
        """(layers,): both branches of a layer together."""
        return self.heads.sum(1) + self.neurons.sum(1)


def measure(
    model: Any, task: Task, collate: Collate, split: TokenSplit, examples: NDArray[np.int64]
) -> Importance:
    """Importance on these examples, one after another, without dropout; gradients are left at None."""
    layers = layers_of(model)
    found = Importance(
        heads=torch.zeros(len(layers), head_count(model.config)),
        neurons=torch.zeros(len(layers), layers[0].down.in_features),
        hidden=torch.zeros(model.config.hidden_size),
    )
    norms = norms_of(model)
    read: list[torch.Tensor] = [parameter for norm in norms for parameter in norm.parameters()]
    read += [module.weight for layer in layers for module in (layer.out, layer.down)]
    frozen = _only(model, read)
    model.eval()
    for example in examples:
        batch = collate(split, np.array([example]))
        task.loss_sum(model(**batch.inputs), batch).backward()  # type: ignore[no-untyped-call]
        for index, layer in enumerate(layers):
            columns = _reads(layer.out.weight).sum(0)
            found.heads[index] += columns.view(found.heads.shape[1], -1).sum(1).abs().cpu()
            found.neurons[index] += _reads(layer.down.weight).sum(0).abs().cpu()
        found.hidden += sum(_reads(p) for norm in norms for p in norm.parameters()).abs().cpu()  # type: ignore[union-attr]
        model.zero_grad(set_to_none=True)
    for parameter in frozen:
        parameter.requires_grad_(True)
    count = len(examples)
    return Importance(found.heads / count, found.neurons / count, found.hidden / count)


def _only(model: torch.nn.Module, wanted: list[torch.Tensor]) -> list[torch.nn.Parameter]:
    """Ask for gradients of these parameters alone; those that had some before."""
    chosen = {id(parameter) for parameter in wanted}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    for parameter in others:
        parameter.requires_grad_(False)
    return others


def _reads(weight: torch.Tensor) -> torch.Tensor:
    """Weight times gradient."""
    assert weight.grad is not None
    return weight.detach() * weight.grad
