"""Packed examples in ModernBERT."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from launcher.tasks.shared.base import Rows
from launcher.train.packed.attention import attend
from launcher.train.packed.in_place import examples_first, mean_of_examples, teach
from launcher.train.packed.packing import Packing


def adapt(encoder: Any, rows: Rows) -> None:
    """Let an encoder read packed examples, for heads that read these rows."""
    for layer in encoder.layers:
        teach(layer.attn, ModernBertAttention)
    if rows == "first" and encoder.config.classifier_pooling == "mean":
        encoder.register_forward_hook(mean_of_examples, with_kwargs=True)
    elif rows == "first":
        teach(encoder.layers[-1], LastModernBertLayer)
        encoder.layers[-1].register_forward_hook(examples_first, with_kwargs=True)


def ready_mask(_packing: Packing) -> dict[str, None]:
    """Masks that the encoder passes on as they are and nobody reads: they keep (tokens, tokens) from being made."""
    return {"full_attention": None, "sliding_attention": None}


class ModernBertAttention(nn.Module):
    """ModernBertAttention: rotary positions, and a local window in most layers."""

    config: Any
    Wqkv: nn.Module
    Wo: nn.Module
    out_drop: nn.Module
    head_dim: int
    attention_dropout: float
    sliding_window: int | None

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        *args: Any,
        packing: Packing | None = None,
        first_only: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, Any]:
        if packing is None:
            stock: tuple[torch.Tensor, Any] = super().forward(
                hidden_states, position_embeddings, *args, **kwargs
            )
            return stock
        assert position_embeddings is not None
        qkv = self.Wqkv(hidden_states)
        query, key, value = qkv.view(qkv.shape[1], 3, -1, self.head_dim).unbind(1)
        if first_only:
            query = query.index_select(0, packing.first_rows)
        context = attend(
            _rotate(query, position_embeddings, packing.first_rows if first_only else None),
            _rotate(key, position_embeddings, None),
            value,
            packing,
            scale=self.head_dim**-0.5,
            dropout=self.attention_dropout if self.training else 0.0,
            window=None if self.sliding_window is None else self.config.sliding_window,
            first_only=first_only,
        )
        return self.out_drop(self.Wo(context.view(1, len(context), -1))), None


class LastModernBertLayer(nn.Module):
    """ModernBertEncoderLayer, the last one."""

    attn_norm: nn.Module
    attn: nn.Module
    mlp_norm: nn.Module
    mlp: nn.Module

    def forward(
        self, hidden_states: torch.Tensor, *args: Any, packing: Packing | None = None, **kwargs: Any
    ) -> torch.Tensor:
        if packing is None:
            stock: torch.Tensor = super().forward(hidden_states, *args, **kwargs)
            return stock
        attended, _ = self.attn(
            self.attn_norm(hidden_states), kwargs["position_embeddings"], packing=packing, first_only=True
        )
        hidden = packing.first(hidden_states) + attended
        output: torch.Tensor = hidden + self.mlp(self.mlp_norm(hidden))
        return output


def _rotate(
    tensor: torch.Tensor, positions: tuple[torch.Tensor, torch.Tensor], rows: torch.Tensor | None
) -> torch.Tensor:
    """Rotary positions (Su et al., 2021) in float32; `positions` are cosines and sines of all tokens (1, tokens, width)."""
    cos, sin = (part[0] if rows is None else part[0].index_select(0, rows) for part in positions)
    values = tensor.float()
    left, right = values.chunk(2, dim=-1)
    turned = torch.cat((-right, left), dim=-1)
    return (values * cos[:, None] + turned * sin[:, None]).to(tensor.dtype)
