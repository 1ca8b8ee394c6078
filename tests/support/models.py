"""Tiny models of every family, without files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from launcher.shapes import resolve_lora_targets, shape_from_config
from launcher.train.model import quiet


def small_model(
    family: str, *, layers: int = 2, labels: int = 3, lora: Mapping[str, Any] | None = None
) -> torch.nn.Module:
    """A classifier of width 32 with random weights; with `lora`, adapters on its attention and a trained head."""
    shape: dict[str, Any] = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    }
    if family == "distilbert":
        shape = {"vocab_size": 60, "dim": 32, "n_layers": layers, "n_heads": 2, "hidden_dim": 48}
    elif family == "electra":
        shape["embedding_size"] = 16
    elif family == "deberta-v2":
        relative = {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"}
        shape |= relative | {"pos_att_type": ["p2c", "c2p"], "pooler_hidden_size": 32}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, num_labels=labels, **shape, **special)
    model: torch.nn.Module = AutoModelForSequenceClassification.from_config(config)
    if lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    targets = list(resolve_lora_targets(shape_from_config(config.to_dict(), family), None))
    with quiet():
        return get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=targets, **lora))
