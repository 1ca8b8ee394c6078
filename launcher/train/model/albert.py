"""Packed examples in ALBERT, whose layers are one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from launcher.tasks.shared.base import Rows
from launcher.train.packed.in_place import attention_of, ready_mask, teach
from launcher.train.packed.packing import Packing

__all__ = ["adapt", "ready_mask"]


def adapt(encoder: Any, rows: Rows) -> None:
    """Let an encoder read packed examples, for heads that read these rows."""
    for group in encoder.encoder.albert_layer_groups:
        for layer in group.albert_layers:
            teach(layer.attention, AlbertAttention)
    if rows == "first":
        encoder.encoder.register_forward_hook(_examples_first, with_kwargs=True)


class AlbertAttention(nn.Module):
    """transformers' AlbertAttention."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    dense: nn.Module
    LayerNorm: nn.Module
    attention_dropout: nn.Dropout
    output_dropout: nn.Module
    attention_head_size: int

    def forward(
        self, hidden_states: torch.Tensor, *args: Any, packing: Packing | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, Any]:
        if packing is None:
            stock: tuple[torch.Tensor, Any] = super().forward(hidden_states, *args, **kwargs)
            return stock
        projections = (self.query, self.key, self.value)
        dropout = self.attention_dropout.p if self.training else 0.0
        context = attention_of(hidden_states, projections, self.attention_head_size, packing, dropout)
        projected = self.output_dropout(self.dense(context))
        return self.LayerNorm(hidden_states + projected), None


def _examples_first(
    _layers: nn.Module, _args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
) -> Any:
    """After all layers: the first token of each example, (examples, 1, width).

    The last layer computes all tokens: it is the same module as those below it.
    """
    packing: Packing | None = kwargs.get("packing")
    if packing is not None:
        output.last_hidden_state = packing.first(output.last_hidden_state).transpose(0, 1)
    return output
