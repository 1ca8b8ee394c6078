"""What the families' packed layers share: changing a module's behaviour in place, and hooks around layers and encoder."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from launcher.train.packed.attention import attend
from launcher.train.packed.packing import Packing


def teach(module: nn.Module, behaviour: type) -> None:
    """Give a module a subclass of its own class that has this behaviour first; what it holds stays as it is."""
    module.__class__ = _subclass(behaviour, type(module))  # type: ignore[arg-type]  # classes do have a hash


@functools.cache
def _subclass(behaviour: type, stock: type) -> type:
    """Of the same name, which transformers writes into config.json."""
    return type(stock.__name__, (behaviour, stock), {"__module__": __name__})


PACKED_INPUTS = ("lengths", "cu_seqlens", "selected", "bucket")


class PassesPackedInputs(nn.Module):
    """A model with a head that would give its encoder only what it knows itself: the packed inputs go past it."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        packed = {name: kwargs.pop(name) for name in PACKED_INPUTS if name in kwargs}
        self.base_model.packed_inputs = packed  # type: ignore[union-attr]  # a PreTrainedModel has it
        return super().forward(*args, **kwargs)


def examples_first(
    _layer: nn.Module, _args: tuple[Any, ...], kwargs: Mapping[str, Any], output: torch.Tensor
) -> torch.Tensor:
    """After the last layer: (1, examples, width) -> (examples, 1, width), so that heads find a first token in each."""
    return output.transpose(0, 1) if kwargs.get("packing") is not None else output


def mean_of_examples(
    _encoder: nn.Module, _args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
) -> Any:
    """After the encoder: the mean over each example's tokens, (examples, 1, width)."""
    packing: Packing | None = kwargs.get("packing")
    if packing is not None:
        output.last_hidden_state = packing.mean(output.last_hidden_state)
    return output


def selected_tokens(
    _encoder: nn.Module, _args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
) -> Any:
    """After the encoder: the rows of the selected tokens, (1, selected, width)."""
    packing: Packing | None = kwargs.get("packing")
    if packing is not None and packing.selected is not None:
        output.last_hidden_state = output.last_hidden_state.index_select(1, packing.selected)
    return output


def ready_mask(packing: Packing) -> torch.Tensor:
    """A mask that transformers passes on as it is and nobody reads: it keeps (tokens, tokens) from being made."""
    return torch.zeros(1, 1, 1, 1, device=packing.cu_seqlens.device)


def cast_once(hidden: torch.Tensor) -> torch.Tensor:
    """Under autocast, the type that all three projections would each cast to."""
    kind = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else hidden


def attention_of(
    hidden: torch.Tensor,
    projections: tuple[nn.Module, nn.Module, nn.Module],
    width: int,
    packing: Packing,
    dropout: float,
    *,
    first_only: bool = False,
) -> torch.Tensor:
    """BERT's attention by query, key and value over packed rows (1, tokens, hidden), with heads of this width.

    Returns (1, tokens, hidden), or (1, examples, hidden) where only first tokens ask.
    """
    hidden = cast_once(hidden)
    query, key, value = projections
    context = attend(
        by_head(query(packing.first(hidden) if first_only else hidden), width),
        by_head(key(hidden), width),
        by_head(value(hidden), width),
        packing,
        scale=width**-0.5,
        dropout=dropout,
        first_only=first_only,
    )
    return context.view(1, len(context), -1)


def by_head(projected: torch.Tensor, width: int) -> torch.Tensor:
    """(1, rows, heads * width) -> (rows, heads, width)."""
    return projected.view(projected.shape[1], -1, width)


class PackedAttention(nn.Module):
    """A family's self-attention by query, key and value, to be taught: packed examples apart, others as ever."""

    dropout: nn.Dropout
    attention_head_size: int

    def projections(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        """Those of query, key and value."""
        raise NotImplementedError

    def finished(self, context: torch.Tensor) -> torch.Tensor:
        """What the module makes of what was attended to, (1, rows, hidden)."""
        return context

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
        dropout = self.dropout.p if self.training else 0.0
        width = self.attention_head_size
        context = attention_of(
            hidden_states, self.projections(), width, packing, dropout, first_only=first_only
        )
        return self.finished(context), None
