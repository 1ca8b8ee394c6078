"""Packed examples in DistilBERT."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from launcher.tasks.shared.base import Rows
from launcher.train.packed.in_place import PackedAttention, examples_first, ready_mask, teach
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


class DistilBertAttention(PackedAttention):
    """DistilBertSelfAttention."""

    q_lin: nn.Module
    k_lin: nn.Module
    v_lin: nn.Module
    out_lin: nn.Module

    def projections(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.q_lin, self.k_lin, self.v_lin

    def finished(self, context: torch.Tensor) -> torch.Tensor:
        finished: torch.Tensor = self.out_lin(context)
        return finished


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
