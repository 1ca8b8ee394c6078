"""Packed micro-batches compute what padded ones do, example by example, and nothing more."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.gpu import needs_gpu
from transformers import AutoConfig, AutoModelForSequenceClassification

from launcher.families import find
from launcher.recipe.recipe import Recipe
from launcher.train.compat import flash_attention
from launcher.train.model.unpadded import enable_packing, make_collate, packed_collate
from launcher.train.packed import attention
from launcher.train.packed.attention import attend
from launcher.train.packed.collate import PaddedCollate
from launcher.train.packed.dropout import CpuDropout, keep_mask, keep_probability
from launcher.train.packed.packing import Packing, group_by_length
from launcher.train.probe.subject import exact_products
from launcher.train.tasks import get_task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.mover import Mover

CPU = torch.device("cpu")
TASK = get_task(Recipe.model_validate({"task": "classification"}))
VOCABULARY, LABELS = 60, 3
BERT_LIKE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
DEBERTA_V3: dict[str, Any] = {
    "relative_attention": True,
    "position_buckets": 16,
    "max_position_embeddings": 128,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
DEBERTA_V2 = {
    **DEBERTA_V3,
    "position_buckets": -1,
    "max_relative_positions": 12,
    "norm_rel_ebd": "none",
    "share_att_key": False,
    "position_biased_input": True,
    "type_vocab_size": 2,
    "conv_kernel_size": 3,
    "embedding_size": 16,
    "initializer_range": 0.2,  # with 0.3 a lone example is so sure of its class that rounding decides
}
"""With all that the first models of the family had, a convolution after the first layer among it."""
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", BERT_LIKE),
    "roberta": ("roberta", {**BERT_LIKE, "type_vocab_size": 1, "max_position_embeddings": 130}),
    "xlm-roberta": ("xlm-roberta", {**BERT_LIKE, "type_vocab_size": 1, "max_position_embeddings": 130}),
    "electra": ("electra", {**BERT_LIKE, "embedding_size": 16}),
    "camembert": ("camembert", {**BERT_LIKE, "type_vocab_size": 1, "max_position_embeddings": 130}),
    "albert": ("albert", {**BERT_LIKE, "embedding_size": 16}),
    "mpnet": ("mpnet", BERT_LIKE),
    "distilbert": ("distilbert", {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}),
    "deberta-v2": ("deberta-v2", {**BERT_LIKE, **DEBERTA_V2}),
    "deberta-v3": ("deberta-v2", {**BERT_LIKE, **DEBERTA_V3}),
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
    "albert": {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout_prob": 0.0,
    },
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

WIDE_HEADS = {
    "distilbert": {"dim": 64},
    **{
        kind: {"hidden_size": 64}
        for kind in ("bert", "roberta", "xlm-roberta", "camembert", "albert", "electra")
    },
    **{kind: {"hidden_size": 64} for kind in ("modernbert", "deberta-v2")},
}
"""The flash kernel wants heads whose width is a multiple of 8."""

all_models = pytest.mark.parametrize("name", MODELS)


def make_model(name: str, seed: int = 0, **options: Any) -> Any:
    """A tiny model of random weights, without dropout unless the options say so."""
    kind, shape = MODELS[name]
    special = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    none = NO_DROPOUT.get(kind, NO_DROPOUT["bert"])
    settings = {"initializer_range": 0.3, **special, **none, **shape, **options}
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, num_labels=LABELS, **settings)
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def make_split(lengths: list[int], seed: int = 0, pairs: bool = True) -> TokenSplit:
    """Examples of these lengths; the second half of each has token type 1."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenSplit(
        ids=random.integers(4, VOCABULARY, offsets[-1]).astype(np.int32),
        offsets=offsets,
        type_ids=np.concatenate([np.arange(n) >= n // 2 for n in lengths]).astype(np.uint8)
        if pairs
        else None,
        labels=np.arange(len(lengths), dtype=np.int64) % LABELS,
    )


def everything(split: TokenSplit) -> Any:
    return np.arange(len(split), dtype=np.int64)


def padded(model: Any, split: TokenSplit) -> Any:
    types = getattr(model.config, "type_vocab_size", 0) > 1
    return PaddedCollate(TASK, pad_id=1, multiple=1, type_ids=types, move=Mover(CPU))(
        split, everything(split)
    )


def packed(model: Any, split: TokenSplit) -> Any:
    return packed_collate(TASK, model.config, CPU)(split, everything(split))


def loss_and_gradients(
    model: Any, batch: Any, autocast: bool = False
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
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


@pytest.mark.long  # a padded row of 512 for each example, for every family; those above differ in length alone
@all_models
def test_the_shortest_and_the_longest_examples_go_together(name):
    model = make_model(name, max_position_embeddings=514).train()
    split = make_split([1, 2, 511, 512])
    expected = loss_and_gradients(model, padded(model, split))
    assert enable_packing(model, CPU)
    assert_same(loss_and_gradients(model, packed(model, split)), expected, 1e-5)


@all_models
def test_bf16_stays_within_two_percent_of_the_padded_model(name):
    model = make_model(name, initializer_range=0.1).train()
    split = make_split(LENGTHS["mixed"])
    exact = loss_and_gradients(model, padded(model, split))
    enable_packing(model, CPU)
    assert_same(loss_and_gradients(model, packed(model, split), autocast=True), exact, 2e-2)


@all_models
def test_an_example_does_not_see_the_others(name):
    model = make_model(name).eval()
    enable_packing(model, CPU)
    split = make_split(LENGTHS["mixed"])
    with torch.no_grad():
        before = model(**packed(model, split).inputs).logits
        split.ids[split.offsets[3] : split.offsets[4]] = 5
        after = model(**packed(model, split).inputs).logits
    others = [0, 1, 2, 4, 5, 6, 7]
    torch.testing.assert_close(after[others], before[others], rtol=0, atol=1e-6)
    assert not torch.allclose(after[3], before[3], atol=1e-3)


def test_a_token_outside_every_window_reaches_modernberts_head_through_the_global_layers_alone():
    config = {"layer_types": ["sliding_attention"] * 3, "num_hidden_layers": 3}
    model = make_model("modernbert", **config).eval()
    enable_packing(model, CPU)
    split = make_split([40, 30, 6])
    with torch.no_grad():
        before = model(**packed(model, split).inputs).logits
        split.ids[13:40] = 5  # three layers that each see 4 tokens to either side reach to the 12th
        after = model(**packed(model, split).inputs).logits
        split.ids[12] = 59 if split.ids[12] != 59 else 58
        reached = model(**packed(model, split).inputs).logits
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
    assert not torch.equal(reached[0], after[0])


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft asks by the old name
@pytest.mark.parametrize("name", ["bert", "distilbert", "deberta-v2", "deberta-v3", "modernbert"])
@pytest.mark.parametrize("packing_first", [True, False])
def test_adapters_may_be_added_before_or_after(name, packing_first):
    from peft import LoraConfig, get_peft_model

    targets = {
        "bert": ["query", "key", "dense"],
        "distilbert": ["q_lin", "lin1"],
        "deberta-v2": ["query_proj", "value_proj", "dense"],
        "deberta-v3": ["query_proj", "key_proj", "dense"],
        "modernbert": ["Wqkv", "Wo"],
    }
    lora = LoraConfig(
        task_type="SEQ_CLS",
        r=4,
        target_modules=targets[name],
        modules_to_save=["classifier"],
        init_lora_weights=False,
    )
    model, reference = make_model(name), make_model(name)
    split = make_split(LENGTHS["mixed"])
    torch.manual_seed(1)
    reference = get_peft_model(reference, lora)
    if packing_first:
        assert enable_packing(model, CPU)
    torch.manual_seed(1)
    model = get_peft_model(model, lora)
    assert enable_packing(model, CPU)
    expected = loss_and_gradients(reference.train(), padded(reference, split))
    assert_same(loss_and_gradients(model.train(), packed(model, split)), expected, 1e-5)

    merged = copy.deepcopy(model).merge_and_unload()
    with torch.no_grad():
        plain = merged.eval()(**padded(merged, split).inputs).logits
    assert relative_error(plain, expected[0]) <= 1e-5


@pytest.mark.parametrize("name", [name for name in MODELS if find(MODELS[name][0]).can_checkpoint])
def test_gradient_checkpointing_changes_nothing_and_repeats_its_dropout(name):
    kind = MODELS[name][0]
    attention = (
        "attention_dropout" if kind in ("distilbert", "modernbert") else "attention_probs_dropout_prob"
    )
    model = make_model(name, **{attention: 0.3}).train()
    enable_packing(model, CPU)
    batch = packed(model, make_split(LENGTHS["mixed"]))
    torch.manual_seed(7)
    expected = loss_and_gradients(model, batch)
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    torch.manual_seed(7)
    assert_same(loss_and_gradients(model, batch), expected, 1e-5)


@all_models
def test_ordinary_inputs_and_what_is_saved_are_untouched(name, tmp_path: Path):
    model = make_model(name).eval()
    split = make_split(LENGTHS["mixed"])
    batch = padded(model, split)
    model.save_pretrained(tmp_path / "before")
    with torch.no_grad():
        before = model(**batch.inputs).logits
        names = list(model.state_dict())
        enable_packing(model, CPU)
        model(**packed(model, split).inputs)
        after = model(**batch.inputs).logits
    assert torch.equal(after, before)
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path / "after")
    configs = [json.loads((tmp_path / when / "config.json").read_text()) for when in ("before", "after")]
    assert configs[0] == configs[1]
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "after").eval()
    with torch.no_grad():
        torch.testing.assert_close(reloaded(**batch.inputs).logits, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["bert", "roberta", "electra", "distilbert", "deberta-v2", "deberta-v3", "modernbert"]
)
def test_the_last_layer_is_computed_for_the_first_tokens_alone(name):
    model = make_model(name).eval()
    enable_packing(model, CPU)
    rows: list[int] = []
    width = MODELS[name][1].get("hidden_dim") or MODELS[name][1]["intermediate_size"]
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.in_features == width:
            module.register_forward_hook(lambda _module, args, _output: rows.append(args[0].shape[1]))
    model(**packed(model, make_split([9, 3, 25])).inputs)
    assert rows[-1] == 3
    assert set(rows[:-1]) == {37}


