"""Packed micro-batches compute what padded ones do, example by example, and nothing more."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from launcher.train import dropout as dropout_module
from launcher.train.attention import GroupedAttention, attend
from launcher.train.collate import PaddedCollate
from launcher.train.dropout import CpuDropout, keep_mask, keep_probability
from launcher.train.packing import Packing, group_by_length
from launcher.train.token_cache import TokenSplit
from launcher.train.unpadded import enable_packing, make_collate, packed_collate

CPU = torch.device("cpu")
VOCABULARY, LABELS = 60, 3
BERT_LIKE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", BERT_LIKE),
    "roberta": ("roberta", {**BERT_LIKE, "type_vocab_size": 1, "max_position_embeddings": 130}),
    "xlm-roberta": ("xlm-roberta", {**BERT_LIKE, "type_vocab_size": 1, "max_position_embeddings": 130}),
    "electra": ("electra", {**BERT_LIKE, "embedding_size": 16}),
    "distilbert": ("distilbert", {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}),
    "modernbert": ("modernbert", {**BERT_LIKE, "num_hidden_layers": 4, "local_attention": 8}),
    "modernbert, mean": (
        "modernbert",
        {**BERT_LIKE, "num_hidden_layers": 4, "local_attention": 8, "classifier_pooling": "mean"},
    ),
    "modernbert, local last": (
        "modernbert",
        {**BERT_LIKE, "num_hidden_layers": 3, "local_attention": 8},
    ),
}
NO_DROPOUT = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "distilbert": {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0},
    "modernbert": {},
}
LENGTHS = {
    "mixed": [9, 3, 25, 14, 3, 40, 9, 17],
    "longest first": [40, 25, 17, 14, 9, 9, 3, 3],
    "one length": [7, 7, 7, 7],
    "single tokens": [1, 1, 5, 1],
    "one example": [11],
    "beyond rounding": [100, 64, 65, 2],
}

all_models = pytest.mark.parametrize("name", MODELS)


def make_model(name: str, seed: int = 0, **options: Any) -> Any:
    """A tiny model of random weights, without dropout unless the options say so."""
    kind, shape = MODELS[name]
    special = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    none = NO_DROPOUT.get(kind, NO_DROPOUT["bert"])
    config = AutoConfig.for_model(
        kind, vocab_size=VOCABULARY, num_labels=LABELS, initializer_range=0.3, **{**special, **none, **shape, **options}
    )
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def make_split(lengths: list[int], seed: int = 0, pairs: bool = True) -> TokenSplit:
    """Examples of these lengths; the second half of each has token type 1."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenSplit(
        ids=random.integers(4, VOCABULARY, offsets[-1]).astype(np.int32),
        offsets=offsets,
        type_ids=np.concatenate([np.arange(n) >= n // 2 for n in lengths]).astype(np.uint8) if pairs else None,
        labels=np.arange(len(lengths), dtype=np.int64) % LABELS,
    )


def everything(split: TokenSplit) -> Any:
    return np.arange(len(split), dtype=np.int64)


def padded(model: Any, split: TokenSplit) -> Any:
    types = getattr(model.config, "type_vocab_size", 0) > 1
    return PaddedCollate(pad_id=1, multiple=1, type_ids=types, device=CPU)(split, everything(split))


def packed(model: Any, split: TokenSplit) -> Any:
    return packed_collate(model.config, CPU)(split, everything(split))


def loss_and_gradients(model: Any, batch: Any, autocast: bool = False) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """(logits, summed loss, gradient of each trained parameter)."""
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(**batch.inputs).logits
    loss = torch.nn.functional.cross_entropy(logits.float(), batch.labels, reduction="sum")
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return logits.detach(), loss.detach(), gradients


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm().clamp_min(1e-12))


def assert_same(found: Any, expected: Any, tolerance: float) -> None:
    """Compare logits and the whole gradient; parameters without a gradient must agree too."""
    assert found[0].shape == expected[0].shape
    assert relative_error(found[0], expected[0]) <= tolerance
    assert found[2].keys() == expected[2].keys()
    flat = [torch.cat([g[2][name].flatten() for name in sorted(expected[2])]) for g in (found, expected)]
    assert relative_error(*flat) <= tolerance


@all_models
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_logits_and_gradients_are_those_of_the_padded_model(name, lengths):
    model = make_model(name).train()
    split = make_split(lengths)
    expected = loss_and_gradients(model, padded(model, split))
    assert enable_packing(model, CPU)
    assert_same(loss_and_gradients(model, packed(model, split)), expected, 1e-5)


@all_models
def test_bf16_stays_within_two_percent_of_the_padded_model(name):
    model = make_model(name).train()
    split = make_split(LENGTHS["mixed"])
    exact = loss_and_gradients(model, padded(model, split))
    enable_packing(model, CPU)
    assert_same(loss_and_gradients(model, packed(model, split), autocast=True), exact, 2e-2)
