"""Tagging words: which token carries a tag, what the loss sums, how entities are counted, and whole runs with a CRF."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.small_tokenizer import SmallTokenizer
from support.training import RankServer, losses, make_run, metrics, recipe, result
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForTokenClassification, BertConfig, pipeline

from launcher.errors import RunFailed
from launcher.recipe.model import Scratch
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.tasks.shared.rows import Row
from launcher.tasks.shared.tagging import BIO, follows
from launcher.train.dataset.prepare import encode_texts, prepare
from launcher.train.tasks import MicroBatch, Task, get_task
from launcher.train.tasks.entity_scores import entity_metrics
from launcher.train.tokens.tokenizer import for_words, train_tokenizer

NAMES = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
NO_DROPOUT = {"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}}


def _task(**tagging: Any) -> Task:
    task = get_task(Recipe.model_validate({"task": "token-classification", "tagging": tagging}))
    task.recall(BertConfig(id2label=dict(enumerate(NAMES))))
    return task


# From words to tokens


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    texts = ["an ant and a bat and a bee in Bern", "abba baba nana"] * 3
    return train_tokenizer(texts, Scratch(vocab=64, hidden=32, lowercase=True), max_length=64)


def _encoded(tokenizer: Any, words: list[str], tags: list[str], **data: Any) -> Any:
    wanted = Recipe.model_validate({"task": "token-classification", "data": data})
    return encode_texts(tokenizer, [Row({"text": words, "label": tags}, 1)], wanted, label_names=NAMES)


def test_the_first_token_of_a_word_carries_its_tag(tokenizer: Any) -> None:
    words = ["an", "antbat", "in", "nabern"]
    split = _encoded(tokenizer, words, ["O", "B-PER", "O", "B-LOC"])
    tokens = tokenizer.convert_ids_to_tokens(split.ids.tolist())
    assert sum(token.startswith("##") for token in tokens) > 2  # or this test shows nothing
    expected = iter([NAMES.index(tag) for tag in ("O", "B-PER", "O", "B-LOC")])
    inside = [token.startswith(("##", "[")) for token in tokens]
    assert split.marks.tolist() == [-100 if skipped else next(expected) for skipped in inside]
    assert split.records.all == [{"tags": ["O", "B-PER", "O", "B-LOC"], "missing": []}]


def test_words_that_the_tokenizer_makes_nothing_of_are_remembered_as_missing(tokenizer: Any) -> None:
    # A zero-width space is nothing to the tokenizer.
    words, tags = ["an", "\u200b", "ant", "in", "bern"], ["O", "O", "O", "O", "B-LOC"]
    for max_length in (5, 64):
        (record,) = _encoded(tokenizer, words, tags, max_length=max_length).records.all
        assert record["missing"] == [1]


def test_older_tags_are_read_as_bio_and_unknown_ones_refused(tokenizer: Any) -> None:
    split = _encoded(tokenizer, ["an", "ant", "in"], ["I-PER", "I-PER", "I-LOC"])
    assert split.records.all[0]["tags"] == ["B-PER", "I-PER", "B-LOC"]
    with pytest.raises(RunFailed, match=r"input:1: label 'B-ORG' is not in the training data"):
        _encoded(tokenizer, ["an"], ["B-ORG"])
    with pytest.raises(RunFailed, match="2 tags for 1 words"):
        _encoded(tokenizer, ["an"], ["O", "O"])


def test_words_for_a_byte_level_tokenizer_stand_behind_a_blank() -> None:
    letters = pre_tokenizers.ByteLevel.alphabet()
    backend = Tokenizer(models.BPE({letter: index for index, letter in enumerate(sorted(letters))}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel()
    mended = Tokenizer.from_str(for_words(backend.to_str()))
    assert mended.encode(["ab", "c"], is_pretokenized=True).tokens == ["Ġ", "a", "b", "Ġ", "c"]
    assert backend.encode(["ab", "c"], is_pretokenized=True).tokens == ["a", "b", "c"]


# Loss


def _batch(marks: list[int], lengths: list[int]) -> MicroBatch:
    """Of sequences of these lengths, whose tokens without a mark nobody reads."""
    real = np.flatnonzero(np.array(marks) != -100)
    return MicroBatch(
        inputs={},
        labels=None,
        tokens=len(marks),
        rows=np.diff(np.searchsorted(real, np.cumsum([0, *lengths]))),
        marks=torch.tensor(marks)[real],
        real=torch.from_numpy(real),
    )


def _logits(tokens: int) -> torch.Tensor:
    return torch.randn(1, tokens, len(NAMES), generator=torch.Generator().manual_seed(5))


def test_softmax_loss_is_that_of_transformers() -> None:
    torch.manual_seed(1)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    task = _task()
    config = BertConfig(vocab_size=40, **size, **task.head_config(NAMES))
    model = AutoModelForTokenClassification.from_config(config).eval()
    marks = torch.tensor([[-100, 1, -100, 3, 4, -100]])
    output = model(torch.arange(6)[None], labels=marks)
    found = task.loss_sum(output, _batch(marks[0].tolist(), [6]))
    torch.testing.assert_close(found / 3, output.loss)


@pytest.mark.parametrize("tagging", [{"crf": True}, {"crf": True, "penalty": 0.5}, {"penalty": 2.0}])
def test_tokens_left_out_change_nothing_and_sentences_are_apart(tagging: dict[str, Any]) -> None:
    task, logits = _task(**tagging), _logits(9)
    steps = torch.randn(len(NAMES) + 2, len(NAMES), generator=torch.Generator().manual_seed(6))
    head = {"launcher_head": steps} if "crf" in tagging else {}
    marks = [-100, 1, -100, 3, -100, -100, 4, 0, -100]
    found = task.loss_sum(_Output(logits, head), _batch(marks, [6, 3]))
    kept = [index for index, mark in enumerate(marks) if mark != -100]
    first, second = (
        task.loss_sum(_Output(logits[:, part], head), _batch([marks[index] for index in part], [2]))
        for part in (kept[:2], kept[2:])
    )
    torch.testing.assert_close(found, first + second)
    assert found.dtype == torch.float32


def test_a_sequence_of_padding_alone_costs_nothing() -> None:
    task, logits = _task(crf=True, penalty=1.0), _logits(4).requires_grad_()
    head = {"launcher_head": torch.zeros(len(NAMES) + 2, len(NAMES))}
    loss = task.loss_sum(_Output(logits, head), _batch([-100, -100, -100, -100], [2, 2]))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert torch.all(logits.grad == 0)


def test_the_penalty_is_minus_the_log_probability_of_being_legal() -> None:
    logits = _logits(2)
    batch = _batch([4, 4], [2])
    without = _task().loss_sum(_Output(logits), batch)
    found = _task(penalty=0.25).loss_sum(_Output(logits), batch) - without
    chances = logits[0].softmax(-1)
    legal = sum(
        chances[0, one] * chances[1, two]
        for one, before in enumerate(NAMES)
        for two, after in enumerate(NAMES)
        if follows(None, before, BIO) and follows(before, after, BIO)
    )
    assert float(found) == pytest.approx(-0.25 * math.log(float(legal)), rel=1e-4)


class _Output(dict[str, Any]):
    """What a model returns, as far as the task reads it."""

    def __init__(self, logits: torch.Tensor, rest: dict[str, Any] | None = None) -> None:
        super().__init__(rest or {})
        self.logits = logits


# Predictions and metrics


def test_predictions_are_legal_unless_that_is_turned_off() -> None:
    certain = torch.full((1, 3, len(NAMES)), -9.0)
    for place, name in enumerate(("O", "I-PER", "I-LOC")):
        certain[0, place, NAMES.index(name)] = 9.0
    batch = _batch([0, 0, 0], [3])
    ((free, _),) = _task(constrain=False).scores(_Output(certain), batch)
    ((tags, chances),) = _task().scores(_Output(certain), batch)
    assert [NAMES[tag] for tag in free] == ["O", "I-PER", "I-LOC"]
    path = [None, *(NAMES[tag] for tag in tags)]
    assert all(follows(one, two, BIO) for one, two in itertools.pairwise(path))
    assert chances[0, NAMES.index("I-PER")] == 0
    assert chances.sum(-1) == pytest.approx(np.ones(3))


def test_a_metric_of_a_type_that_the_validation_data_lack_is_told_before_the_first_step(
    tokenizer: Any,
) -> None:
    """It would come and go with what is predicted, and choose nothing."""
    split = _encoded(tokenizer, ["an", "bat"], ["B-PER", "O"])
    for metric in ("f1/PER", "lenient_f1/PER", "f1"):
        _asking(metric).check_metrics(split)
    with pytest.raises(
        RunFailed, match=r"eval.metric=f1/LOC: no entity of the validation data is LOC"
    ) as caught:
        _asking("f1/LOC").check_metrics(split)
    assert caught.value.remedy == "other validation data or eval.metric=f1/PER"


def _asking(metric: str) -> Task:
    task = get_task(Recipe.model_validate({"task": "token-classification", "eval": {"metric": metric}}))
    task.recall(BertConfig(id2label=dict(enumerate(NAMES))))
    return task


def test_strict_and_lenient_metrics_by_hand() -> None:
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER", "O"], ["B-LOC", "O"]]
    guess = [["B-PER", "O", "O", "B-LOC"], ["O", "B-LOC", "O"], ["I-LOC", "O"]]
    found = entity_metrics(gold, guess, BIO)
    # Strictly one of four is found, and of three predicted (I-LOC is none) one is right.
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["recall"] == pytest.approx(1 / 4)
    assert found["f1"] == pytest.approx(2 / 7)
    assert found["f1/PER"] == 0
    assert found["f1/LOC"] == pytest.approx(2 * 1 / (2 + 2))
    # Leniently: PER of the first sentence overlaps, LOC of the first and of the last are there; four predictions.
    assert found["lenient_f1"] == pytest.approx(3 / 4)
    assert found["lenient_f1/PER"] == pytest.approx(2 * 1 / (2 + 1))
    assert found["accuracy"] == pytest.approx(6 / 9)


def test_entities_are_counted_as_seqeval_counts_them_strictly() -> None:
    random = np.random.default_rng(3)
    gold, guess = ([["B-X", "I-X", "O"][tag] for tag in random.integers(0, 3, 400)] for _ in range(2))
    gold = [
        "B-X" if tag == "I-X" and before == "O" else tag
        for before, tag in zip(["O", *gold], gold, strict=False)
    ]
    theirs = {(start, end) for start, end in _runs(gold)} & {(start, end) for start, end in _runs(guess)}
    found = entity_metrics([gold], [guess], BIO)
    assert found["precision"] == pytest.approx(len(theirs) / len(_runs(guess)))
    assert found["recall"] == pytest.approx(len(theirs) / len(_runs(gold)))


def _runs(tags: list[str]) -> list[tuple[int, int]]:
    """B- and all I- right behind it, found by looking for the next tag that isn't one."""
    starts = [place for place, tag in enumerate(tags) if tag == "B-X"]
    ends = [
        next((place for place in range(start + 1, len(tags)) if tags[place] != "I-X"), len(tags))
        for start in starts
    ]
    return list(zip(starts, ends, strict=True))


