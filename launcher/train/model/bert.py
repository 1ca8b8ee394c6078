"""Packed examples in BERT, RoBERTa, XLM-RoBERTa, CamemBERT and ELECTRA, whose layers are the same."""

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
    layers = encoder.encoder.layer
    for layer in layers:
        teach(layer.attention.self, BertAttention)
    if rows == "first":
        teach(layers[-1].attention, LastBertAttention)
        layers[-1].register_forward_hook(examples_first, with_kwargs=True)


class BertAttention(PackedAttention):
    """BertSelfAttention, and RoBERTa's and ELECTRA's, which are the same."""

    query: nn.Module
    key: nn.Module
    value: nn.Module

    def projections(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.query, self.key, self.value


class LastBertAttention(nn.Module):
    """BertAttention of the last layer: from here on there is one row for each example."""

    self: nn.Module
    output: nn.Module

    def forward(
        self, hidden_states: torch.Tensor, *args: Any, packing: Packing | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, Any]:
        if packing is None:
            stock: tuple[torch.Tensor, Any] = super().forward(hidden_states, *args, **kwargs)
            return stock
        context, _ = self.self(hidden_states, packing=packing, first_only=True)
        return self.output(context, packing.first(hidden_states)), None