@pytest.mark.parametrize("name", ["bert", "distilbert", "deberta-v2", "deberta-v3", "modernbert"])
def test_all_rows_can_be_kept_for_heads_that_read_every_token(name):
    kept, stock = make_model(name).eval(), make_model(name).eval()
    assert enable_packing(kept, CPU, rows="all")
    split = make_split([9, 3, 25])
    with torch.no_grad():
        row = kept.base_model(**packed(kept, split).inputs)[0]
        table = stock.base_model(**padded(stock, split).inputs)[0]
    expected = torch.cat([table[i, :n] for i, n in enumerate(split.lengths)])
    assert row.shape == (1, 37, 32)
    torch.testing.assert_close(row[0], expected, rtol=1e-4, atol=1e-5)


def make_packing(lengths: list[int]) -> Packing:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return Packing(torch.tensor(lengths), torch.from_numpy(starts))


def test_attention_dropout_keeps_the_mean_and_drops_whole_weights():
    packing = make_packing([6, 9, 50])
    torch.manual_seed(0)
    query, key = (torch.randn(65, 4, 8) for _ in range(2))
    value = torch.ones(65, 4, 8)
    draws = [attend(query, key, value, packing, scale=0.1, dropout=0.25) for _ in range(400)]
    stacked = torch.stack(draws)
    # Each weight is 0 or w / 0.75, so with values of one the mean is 1 and the variance sum(w * w) * 0.25 / 0.75.
    assert float(stacked.mean()) == pytest.approx(1.0, abs=0.005)
    expected = 0.25 / 0.75 / torch.tensor([6.0, 9.0, 50.0])
    found = torch.stack([stacked[:, a:b].var(0).mean() for a, b in ((0, 6), (6, 15), (15, 65))])
    torch.testing.assert_close(found, expected, rtol=0.2, atol=0)
    exact = attend(query, key, value, packing, scale=0.1, dropout=0.0)
    torch.testing.assert_close(exact, value)


