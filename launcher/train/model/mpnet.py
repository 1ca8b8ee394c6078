"""Packed examples in MPNet, whose layers all add the same number to a score, by how far apart its two tokens are."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.mpnet import modeling_mpnet

from launcher.tasks.shared.base import Rows
from launcher.train.packed.in_place import by_head, cast_once, ready_mask, teach
from launcher.train.packed.packing import Packing
from launcher.train.packed.relative_attention import attend_relative
from launcher.train.tokens.mover import Mover

__all__ = ["adapt", "ready_mask"]


def adapt(encoder: Any, rows: Rows) -> None:
    """Let an encoder read packed examples, for heads that read these rows."""
    body = encoder.encoder
    body.reads_first = rows == "first"
    encoder.register_forward_pre_hook(_hand_down, with_kwargs=True)
    teach(body, MPNetLayers)
    for layer in body.layer:
        teach(layer.attention.attn, MPNetAttention)
    if rows == "first":
        teach(body.layer[-1].attention, LastMPNetAttention)


def _hand_down(encoder: Any, _args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Before the encoder, which gives its layers nothing that it doesn't know."""
    encoder.encoder.packing = kwargs.get("packing")


@functools.lru_cache(maxsize=256)
def buckets(widest: int, device: torch.device) -> torch.Tensor:
    """(2 * widest - 1,) the bucket of each difference of the query's place and the key's, from the largest down."""
    # There are 32 of them, whatever the configuration says.
    bucket: Any = modeling_mpnet.MPNetEncoder.relative_position_bucket
    return Mover(device)(bucket(torch.arange(1 - widest, widest)).numpy())


class MPNetLayers(nn.Module):
    """MPNetEncoder."""

    layer: nn.ModuleList
    relative_attention_bias: nn.Module
    reads_first: bool
    packing: Packing | None

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        packing, self.packing = self.packing, None
        if packing is None:
            return super().forward(hidden_states, *args, **kwargs)
        biases = self.relative_attention_bias(buckets(packing.widest, hidden_states.device))
        for layer in self.layer:
            (hidden_states,) = layer(hidden_states, packing, biases)
        return BaseModelOutput(hidden_states.transpose(0, 1) if self.reads_first else hidden_states)


class MPNetAttention(nn.Module):
    """MPNetSelfAttention, which projects its output, too."""

    q: nn.Module
    k: nn.Module
    v: nn.Module
    o: nn.Module
    dropout: nn.Dropout
    attention_head_size: int

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Any = None,
        position_bias: torch.Tensor | None = None,
        *args: Any,
        first_only: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, ...]:
        if not isinstance(attention_mask, Packing):
            stock: tuple[torch.Tensor, ...] = super().forward(
                hidden_states, attention_mask, position_bias, *args, **kwargs
            )
            return stock
        hidden, width = cast_once(hidden_states), self.attention_head_size
        context = attend_relative(
            by_head(self.q(attention_mask.first(hidden) if first_only else hidden), width),
            by_head(self.k(hidden), width),
            by_head(self.v(hidden), width),
            attention_mask,
            distance_biases=position_bias,
            scale=width**-0.5,
            dropout=self.dropout.p if self.training else 0.0,
            first_only=first_only,
        )
        return (self.o(context.view(1, len(context), -1)),)


class LastMPNetAttention(nn.Module):
    """transformers' MPNetAttention in the last layer: from here on there is one row for each example."""

    attn: nn.Module
    LayerNorm: nn.Module
    dropout: nn.Module

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: Any = None, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, ...]:
        if not isinstance(attention_mask, Packing):
            stock: tuple[torch.Tensor, ...] = super().forward(hidden_states, attention_mask, *args, **kwargs)
            return stock
        (projected,) = self.attn(hidden_states, attention_mask, *args, first_only=True, **kwargs)
        return (self.LayerNorm(self.dropout(projected) + attention_mask.first(hidden_states)),)