def test_predictions_name_entities_by_words(tokenizer: Any) -> None:
    wanted = Recipe.model_validate({"task": "token-classification"})
    rows = [Row({"text": "an ant in bern"}, 1), Row({"text": "\u4e2d\u56fd\u4ebaAB"}, 2)]
    split = encode_texts(tokenizer, rows, wanted)
    assert not split.labelled
    sure = np.eye(len(NAMES), dtype=np.float32)
    tags = [[4, 1, 3, 0], [0, 2, 1, 4]]
    english, chinese = _task().decode([(np.array(row), sure[row]) for row in tags], NAMES, split, rows)
    assert english["prediction"] == ["O", "B-PER", "I-PER", "B-LOC"]
    assert english["entities"] == [
        {"type": "PER", "text": "ant in", "start": 1, "end": 3, "score": 1.0},
        {"type": "LOC", "text": "bern", "start": 3, "end": 4, "score": 1.0},
    ]
    assert english["probabilities"][1] == {"B-LOC": 0, "B-PER": 1, "I-LOC": 0, "I-PER": 0, "O": 0}
    assert [entity["text"] for entity in chinese["entities"]] == ["\u4e2d\u56fd", "\u4eba"]


# Whole runs

PEOPLE, PLACES, REST = (
    ("anna", "boris", "clara"),
    ("rome", "oslo", "lima"),
    ("saw", "left", "likes", "and", "the"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CoNLL columns: a person is a name and perhaps a second one, a place stands behind `new` or alone."""
    directory = tmp_path_factory.mktemp("words")
    for split, count in {"train": 96, "validation": 24}.items():
        random = np.random.default_rng(len(split))
        sentences = []
        for _ in range(count):
            person = [
                (name, tag) for name, tag in zip(random.choice(PEOPLE, 2), ("B-PER", "I-PER"), strict=True)
            ]
            place = [("new", "B-LOC"), (str(random.choice(PLACES)), "I-LOC")][random.integers(0, 2) :]
            place[0] = (place[0][0], "B-LOC")
            parts = [*person[: random.integers(1, 3)], (str(random.choice(REST)), "O"), *place]
            sentences.append("\n".join(f"{word} X {tag}" for word, tag in parts))
        (directory / f"{split}.conll").write_text("\n\n".join(sentences) + "\n")
    return directory


def _recipe(data: Path, /, **changes: Any) -> Recipe:
    files = {split: str(data / f"{split}.conll") for split in ("train", "validation")} | {"test": None}
    train = {"lr": 5e-3, "max_steps": 36, "warmup": 0, **changes.pop("train", {})}
    given = {
        "data": {**files, "format": "conll"},
        "train": train,
        "eval": {"every": 18},
        "tagging": {"crf": True},
    }
    return recipe(data, task="token-classification", **{**given, **changes})


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory, ranks: RankServer) -> RunDir:
    return ranks.complete(make_run(tmp_path_factory.mktemp("runs") / "crf", _recipe(data)))


def test_a_crf_learns_entities_and_travels_beside_the_model(run: RunDir, ranks: RankServer) -> None:
    best = result(run)["best"]
    assert best["metric"] == "f1"
    assert best["value"] > 0.9
    assert ranks.verb("eval", run.path)["validation"]["f1"] == best["value"]
    (row,) = [row for row in metrics(run, "validation") if row["step"] == best["step"]]
    assert {"eval/precision", "eval/recall", "eval/lenient_f1", "eval/f1/PER", "eval/f1/LOC"} <= row.keys()
    (found,) = ranks.verb("predict", run.path, "--text", "anna boris left new oslo")["predictions"]
    assert [(entity["type"], entity["text"]) for entity in found["entities"]] == [
        ("PER", "anna boris"),
        ("LOC", "new oslo"),
    ]
    head = load_file(run.model / "launcher_head.safetensors")
    assert head["steps"].abs().max() > 0


def test_transformers_alone_uses_encoder_and_linear_head(run: RunDir) -> None:
    _, report = AutoModelForTokenClassification.from_pretrained(run.model, output_loading_info=True)
    assert not any(report.values())
    found = pipeline("token-classification", model=str(run.model))("anna left oslo")
    assert {entity["entity"] for entity in found} <= set(NAMES)


def test_zero_3_gathers_the_transitions(data: Path, tmp_path: Path, ranks: RankServer) -> None:
    short = {"train": {"max_steps": 5}, "model": NO_DROPOUT}
    sharded = ranks.complete(
        make_run(tmp_path / "sharded", _recipe(data, gpus=2, zero={"stage": 3}, **short)), ranks=2
    )
    whole = ranks.complete(make_run(tmp_path / "whole", _recipe(data, **short)))
    assert losses(sharded) == pytest.approx(losses(whole), rel=1e-4)
    first, second = (
        load_file(made.model / "launcher_head.safetensors")["steps"] for made in (sharded, whole)
    )
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_a_crf_trains_in_full_beside_adapters(
    run: RunDir, data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    model = {"init": "pretrained", "name": str(run.model)}
    wanted = _recipe(data, tuning="lora", model=model, train={"max_steps": 6})
    adapted = ranks.complete(make_run(tmp_path / "lora", wanted))
    assert load_file(adapted.model / "launcher_head.safetensors")["steps"].abs().max() > 0
    assert ranks.verb("eval", adapted.path)["validation"]["f1"] == result(adapted)["best"]["value"]


# Real data


@pytest.mark.long  # the tests above train the same head
def test_conll_2003_from_minilm(shared_data: Path, minilm: Path, tmp_path: Path, ranks: RankServer) -> None:
    """A sixtieth of the sentences is enough to find most names; every prediction is legal."""
    for split, every in {"train": 60, "dev": 40}.items():
        sentences = (shared_data / "conll2003" / f"{split}.txt").read_text().strip().split("\n\n")
        (tmp_path / f"{split}.conll").write_text("\n\n".join(sentences[::every]) + "\n")
    wanted = _recipe(
        tmp_path,
        data={
            "train": str(tmp_path / "train.conll"),
            "validation": str(tmp_path / "dev.conll"),
            "test": None,
            "format": "conll",
        },
        model={"init": "pretrained", "name": str(minilm)},
        train={"lr": 5e-4, "crf_lr": 1e-2, "max_steps": None, "epochs": 4.0},
        eval={"every": None},
    )
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    assert result(run)["best"]["value"] > 0.4
    output = tmp_path / "found.jsonl"
    ranks.verb("predict", run.path, tmp_path / "dev.conll", "--output", output)
    for line in output.read_text().splitlines():
        path = [None, *json.loads(line)["prediction"], None]
        assert all(follows(one, two, BIO) for one, two in itertools.pairwise(path))


def test_sentences_without_words_are_nothing_to_validate_on(data: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"text": [], "label": []}\n' * 2)
    rows = [{"text": ["anna", "left"], "label": ["B-PER", "O"]}] * 8
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"train": str(train), "validation": str(empty), "test": None}
    with pytest.raises(RunFailed, match="no validation example has text"):
        prepare(recipe(data, task="token-classification", data=files), SmallTokenizer())