def test_attention_dropout_follows_the_mode_of_the_model():
    model = make_model("bert", attention_probs_dropout_prob=0.5)
    enable_packing(model, CPU)
    batch = packed(model, make_split(LENGTHS["mixed"]))
    with torch.no_grad():
        evaluated = [model.eval()(**batch.inputs).logits for _ in range(2)]
        trained = [model.train()(**batch.inputs).logits for _ in range(2)]
        torch.manual_seed(3)
        again = [model(**batch.inputs).logits]
        torch.manual_seed(3)
        again.append(model(**batch.inputs).logits)
    assert torch.equal(evaluated[0], evaluated[1])
    assert not torch.allclose(trained[0], trained[1])
    assert not torch.allclose(trained[0], evaluated[0])
    assert torch.equal(again[0], again[1])


@pytest.mark.parametrize("p", [0.0, 0.2])
@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("window", [None, 4])
def test_the_derivative_written_out_is_that_of_autograd(monkeypatch, p, first_only, window):
    lengths = [6, 1, 20, 3]
    packing = make_packing(lengths)
    torch.manual_seed(0)
    query, key, value = (torch.randn(30, 2, 8, requires_grad=True) for _ in range(3))
    queries = query.index_select(0, packing.first_rows) if first_only else query
    options = {"scale": 0.3, "dropout": p, "window": window, "first_only": first_only}
    torch.manual_seed(5)
    found = attend(queries, key, value, packing, **options)
    weight = torch.randn_like(found)
    gradients = torch.autograd.grad(found, (query, key, value), weight)

    monkeypatch.setattr("launcher.train.packed.attention.KEPT_WEIGHTS", 0)
    torch.manual_seed(5)
    again = attend(
        query.index_select(0, packing.first_rows) if first_only else query, key, value, packing, **options
    )
    for one, other in zip(gradients, torch.autograd.grad(again, (query, key, value), weight), strict=True):
        assert torch.equal(one, other)  # computing the weights again draws the same mask
    if p == 0.0:
        expected = by_example(query, key, value, lengths, 0.3, window, first_only)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        for one, other in zip(
            gradients, torch.autograd.grad(expected, (query, key, value), weight), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_long_examples_without_gradients_are_computed_as_the_textbook_has_it(dtype, tolerance, window):
    lengths = [300, 1, 290, 30]
    torch.manual_seed(0)
    tensors = [torch.randn(sum(lengths), 2, 8) for _ in range(3)]
    with torch.no_grad():
        found = attend(
            *(tensor.to(dtype) for tensor in tensors),
            make_packing(lengths),
            scale=0.3,
            dropout=0.0,
            window=window,
        )
    assert found.dtype == dtype
    expected = by_example(*tensors, lengths, 0.3, window, False)
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


def by_example(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: list[int],
    scale: float,
    window: int | None,
    first_only: bool,
) -> torch.Tensor:
    """Attention as the textbook has it, one example at a time."""
    outputs = []
    for q, k, v in zip(*(tensor.split(lengths) for tensor in (query, key, value)), strict=True):
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        if window is not None:
            place = torch.arange(len(k))
            scores = scores.masked_fill((place[:, None] - place[None]).abs() > window, float("-inf"))
        output = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)
        outputs.append(output[:1] if first_only else output)
    return torch.cat(outputs)


