"""Packed examples in DistilBERT."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from launcher.tasks.shared.base import Rows
from launcher.train.packed.in_place import attention_of, examples_first, ready_mask, teach
from launcher.train.packed.packing import Packing

__all__ = ["adapt", "ready_mask"]


def adapt(encoder: Any, rows: Rows) -> None:
    """Let an encoder read packed examples, for heads that read these rows."""
    layers = encoder.transformer.layer
    for layer in layers:
        teach(layer.attention, DistilBertAttention)
    if rows == "first":
        teach(layers[-1], LastDistilBertLayer)
        layers[-1].register_forward_hook(examples_first, with_kwargs=True)


class DistilBertAttention(nn.Module):
    """DistilBertSelfAttention."""

    q_lin: nn.Module
    k_lin: nn.Module
    v_lin: nn.Module
    out_lin: nn.Module
    dropout: nn.Dropout
    attention_head_size: int

    def forward(
        self,
        hidden_states: torch.Tensor,
        *args: Any,
        packing: Packing | None = None,
        first_only: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, Any]:
        if packing is None:
            stock: tuple[torch.Tensor, Any] = super().forward(hidden_states, *args, **kwargs)
            return stock
        projections = (self.q_lin, self.k_lin, self.v_lin)
        dropout = self.dropout.p if self.training else 0.0
        width = self.attention_head_size
        context = attention_of(hidden_states, projections, width, packing, dropout, first_only=first_only)
        return self.out_lin(context), None


class LastDistilBertLayer(nn.Module):
    """TransformerBlock, the last one."""

    attention: nn.Module
    sa_layer_norm: nn.Module
    ffn: nn.Module
    output_layer_norm: nn.Module

    def forward(
        self, hidden_states: torch.Tensor, *args: Any, packing: Packing | None = None, **kwargs: Any
    ) -> torch.Tensor:
        if packing is None:
            stock: torch.Tensor = super().forward(hidden_states, *args, **kwargs)
            return stock
        attended, _ = self.attention(hidden_states, packing=packing, first_only=True)
        attended = self.sa_layer_norm(attended + packing.first(hidden_states))
        output: torch.Tensor = self.output_layer_norm(self.ffn(attended) + attended)
        return output
