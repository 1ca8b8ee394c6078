"""Attention that reads distances: DeBERTa's and MPNet's packed gradients are the padded model's, parameter by parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification

from launcher.recipe.recipe import Recipe
from launcher.train.model.deberta_v2 import distances
from launcher.train.model.unpadded import enable_packing, packed_collate
from launcher.train.packed.collate import PaddedCollate
from launcher.train.packed.packing import Packing
from launcher.train.packed.relative_attention import attend_relative
from launcher.train.tasks import get_task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.mover import Mover

CPU = torch.device("cpu")
TASK = get_task(Recipe.model_validate({"task": "classification"}))
VOCABULARY = 60
LENGTHS = [9, 3, 25, 14, 1, 40, 70, 17]
V3: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "v3": {},
    "more buckets than tokens": {"position_buckets": 256, "max_position_embeddings": 512},
    "no buckets": {"position_buckets": -1},
    "a limit to distances": {"position_buckets": -1, "max_relative_positions": 10},
    "projections of their own": {"share_att_key": False},
    "content to position": {"pos_att_type": "c2p"},
    "position to content, unshared": {"pos_att_type": "p2c", "share_att_key": False},
    "no distances": {"relative_attention": False},
    "v2": {
        "conv_kernel_size": 3,
        "norm_rel_ebd": "none",
        "position_biased_input": True,
        "type_vocab_size": 2,
    },
    "a wide convolution after the only layer": {
        "conv_kernel_size": 5,
        "conv_act": "gelu",
        "num_hidden_layers": 1,
    },
    "mpnet": {"family": "mpnet"},
}


def make_model(
    auto_class: Any = AutoModelForSequenceClassification, family: str = "deberta-v2", **options: Any
) -> Any:
    settings = {
        "initializer_range": 0.2,
        **V3,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        **options,
    }
    config = AutoConfig.for_model(family, vocab_size=VOCABULARY, pad_token_id=1, num_labels=3, **settings)
    torch.manual_seed(0)
    return auto_class.from_config(config, dtype=torch.float32).train()


def make_split(lengths: list[int]) -> TokenSplit:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenSplit(
        ids=np.random.default_rng(0).integers(4, VOCABULARY, offsets[-1]).astype(np.int32),
        offsets=offsets,
        type_ids=np.concatenate([np.arange(n) >= n // 2 for n in lengths]).astype(np.uint8),
        labels=np.arange(len(lengths), dtype=np.int64) % 3,
    )


def batches(model: Any, split: TokenSplit) -> tuple[Any, Any]:
    """The micro-batch of all examples: padded and packed."""
    everything, types = np.arange(len(split)), model.config.type_vocab_size > 1
    padded = PaddedCollate(TASK, pad_id=1, multiple=1, type_ids=types, move=Mover(CPU))
    return padded(split, everything), packed_collate(TASK, model.config, CPU)(split, everything)


def gradients(model: Any, batch: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    logits = model(**batch.inputs).logits
    torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum").backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_each_parameter_has_the_gradient_of_the_padded_model(options):
    model = make_model(**options)
    padded, packed = batches(model, make_split(LENGTHS))
    expected = gradients(model, padded)
    assert enable_packing(model, CPU)
    found = gradients(model, packed)
    assert found.keys() == expected.keys()
    whole = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        # Some are zero but for rounding: what is added to all scores of a query changes none of its weights.
        allowed = 1e-5 * gradient.norm() + 1e-7 * whole
        assert (found[name] - gradient).norm() <= allowed, name


def test_every_other_head_of_the_family_is_packed_too():
    """Version 3's own head for hidden words reads the table of words, where version 2's has an output layer."""
    split = make_split(LENGTHS)
    for legacy in (True, False):
        model = make_model(AutoModelForMaskedLM, legacy=legacy).eval()
        padded, packed = batches(model, split)
        with torch.no_grad():
            table = model(**padded.inputs).logits
            assert enable_packing(model, CPU, rows="all")
            row = model(**packed.inputs).logits
        expected = torch.cat([table[i, :n] for i, n in enumerate(LENGTHS)])
        torch.testing.assert_close(row[0], expected, rtol=1e-4, atol=1e-5)


def test_a_model_keeps_its_name_and_reads_padded_examples_as_before():
    model = make_model().eval()
    padded, packed = batches(model, make_split(LENGTHS))
    name = type(model).__name__
    with torch.no_grad():
        before = model(**padded.inputs).logits
        enable_packing(model, CPU)
        model(**packed.inputs)
        assert torch.equal(model(**padded.inputs).logits, before)
    assert type(model).__name__ == name


def test_only_positions_that_occur_are_projected():
    model = make_model(position_buckets=256, max_position_embeddings=512)
    enable_packing(model, CPU)
    rows: list[int] = []
    for layer in model.deberta.encoder.layer:
        layer.attention.self.pos_dropout.register_forward_hook(
            lambda _module, args, _output: rows.append(len(args[0]))
        )
    model(**batches(model, make_split([9, 3, 20]))[1].inputs)
    assert rows == [2 * 32 - 1] * 2  # of 512; 20 tokens are rounded up to 32


@pytest.mark.parametrize("widest", [5, 40, 128])
def test_distances_are_in_the_buckets_of_transformers(widest):
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    near = distances(widest, 16, 128, 16, CPU)
    row = torch.zeros(1, widest, 1)
    expected = build_relative_position(row, row, bucket_size=16, max_position=128)[0] + 16
    places = torch.arange(widest)
    found = near.rows[near.place][widest - 1 - (places[:, None] - places)]
    assert torch.equal(found, expected.clamp(0, 31))


def make_packing(lengths: list[int]) -> Packing:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return Packing(torch.tensor(lengths), torch.from_numpy(starts))


def by_example(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    keys: torch.Tensor | None,
    queries: torch.Tensor | None,
    biases: torch.Tensor | None,
    lengths: list[int],
    first_only: bool,
) -> torch.Tensor:
    """Attention as the papers have it, one example and one score after the other; scale 0.3."""
    widest = (len(next(table for table in (keys, queries, biases) if table is not None)) + 1) // 2
    outputs = []
    for q, k, v in zip(*(tensor.split(lengths) for tensor in (query, key, value)), strict=True):
        places = torch.arange(len(k))
        row = widest - 1 - (places[:, None] - places)
        scores = torch.einsum("qhd,khd->hqk", q, k)
        if keys is not None:
            scores = scores + torch.einsum("qhd,qkhd->hqk", q, keys[row])
        if queries is not None:
            scores = scores + torch.einsum("khd,qkhd->hqk", k, queries[row])
        scores = 0.3 * scores if biases is None else 0.3 * scores + biases[row].permute(2, 0, 1)
        output = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)
        outputs.append(output[:1] if first_only else output)
    return torch.cat(outputs)


@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize(
    "reads", [("keys",), ("queries",), ("biases",), ("keys", "queries", "biases")], ids="+".join
)
def test_result_and_derivative_are_exact(reads, first_only):
    lengths = [6, 1, 20, 3, 17]
    packing = make_packing(lengths)
    torch.manual_seed(0)
    query, key, value = (torch.randn(47, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    tables = [
        torch.randn(2 * packing.widest - 1, *shape, dtype=torch.float64, requires_grad=True)
        if kind in reads
        else None
        for kind, shape in (("keys", (2, 8)), ("queries", (2, 8)), ("biases", (2,)))
    ]
    found = attend_relative(
        query.index_select(0, packing.first_rows) if first_only else query,
        key, value, packing,
        distance_keys=tables[0], distance_queries=tables[1], distance_biases=tables[2],
        scale=0.3, dropout=0.0, first_only=first_only,
    )  # fmt: skip
    expected = by_example(query, key, value, *tables, lengths, first_only)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    weight, inputs = torch.randn_like(found), [t for t in (query, key, value, *tables) if t is not None]
    for one, other in zip(
        torch.autograd.grad(found, inputs, weight), torch.autograd.grad(expected, inputs, weight), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_weights_that_are_not_kept_are_computed_and_dropped_out_again(monkeypatch):
    packing = make_packing([6, 1, 20])
    torch.manual_seed(0)
    inputs = [torch.randn(27, 2, 8, requires_grad=True) for _ in range(3)]
    tables = [torch.randn(2 * packing.widest - 1, 2, 8, requires_grad=True) for _ in range(2)]
    found = []
    for kept in (2**24, 0):
        monkeypatch.setattr("launcher.train.packed.relative_attention.KEPT_WEIGHTS", kept)
        torch.manual_seed(5)
        output = attend_relative(
            *inputs, packing, distance_keys=tables[0], distance_queries=tables[1], scale=0.3, dropout=0.4
        )
        found.append((output, *torch.autograd.grad(output.square().sum(), [*inputs, *tables])))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_dropout_keeps_the_mean():
    lengths = [4, 14] * 20
    packing = make_packing(lengths)
    torch.manual_seed(0)
    query, key = (torch.randn(sum(lengths), 4, 8) for _ in range(2))
    rows = 2 * packing.widest - 1
    tables = {name: torch.randn(rows, 4, 8) for name in ("distance_keys", "distance_queries")}
    draws = torch.stack(
        [
            attend_relative(query, key, torch.ones_like(key), packing, **tables, scale=1e-3, dropout=0.25)
            for _ in range(40)
        ]
    )
    assert float(draws.mean()) == pytest.approx(1.0, abs=0.01)
    # Each weight is 0 or w / 0.75, so with values of one the variance is sum(w * w) * 0.25 / 0.75.
    long = torch.from_numpy(np.repeat(np.arange(40) % 2 == 1, lengths))
    found = torch.stack([draws[:, ~long].var(0).mean(), draws[:, long].var(0).mean()])
    torch.testing.assert_close(found, 0.25 / 0.75 / torch.tensor([4.0, 14.0]), rtol=0.1, atol=0)


def test_dropout_of_positions_and_words_is_drawn_anew_in_training_alone():
    model = make_model(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3, conv_kernel_size=3)
    enable_packing(model, CPU)
    inputs = batches(model, make_split(LENGTHS))[1].inputs
    with torch.no_grad():
        trained = [model(**inputs).logits for _ in range(2)]
        torch.manual_seed(3)
        again = [model(**inputs).logits]
        torch.manual_seed(3)
        again.append(model(**inputs).logits)
        model.eval()
        evaluated = [model(**inputs).logits for _ in range(2)]
    assert not torch.allclose(*trained)
    assert torch.equal(*again)
    assert torch.equal(*evaluated)


def test_products_in_half_precision_stay_near(monkeypatch):
    """As on a GPU, where they are in the type of autocast."""
    model = make_model(initializer_range=0.1)
    padded, packed = batches(model, make_split(LENGTHS))
    exact = gradients(model, padded)
    enable_packing(model, CPU)
    monkeypatch.setattr("launcher.train.packed.relative_attention.computed_in", lambda _query: torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(model, packed)
    flat = [torch.cat([each[name].flatten() for name in exact]) for each in (found, exact)]
    assert (flat[0] - flat[1]).norm() <= 3e-2 * flat[1].norm()


def test_twenty_steps_have_the_losses_of_the_padded_model():
    split = make_split(LENGTHS)
    losses = []
    for packs in (False, True):
        model = make_model()
        padded, packed = batches(model, split)
        assert not packs or enable_packing(model, CPU)
        batch = packed if packs else padded
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        losses.append([])
        for _ in range(20):
            loss = torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[-1].append(loss.item())
    assert losses[1][-1] < losses[1][0] - 0.1
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