class UnreadMemory(torch.autograd.Function):
    """The flash kernel in plain PyTorch, down to what it does with rows outside the bounds: it leaves them unwritten."""

    @staticmethod
    def forward(ctx, query, key, value, query_bounds, key_bounds, scale):
        ctx.save_for_backward(query, key, value, query_bounds, key_bounds)
        ctx.scale = scale
        return UnreadMemory.attend(query, key, value, query_bounds, key_bounds, scale)

    @staticmethod
    def backward(ctx, gradient):
        *tensors, query_bounds, key_bounds = ctx.saved_tensors
        q, k, v = (tensor.detach().requires_grad_() for tensor in tensors)
        with torch.enable_grad():
            output = UnreadMemory.attend(q, k, v, query_bounds, key_bounds, ctx.scale)
        gradients = torch.autograd.grad(output, (q, k, v), gradient)
        for found, bounds in zip(gradients, (query_bounds, key_bounds, key_bounds), strict=True):
            found[int(bounds[-1]) :] = torch.nan
        return *gradients, None, None, None

    @staticmethod
    def attend(query, key, value, query_bounds, key_bounds, scale):
        output = torch.full_like(query, torch.nan)
        of_queries, of_keys = query_bounds.tolist(), key_bounds.tolist()
        for i in range(len(of_keys) - 1):
            queries, keys = slice(*of_queries[i : i + 2]), slice(*of_keys[i : i + 2])
            scores = torch.einsum("qhd,khd->hqk", query[queries], key[keys]) * scale
            output[queries] = torch.einsum("hqk,khd->qhd", torch.softmax(scores, -1), value[keys])
        return output


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "electra", "distilbert"])
def test_gradients_of_a_filled_row_hold_nothing_of_what_lay_in_memory(name, monkeypatch):
    def kernel(query, key, value, query_bounds, key_bounds, _queries, _keys, scale, dropout, window):
        assert (dropout, window) == (0.0, None)
        return UnreadMemory.apply(query, key, value, query_bounds, key_bounds, scale)

    model, split = make_model(name), make_split(LENGTHS["mixed"])
    expected = loss_and_gradients(model, padded(model, split))
    monkeypatch.setattr(attention, "has_flash_kernel", lambda _query: True)
    monkeypatch.setattr(flash_attention, "attention", kernel)
    enable_packing(model, CPU)
    collate = dataclasses.replace(packed_collate(TASK, model.config, CPU), fill=True)
    batch = collate(split, everything(split))
    assert batch.inputs["bucket"][0] > 0
    assert_same(loss_and_gradients(model, batch), expected, 1e-5)


