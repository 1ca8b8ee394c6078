"""Teaching a transformers model to read packed micro-batches, in place and without a trace in what it saves.

Some modules of the encoder get a subclass of their own class: given packed inputs they attend within examples, given
ordinary ones they are what they were. No parameter, name or configuration entry changes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from launcher.train.packed.attention import attend
from launcher.train.packed.collate import Collate, Mover, padded_collate
from launcher.train.packed.dropout import use_cheap_dropout
from launcher.train.packed.packing import PackedCollate, Packing
from launcher.train.tasks.base import Rows, Task

READ_FIRST = ("ForSequenceClassification", "ForMultipleChoice")
"""Ends of the names of models whose heads read the first token, or the mean of all, and nothing else."""
PACKED_INPUTS = ("lengths", "cu_seqlens", "selected", "bucket")
COUNTS_FROM_PADDING = ("roberta", "xlm-roberta")
"""Families whose first position is the one behind the padding id."""


def make_collate(
    task: Task, tokenizer: Any, model: nn.Module, device: torch.device
) -> tuple[Collate, str | None]:
    """The collate function for this model, which is adapted to it, and a sentence for the user where it has to pad."""
    config = _transformers_model(model).config
    if enable_packing(model, device, task.rows):
        return packed_collate(task, config, device), None
    if device.type == "cpu":
        use_cheap_dropout(model)
    notice = f"examples are padded to the longest of their micro-batch: there is no unpadded path for {config.model_type}"
    return padded_collate(task, tokenizer, config, device), notice


def packed_collate(task: Task, config: Any, device: torch.device) -> PackedCollate:
    """The collate function of a model that `enable_packing` has adapted."""
    return PackedCollate(
        task=task,
        first_position=config.pad_token_id + 1 if config.model_type in COUNTS_FROM_PADDING else 0,
        type_ids=getattr(config, "type_vocab_size", 0) > 1,
        move=Mover(device),
    )


def enable_packing(model: nn.Module, device: torch.device, rows: Rows = "first") -> bool:
    """Let `model`, or the model inside its adapters, take packed inputs besides ordinary ones; False where it can't.

    With rows='first' its logits are (examples, labels), and the last layer is computed for no more than the head reads;
    with rows='all' they are (1, tokens, labels), with 'selected' (1, selected tokens, labels). Call it after adapters are
    added or before, once or again.
    """
    whole = _transformers_model(model)
    encoder = whole.base_model
    adapt = ADAPTERS.get(whole.config.model_type)
    if adapt is None or encoder is whole or getattr(whole.config, "is_decoder", False):
        return False
    if rows == "first" and not type(whole).__name__.endswith(READ_FIRST):
        return False
    if device.type == "cpu":
        use_cheap_dropout(model)
    if not any(hook is _read_packing for hook in encoder._forward_pre_hooks.values()):
        encoder.register_forward_pre_hook(_read_packing, with_kwargs=True)
        adapt(encoder, rows)
        if rows == "selected":
            encoder.register_forward_hook(_selected_tokens, with_kwargs=True)
    return True


def _transformers_model(model: nn.Module) -> Any:
    """The model without adapters around it."""
    get_base_model = getattr(model, "get_base_model", None)
    return model if get_base_model is None else get_base_model()


def _read_packing(
    encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Before the encoder: turn the packed inputs into the one object that the layers read."""
    if PACKED_INPUTS[0] not in kwargs:
        return None
    rest = {name: value for name, value in kwargs.items() if name not in PACKED_INPUTS}
    rest["packing"] = Packing(
        kwargs["lengths"], kwargs["cu_seqlens"], kwargs.get("selected"), kwargs.get("bucket")
    )
    # DistilBERT's multiple choice gives positions on with a dimension for the choices.
    rest["position_ids"] = kwargs["position_ids"].view(1, -1)
    # Masks that are ready are passed on as they are. Nobody reads these: they keep (tokens, tokens) from being made.
    if encoder.config.model_type == "modernbert":
        rest["attention_mask"] = {"full_attention": None, "sliding_attention": None}
    else:
        rest["attention_mask"] = torch.zeros(1, 1, 1, 1, device=kwargs["cu_seqlens"].device)
    return args, rest


