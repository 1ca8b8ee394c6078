"""Packed examples in DeBERTa-v2 and v3."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from launcher.tasks.shared.base import Rows
from launcher.train.packed.in_place import by_head, cast_once, teach
from launcher.train.packed.packing import Packing
from launcher.train.packed.relative_attention import attend_relative
from launcher.train.tokens.mover import Mover

PART_OF = {"query": "p2c", "key": "c2p"}
"""What a score has the queries of positions for, and what their keys."""


def adapt(encoder: Any, rows: Rows) -> None:
    """Let an encoder read packed examples, for heads that read these rows."""
    body = encoder.encoder
    body.reads_first = rows == "first"
    teach(encoder.embeddings, DebertaEmbeddings)
    teach(body, DebertaLayers)
    for layer in body.layer:
        teach(layer.attention.self, DisentangledAttention)
    if body.conv is not None:
        teach(body.conv, DebertaConvolution)


def ready_mask(packing: Packing) -> Packing:
    """What stands in the place of a mask: this family hands nothing else down to its layers."""
    return packing


@dataclass(frozen=True)
class Distances:
    """The relative positions that occur in a micro-batch."""

    rows: torch.Tensor
    """Those rows of the table of positions, one after another."""
    place: torch.Tensor
    """(2 * widest - 1,) which of `rows` belongs to each distance, from the largest down to its negative."""


@functools.lru_cache(maxsize=256)
def distances(widest: int, buckets: int, farthest: int, span: int, device: torch.device) -> Distances:
    """The distances within `widest` places, beyond half of the `buckets` in logarithmic ones (none where negative)."""
    places = torch.arange(widest - 1, -widest, -1)
    if buckets > 0 and farthest > 0:
        places = make_log_bucket_position(places, buckets, farthest).long()
    found = (places + span).clamp(0, 2 * span - 1).numpy()
    least, move = found[-1], Mover(device)
    return Distances(move(np.arange(least, found[0] + 1)), move(found - least))


class DebertaEmbeddings(nn.Module):
    """DebertaV2Embeddings, which multiplies with the mask."""

    def forward(self, *args: Any, mask: Any = None, **kwargs: Any) -> torch.Tensor:
        mask = None if isinstance(mask, Packing) else mask
        embedded: torch.Tensor = super().forward(*args, mask=mask, **kwargs)
        return embedded


class DebertaLayers(nn.Module):
    """DebertaV2Encoder."""

    layer: nn.ModuleList
    conv: nn.Module | None
    rel_embeddings: nn.Module
    LayerNorm: nn.Module
    relative_attention: bool
    position_buckets: int
    max_relative_positions: int
    norm_rel_ebd: list[str]
    reads_first: bool

    def forward(self, hidden_states: torch.Tensor, attention_mask: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(attention_mask, Packing):
            return super().forward(hidden_states, attention_mask, *args, **kwargs)
        packing, hidden = attention_mask, hidden_states
        near, positions = self._positions(packing)
        for number, layer in enumerate(self.layer, 1):
            # The convolution, which follows the first layer, reads all of its tokens.
            first_only = self.reads_first and number == len(self.layer) and not (self.conv and number == 1)
            hidden, _ = layer(
                hidden,
                packing,
                query_states=packing.first(hidden) if first_only else None,
                relative_pos=near,
                rel_embeddings=positions,
            )
            if number == 1 and self.conv is not None:
                hidden = self.conv(hidden_states, hidden, packing)
        if self.reads_first:
            hidden = (hidden if first_only else packing.first(hidden)).transpose(0, 1)
        return BaseModelOutput(last_hidden_state=hidden, hidden_states=(hidden,))

    def _positions(self, packing: Packing) -> tuple[Distances | None, torch.Tensor | None]:
        """The distances that occur, and the embeddings of their relative positions (positions, width)."""
        if not self.relative_attention:
            return None, None
        span = self.position_buckets if self.position_buckets > 0 else self.max_relative_positions
        near = distances(
            packing.widest,
            self.position_buckets,
            self.max_relative_positions,
            span,
            packing.cu_seqlens.device,
        )
        embedded = self.rel_embeddings(near.rows)
        return near, self.LayerNorm(embedded) if "layer_norm" in self.norm_rel_ebd else embedded


class DisentangledAttention(nn.Module):
    """DisentangledSelfAttention: content to content, content to position and position to content."""

    query_proj: nn.Module
    key_proj: nn.Module
    value_proj: nn.Module
    pos_key_proj: nn.Module
    pos_query_proj: nn.Module
    dropout: nn.Dropout
    pos_dropout: nn.Module
    attention_head_size: int
    pos_att_type: list[str]
    share_att_key: bool

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Any,
        *args: Any,
        query_states: torch.Tensor | None = None,
        relative_pos: Any = None,
        rel_embeddings: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, Any]:
        if not isinstance(attention_mask, Packing):
            stock: tuple[torch.Tensor, Any] = super().forward(
                hidden_states,
                attention_mask,
                *args,
                query_states=query_states,
                relative_pos=relative_pos,
                rel_embeddings=rel_embeddings,
                **kwargs,
            )
            return stock
        hidden = cast_once(hidden_states)
        queries = hidden if query_states is None else cast_once(query_states)
        positions = None if rel_embeddings is None else cast_once(self.pos_dropout(rel_embeddings)[None])
        query, of_query = self._projected("query", queries, positions)
        key, of_key = self._projected("key", hidden, positions)
        context = attend_relative(
            by_head(query, self.attention_head_size),
            by_head(key, self.attention_head_size),
            by_head(self.value_proj(hidden), self.attention_head_size),
            attention_mask,
            distance_keys=self._by_distance(of_key, relative_pos),
            distance_queries=self._by_distance(of_query, relative_pos),
            scale=(self.attention_head_size * (1 + len({*PART_OF.values()} & {*self.pos_att_type}))) ** -0.5,
            dropout=self.dropout.p if self.training else 0.0,
            first_only=query_states is not None,
        )
        return context.view(1, len(context), -1), None

    def _projected(
        self, side: str, tokens: torch.Tensor, positions: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Queries or keys of tokens, and those of positions where they are part of the scores."""
        project = getattr(self, f"{side}_proj")
        if positions is None or PART_OF[side] not in self.pos_att_type:
            return project(tokens), None
        if not self.share_att_key:
            return project(tokens), getattr(self, f"pos_{side}_proj")(positions)
        both = project(torch.cat([tokens, positions], 1))
        first, second = both.split([tokens.shape[1], positions.shape[1]], 1)
        return first, second

    def _by_distance(self, positions: torch.Tensor | None, near: Distances | None) -> torch.Tensor | None:
        """(1, positions, all heads) -> (2 * widest - 1, heads, width)."""
        if positions is None or near is None:
            return None
        return by_head(positions, self.attention_head_size).index_select(0, near.place)


class DebertaConvolution(nn.Module):
    """ConvLayer, which mixes neighbours: those of an example with one another."""

    conv: nn.Conv1d
    dropout: nn.Module
    LayerNorm: nn.Module
    conv_act: str

    def forward(self, hidden_states: torch.Tensor, residual_states: torch.Tensor, input_mask: Any) -> Any:
        if not isinstance(input_mask, Packing):
            return super().forward(hidden_states, residual_states, input_mask)
        apart, places = input_mask.apart(hidden_states, self.conv.kernel_size[0] // 2)
        mixed = self.conv(apart.transpose(1, 2))[:, :, places].transpose(1, 2)
        mixed = ACT2FN[self.conv_act](self.dropout(mixed))
        return self.LayerNorm(residual_states + mixed)