def test_groups_hold_each_example_once_and_like_lengths_together():
    lengths = np.random.default_rng(0).integers(1, 120, 64)
    groups = group_by_length(lengths, heads=12)
    assert sorted(np.concatenate(groups)) == list(range(64))
    assert 2 <= len(groups) < 64
    padded_weights = sum(len(group) * int(lengths[group].max()) ** 2 for group in groups)
    assert padded_weights < 1.3 * int((lengths**2).sum())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cheap_dropout_drops_as_often_as_it_should_and_keeps_the_mean(p, dtype):
    torch.manual_seed(0)
    layer = CpuDropout(p).train()
    values = torch.ones(501, 401, dtype=dtype, requires_grad=True)
    dropped = layer(values)
    share = float((dropped.detach() == 0).float().mean())
    assert share == pytest.approx(p, abs=0.004)
    assert float(dropped.detach().float().mean()) == pytest.approx(1.0, abs=0.02 if p < 0.9 else 0.05)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())
    assert torch.equal(layer.eval()(values), values)


def test_cheap_dropout_draws_neighbours_independently():
    torch.manual_seed(0)
    kept = keep_mask((200_000,), 0.5, torch.float32, CPU) - keep_probability(0.5)
    for distance in (1, 2, 3, 4, 8):
        assert abs(float((kept[:-distance] * kept[distance:]).mean())) < 0.003


