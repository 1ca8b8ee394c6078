"""Every kind of head reads packed micro-batches as it reads padded ones: same rows of logits, same loss, same scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoConfig

from launcher.recipe.recipe import Recipe
from launcher.train.model.unpadded import enable_packing, packed_collate
from launcher.train.packed.collate import PaddedCollate
from launcher.train.tasks import get_task
from launcher.train.tasks.base import Task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.mover import Mover

CPU = torch.device("cpu")
VOCABULARY = 60
LENGTHS = [5, 19, 9, 3, 12, 12, 26, 4]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SHAPE,
    "roberta": SHAPE,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    "electra": {**SHAPE, "embedding_size": 32},
    "deberta-v2": {
        **SHAPE, "relative_attention": True, "position_buckets": 8, "max_position_embeddings": 64,
        "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm",
        "position_biased_input": False, "type_vocab_size": 0,
    },
    "albert": {**SHAPE, "embedding_size": 16},
    "mpnet": SHAPE,
    "modernbert": {**SHAPE, "local_attention": 8, "global_attn_every_n_layers": 2},
}  # fmt: skip
NO_DROPOUT = {
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "dropout": 0.0, "attention_dropout": 0.0,
    "qa_dropout": 0.0, "embedding_dropout": 0.0, "mlp_dropout": 0.0, "classifier_dropout": 0.0,
}  # fmt: skip
SPECIAL = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
TASKS = ("masked-lm", "question-answering", "multiple-choice", "token-classification")


class Tokenizer:
    """What masked language modelling asks of one."""

    mask_token, mask_token_id, all_special_ids = "[MASK]", 4, (0, 1, 2, 3, 4)

    def __len__(self) -> int:
        return VOCABULARY


def _task(name: str) -> Task:
    return get_task(Recipe.model_validate({"task": name}), Tokenizer())


def _model(family: str, task: Task) -> Any:
    config = AutoConfig.for_model(
        family, vocab_size=VOCABULARY, **{**NO_DROPOUT, **SPECIAL, **FAMILIES[family]}
    )
    config.initializer_range = 0.3
    torch.manual_seed(0)
    return getattr(transformers, task.auto_class).from_config(config, dtype=torch.float32).eval()


def _split(name: str) -> TokenSplit:
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    tokens = int(offsets[-1])
    marks: Any = np.arange(tokens, dtype=np.int32) % (2 if name == "token-classification" else tokens)
    if name == "question-answering":
        place = np.concatenate([np.arange(n) for n in LENGTHS])
        flags = np.where(place == 1, 1, np.where(place == 2, 2, 0))
        marks = np.stack([place * 3, place * 3 + 2, flags], axis=1).astype(np.int32)
    # Four examples: of one, three, two and two sequences, where the task has several.
    several = (
        np.array([0, 1, 4, 6, 8], np.int64) if name in ("multiple-choice", "question-answering") else None
    )
    return TokenSplit(
        ids=random.integers(5, VOCABULARY, tokens).astype(np.int32),
        offsets=offsets,
        sequences=several,
        marks=None if name == "multiple-choice" else marks,
        labels=np.array([0, 2, 1, 0], np.int64) if name == "multiple-choice" else None,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", TASKS)
def test_loss_and_scores_are_those_of_padded_examples(family: str, name: str) -> None:
    task, split = _task(name), _split(name)
    model = _model(family, task)
    task.recall(model.config)
    examples = np.arange(len(split))
    types = getattr(model.config, "type_vocab_size", 0) > 1
    padded = PaddedCollate(task, pad_id=1, multiple=1, type_ids=types, move=Mover(CPU))(split, examples)
    with torch.no_grad():
        expected = model(**padded.inputs)
    wanted_loss, wanted_scores = task.loss_sum(expected, padded), task.scores(expected, padded)

    assert enable_packing(model, CPU, task.spec.reads)
    packed = packed_collate(task, model.config, CPU)(split, examples)
    assert packed.inputs["input_ids"].shape[-1] == sum(LENGTHS)
    with torch.no_grad():
        output = model(**packed.inputs)
    assert float(wanted_loss) > 0.1
    torch.testing.assert_close(task.loss_sum(output, packed), wanted_loss)
    for ours, theirs in zip(task.scores(output, packed), wanted_scores, strict=True):
        several = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
        for mine, their in several:  # tags and their probabilities
            np.testing.assert_allclose(mine, their, rtol=1e-4, atol=1e-4)


def test_of_a_masked_text_the_head_is_computed_for_the_hidden_words_alone() -> None:
    task, split = _task("masked-lm"), _split("masked-lm")
    model = _model("bert", task)
    enable_packing(model, CPU, task.spec.reads)
    batch = packed_collate(task, model.config, CPU)(split, np.arange(len(split)))
    assert batch.marks is not None
    assert model(**batch.inputs).logits.shape == (1, len(batch.marks), VOCABULARY)
    assert len(batch.marks) < sum(LENGTHS) / 2
