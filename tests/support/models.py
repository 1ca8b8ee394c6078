"""Tiny models of every family, without files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from launcher.families import shape_from_config
from launcher.families.shared.base import resolve_lora_targets
from launcher.recipe.recipe import Recipe
from launcher.train.compat.expected_warnings import without_expected_warnings
from launcher.train.model.build import BuiltModel, build_model
from launcher.train.tasks import get_task

NAMES = ("bad", "fair", "good")


def small_model(
    family: str, *, layers: int = 2, labels: int = 3, lora: Mapping[str, Any] | None = None
) -> torch.nn.Module:
    """A classifier of width 32 with random weights; with `lora`, adapters on its attention and a trained head."""
    config = small_config(family, layers=layers, labels=labels)
    torch.manual_seed(0)
    model: torch.nn.Module = AutoModelForSequenceClassification.from_config(config)
    if lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    targets = list(resolve_lora_targets(shape_from_config(config.to_dict(), family), None))
    with without_expected_warnings():
        return get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=targets, **lora))


def small_config(family: str, *, layers: int = 2, labels: int = 3) -> Any:
    """Its configuration."""
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
    elif family in ("electra", "albert"):
        shape["embedding_size"] = 16
    elif family == "deberta-v2":
        relative = {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"}
        shape |= relative | {"pos_att_type": ["p2c", "c2p"], "pooler_hidden_size": 32}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    return AutoConfig.for_model(family, num_labels=labels, **shape, **special)


def pretrained(family: str, directory: Path, *, layers: int = 2) -> Path:
    """A directory with the bare encoder of a family, as one has it from the hub, without a tokenizer."""
    torch.manual_seed(7)
    AutoModel.from_config(small_config(family, layers=layers)).save_pretrained(directory)
    return directory


class NoTokenizer:
    """Stands in for a tokenizer where only weights matter."""

    def save_pretrained(self, directory: Path) -> None:
        """Write nothing."""


def inputs() -> dict[str, torch.Tensor]:
    """Four sequences for any of the models, two of them padded."""
    ids = torch.tensor([[1, 5, 6, 7, 2], [1, 8, 9, 10, 2], [1, 11, 2, 0, 0], [1, 12, 13, 2, 0]])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def build_classifier(wanted: Recipe) -> BuiltModel:
    """The model that a recipe asks for, for three classes."""
    return build_model(wanted, get_task(wanted), NAMES, NoTokenizer())


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    """Of `inputs`, without dropout."""
    found: torch.Tensor = model.eval()(**inputs()).logits
    return found