class Tokenizer:
    pad_token_id = 1


def test_a_family_without_a_packed_path_is_padded_and_says_so(monkeypatch):
    padded_family = dataclasses.replace(find("electra"), packed_by=None)
    monkeypatch.setattr("launcher.train.model.unpadded.find", lambda _name: padded_family)
    collate, notice = make_collate(TASK, Tokenizer(), make_model("electra"), CPU)
    assert isinstance(collate, PaddedCollate)
    assert "electra" in notice
    monkeypatch.undo()
    assert make_collate(TASK, Tokenizer(), make_model("bert"), CPU)[1] is None


def test_packed_rows_restart_positions_where_the_family_starts_them():
    split = make_split([3, 2])
    for name, first in (("bert", 0), ("roberta", 2), ("xlm-roberta", 2), ("modernbert", 0)):
        inputs = packed(make_model(name), split).inputs
        assert inputs["position_ids"].tolist() == [[first, first + 1, first + 2, first, first + 1]]
        assert inputs["input_ids"].shape == (1, 5)
        assert inputs["cu_seqlens"].tolist() == [0, 3, 5]


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@all_models
def test_on_a_gpu_logits_and_gradients_are_those_of_the_padded_model(name, dtype):
    device = torch.device("cuda")
    model = make_model(name, initializer_range=0.1, **WIDE_HEADS.get(MODELS[name][0], {})).train()
    split = make_split(LENGTHS["beyond rounding"])
    exact = loss_and_gradients(model, padded(model, split))
    model.to(device)
    enable_packing(model, device)
    batch = packed_collate(TASK, model.config, device)(split, everything(split))
    with exact_products(device):  # a training of this process may have rounded them
        with torch.autocast("cuda", dtype=dtype, enabled=dtype is not torch.float32):
            logits = model(**batch.inputs).logits
        model.zero_grad()
        torch.nn.functional.cross_entropy(logits.float(), batch.labels, reduction="sum").backward()
    found = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
    assert_same((logits.detach().cpu(), None, found), exact, 1e-4 if dtype is torch.float32 else 2e-2)


@pytest.mark.parametrize(
    ("asked", "drawn"), [(0.1, 26 / 256), (0.25, 64 / 256), (0.5, 128 / 256), (0.02, 6 / 256)]
)
def test_the_gpus_kernel_drops_with_a_probability_of_eight_bits(asked: float, drawn: float) -> None:
    """It keeps where a random byte is at most floor(255 (1 - p)): that of 0.02 is 0.0234, which is no error of ours."""
    assert attention.flash_dropout(asked) == pytest.approx(drawn)


@needs_gpu
def test_on_a_gpu_attention_dropout_keeps_the_mean():
    lengths = torch.tensor([6, 9, 50])
    packing = Packing(lengths, torch.tensor([0, 6, 15, 65], dtype=torch.int32, device="cuda"))
    query, key = (torch.randn(65, 4, 32, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    draws = torch.stack(
        [
            attend(query, key, torch.ones_like(key), packing, scale=1e-3, dropout=0.25).float()
            for _ in range(400)
        ]
    )
    assert float(draws.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(draws[:, :6].var(0).mean()) == pytest.approx(0.25 / 0.75 / 6, rel=0.2)


def test_the_derivative_of_softmax_is_that_of_torch() -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, 4, 5, requires_grad=True)
    gradient = torch.randn(3, 4, 5)
    weights = scores.softmax(-1)
    weights.backward(gradient)
    torch.testing.assert_close(attention.softmax_derivative(gradient.clone(), weights.detach()), scores.grad)