def _examples_first(
    _layer: nn.Module, _args: tuple[Any, ...], kwargs: Mapping[str, Any], output: torch.Tensor
) -> torch.Tensor:
    """After the last layer: (1, examples, width) -> (examples, 1, width), so that heads find a first token in each."""
    return output.transpose(0, 1) if kwargs.get("packing") is not None else output


def _mean_of_examples(
    _encoder: nn.Module, _args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
) -> Any:
    """After the encoder: the mean over each example's tokens, (examples, 1, width)."""
    packing: Packing | None = kwargs.get("packing")
    if packing is not None:
        output.last_hidden_state = packing.mean(output.last_hidden_state)
    return output


def _selected_tokens(
    _encoder: nn.Module, _args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
) -> Any:
    """After the encoder: the rows of the selected tokens, (1, selected, width)."""
    packing: Packing | None = kwargs.get("packing")
    if packing is not None and packing.selected is not None:
        output.last_hidden_state = output.last_hidden_state.index_select(1, packing.selected)
    return output


@functools.cache
def _subclass(behaviour: type, stock: type) -> type:
    return type(f"Packed{stock.__name__}", (behaviour, stock), {"__module__": __name__})


def _teach(module: nn.Module, behaviour: type) -> None:
    module.__class__ = _subclass(behaviour, type(module))  # type: ignore[arg-type]  # classes do have a hash


def _adapt_bert(encoder: Any, rows: Rows) -> None:
    layers = encoder.encoder.layer
    for layer in layers:
        _teach(layer.attention.self, BertAttention)
    if rows == "first":
        _teach(layers[-1].attention, LastBertAttention)
        layers[-1].register_forward_hook(_examples_first, with_kwargs=True)


def _adapt_distilbert(encoder: Any, rows: Rows) -> None:
    layers = encoder.transformer.layer
    for layer in layers:
        _teach(layer.attention, DistilBertAttention)
    if rows == "first":
        _teach(layers[-1], LastDistilBertLayer)
        layers[-1].register_forward_hook(_examples_first, with_kwargs=True)


def _adapt_modernbert(encoder: Any, rows: Rows) -> None:
    for layer in encoder.layers:
        _teach(layer.attn, ModernBertAttention)
    if rows == "first" and encoder.config.classifier_pooling == "mean":
        encoder.register_forward_hook(_mean_of_examples, with_kwargs=True)
    elif rows == "first":
        _teach(encoder.layers[-1], LastModernBertLayer)
        encoder.layers[-1].register_forward_hook(_examples_first, with_kwargs=True)


ADAPTERS = {
    "bert": _adapt_bert,
    "roberta": _adapt_bert,
    "xlm-roberta": _adapt_bert,
    "electra": _adapt_bert,
    "distilbert": _adapt_distilbert,
    "modernbert": _adapt_modernbert,
}


def _cast_once(hidden: torch.Tensor) -> torch.Tensor:
    """Under autocast, the type that all three projections would each cast to."""
    kind = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else hidden


def _by_head(projected: torch.Tensor, width: int) -> torch.Tensor:
    """(1, rows, heads * width) -> (rows, heads, width)."""
    return projected.view(projected.shape[1], -1, width)


class BertAttention(nn.Module):
    """BertSelfAttention, and RoBERTa's and ELECTRA's, which are the same."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
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
        hidden = _cast_once(hidden_states)
        size = self.attention_head_size
        context = attend(
            _by_head(self.query(packing.first(hidden) if first_only else hidden), size),
            _by_head(self.key(hidden), size),
            _by_head(self.value(hidden), size),
            packing,
            scale=size**-0.5,
            dropout=self.dropout.p if self.training else 0.0,
            first_only=first_only,
        )
        return context.view(1, len(context), -1), None


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
        hidden = _cast_once(hidden_states)
        size = self.attention_head_size
        context = attend(
            _by_head(self.q_lin(packing.first(hidden) if first_only else hidden), size),
            _by_head(self.k_lin(hidden), size),
            _by_head(self.v_lin(hidden), size),
            packing,
            scale=size**-0.5,
            dropout=self.dropout.p if self.training else 0.0,
            first_only=first_only,
        )
        return self.out_lin(context.view(1, len(context), -1)), None


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
