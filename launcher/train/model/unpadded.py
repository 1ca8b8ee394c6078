"""Teaching a transformers model to read packed micro-batches, in place and without a trace in what it saves.

Some modules of the encoder get a subclass of their own class: given packed inputs they attend within examples, given
ordinary ones they are what they were. No parameter, name or configuration entry changes.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from launcher.families import FAMILIES, find
from launcher.tasks.shared.base import Rows
from launcher.train.model.family import family_of
from launcher.train.packed.collate import Collate, padded_collate
from launcher.train.packed.dropout import use_cheap_dropout
from launcher.train.packed.in_place import PACKED_INPUTS, PassesPackedInputs, selected_tokens, teach
from launcher.train.packed.packing import PackedCollate, Packing
from launcher.train.tasks.base import Task
from launcher.train.tokens.mover import Mover

READ_FIRST = ("ForSequenceClassification", "ForMultipleChoice")
"""Ends of the names of models whose heads read the first token, or the mean of all, and nothing else."""


def make_collate(
    task: Task, tokenizer: Any, model: nn.Module, device: torch.device
) -> tuple[Collate, str | None]:
    """The collate function for this model, which is adapted to it, and a sentence for the user where it has to pad."""
    config = _transformers_model(model).config
    if enable_packing(model, device, task.spec.reads):
        return packed_collate(task, config, device), None
    if device.type == "cpu":
        use_cheap_dropout(model)
    notice = f"examples are padded to the longest of their micro-batch: there is no unpadded path for {config.model_type}"
    return padded_collate(task, tokenizer, config, device), notice


def packed_collate(task: Task, config: Any, device: torch.device) -> PackedCollate:
    """The collate function of a model that `enable_packing` has adapted."""
    return PackedCollate(
        task=task,
        first_position=family_of(config).first_position(config.pad_token_id),
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
    kind = whole.config.model_type  # a teacher may be of a family that can't be trained
    family = find(kind) if kind in FAMILIES else None
    packed_by = None if family is None else family.packed_by
    if family is None or packed_by is None or getattr(whole.config, "is_decoder", False):
        return False
    if rows == "first" and not type(whole).__name__.endswith(READ_FIRST):
        return False
    if device.type == "cpu":
        use_cheap_dropout(model)
    if not getattr(encoder, "reads_packed_inputs", False):
        encoder.reads_packed_inputs = True
        encoder.register_forward_pre_hook(_read_packing, with_kwargs=True)
        _code(packed_by).adapt(encoder, rows)
        if family.heads_drop_inputs:
            teach(whole, PassesPackedInputs)
        if rows == "selected":
            encoder.register_forward_hook(selected_tokens, with_kwargs=True)
    return True


def _code(name: str) -> Any:
    """The module with a family's packed layers."""
    return importlib.import_module(f"launcher.train.model.{name}")


def _transformers_model(model: nn.Module) -> Any:
    """The model without adapters around it."""
    get_base_model = getattr(model, "get_base_model", None)
    return model if get_base_model is None else get_base_model()


def _read_packing(
    encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Before the encoder: turn the packed inputs into the one object that the layers read."""
    given = {**kwargs, **vars(encoder).pop("packed_inputs", {})}
    if PACKED_INPUTS[0] not in given:
        return None
    rest = {name: value for name, value in given.items() if name not in PACKED_INPUTS}
    packing = Packing(given["lengths"], given["cu_seqlens"], given.get("selected"), given.get("bucket"))
    rest["packing"] = packing
    # Some models' multiple choice gives positions on with a dimension for the choices.
    rest["position_ids"] = kwargs["position_ids"].view(1, -1)
    packed_by = family_of(encoder.config).packed_by
    rest["attention_mask"] = _code(str(packed_by)).ready_mask(packing)
    return args, rest
