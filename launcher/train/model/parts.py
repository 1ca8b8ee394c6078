"""Where the parts of an encoder stand in the modules of each family, so that they can be weighed and cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Layer:
    """The modules of one transformer layer that read from its heads and neurons."""

    out: torch.nn.Linear
    """Reads the heads, side by side."""
    down: torch.nn.Linear
    """Reads the feed-forward neurons."""


@dataclass(frozen=True)
class Anatomy:
    """Names within the encoder (`base_model`) of one family."""

    stack: str
    """The list of layers."""
    attention_in: tuple[str, ...]
    """Linear modules of a layer that write the heads."""
    attention_out: str
    up: str
    """Writes the feed-forward neurons."""
    down: str
    attention_norm: str
    output_norm: str
    sizes: tuple[str, str, str, str]
    """Entries of the configuration: hidden width, heads, feed-forward width, layers."""

    def layers(self, model: Any) -> list[Layer]:
        return [
            Layer(layer.get_submodule(self.attention_out), layer.get_submodule(self.down))
            for layer in model.base_model.get_submodule(self.stack)
        ]

    def norms(self, model: Any) -> list[torch.nn.Module]:
        """The norms that write the hidden states which layers and heads read."""
        found = [model.base_model.embeddings.LayerNorm]
        if found[0].weight.shape[0] != model.config.hidden_size:  # a narrower embedding is projected
            found = []
        for layer in model.base_model.get_submodule(self.stack):
            found += [layer.get_submodule(self.attention_norm), layer.get_submodule(self.output_norm)]
        return found

    def head_count(self, config: Any) -> int:
        return int(getattr(config, self.sizes[1]))


BERT = Anatomy(
    stack="encoder.layer",
    attention_in=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_out="attention.output.dense",
    up="intermediate.dense",
    down="output.dense",
    attention_norm="attention.output.LayerNorm",
    output_norm="output.LayerNorm",
    sizes=("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers"),
)
DISTILBERT = Anatomy(
    stack="transformer.layer",
    attention_in=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_out="attention.out_lin",
    up="ffn.lin1",
    down="ffn.lin2",
    attention_norm="sa_layer_norm",
    output_norm="output_layer_norm",
    sizes=("dim", "n_heads", "hidden_dim", "n_layers"),
)
ANATOMIES = {**dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), BERT), "distilbert": DISTILBERT}


@dataclass(frozen=True)
class Kept:
    """What stays of an encoder: indices into the old one, ascending."""

    layers: Sequence[int]
    heads: Sequence[torch.Tensor]
    """For each layer of the old encoder, its heads that stay: the same number in all."""
    neurons: Sequence[torch.Tensor]
    hidden: torch.Tensor
