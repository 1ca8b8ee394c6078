"""Sentences beyond data.max_length: windows that overlap, each word judged once, figures and decoding over the whole sentence."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small_tokenizer import SmallTokenizer
from support.training import RankServer, losses, make_run, metrics, recipe, result
from torch.nn import functional
from transformers import BertConfig

from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.conflicts import conflicts
from launcher.tasks.shared.rows import Row
from launcher.tasks.shared.tagging import BIO, follows
from launcher.train.dataset.prepare import encode_texts
from launcher.train.packed.collate import padded_collate
from launcher.train.packed.packing import PackedCollate
from launcher.train.tasks import MicroBatch, Task, get_task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.masking import IGNORE
from launcher.train.tokens.tokenizer import load_tokenizer

NAMES = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
CPU = torch.device("cpu")


def task_of(data: dict[str, Any] | None = None, **tagging: Any) -> Task:
    wanted = {"task": "token-classification", "data": {"max_length": 8, **(data or {})}, "tagging": tagging}
    task = get_task(Recipe.model_validate(wanted), SmallTokenizer())
    task.recall(BertConfig(id2label=dict(enumerate(NAMES))))
    return task


def sentence(words: int, seed: int = 1) -> Row:
    tags = np.random.default_rng(seed).choice(["O", "B-PER", "B-LOC"], words).tolist()
    return Row({"text": [str(100 * seed + number) for number in range(words)], "label": tags}, 1)


def encoded(task: Task, *rows: Row, tokenizer: Any = None) -> TokenSplit:
    return encode_texts(tokenizer or task.tokenizer, rows, task.recipe, label_names=NAMES)


def test_each_word_of_a_long_sentence_has_its_tag_in_one_window() -> None:
    task, rows = task_of(), [sentence(40), sentence(3), sentence(0), sentence(11)]
    split = encoded(task, *rows)
    assert split.sequences is not None
    assert split.marks is not None
    assert np.diff(split.sequences).tolist() == [10, 1, 1, 3]  # of 6 words, which share 2
    assert np.diff(split.offsets).max() == 8
    for index, row in enumerate(rows):
        marks = task.gather(split, np.array([index]), 0).marks
        assert marks is not None
        assert [NAMES[mark] for mark in marks if mark != IGNORE] == row.values["label"]
    assert [record["missing"] for record in split.records.all] == [[], [], [], []]  # type: ignore[union-attr]
    assert task.units(split, np.arange(4)) == 54


def test_chinese_characters_and_words_of_several_tokens(minilm: Path) -> None:
    tokenizer = load_tokenizer(str(minilm), None)
    task = task_of({"max_length": 12})
    texts = ["\u4e2d\u56fd\u4eba\u6c11" * 9, "unbelievably disestablishmentarian antidisestablishment " * 5]
    for text in texts:
        row = Row({"text": text, "label": ["B-LOC"] * len(task.spec.words_of(Row({"text": text}, 1)))}, 1)  # type: ignore[attr-defined]
        split = encoded(task, row, tokenizer=tokenizer)
        assert split.sequences is not None
        assert split.sequences[1] > 2
        (record,) = split.records.all  # type: ignore[union-attr]
        assert record["missing"] == []
        assert np.count_nonzero(split.marks != IGNORE) == len(row.values["label"])  # type: ignore[arg-type]


def test_a_stride_beyond_the_window_is_told_before_the_launch_and_by_the_encoder() -> None:
    wanted = task_of({"stride": 6, "train": "x.conll"}).recipe
    (told,) = [found for found in conflicts(wanted) if found.fields[0] == "data.stride"]
    assert told.remedy.startswith("use data.stride=5 or less")
    with pytest.raises(RunFailed, match="windows of 8 tokens with 6 in common"):
        encoded(task_of({"stride": 6}), sentence(9))
    encoded(task_of({"stride": 5}), sentence(9))


class Output(dict[str, Any]):
    """What a model returns, as far as the task reads it."""

    def __init__(self, logits: torch.Tensor, steps: torch.Tensor | None = None) -> None:
        super().__init__({} if steps is None else {"launcher_head": steps})
        self.logits = logits


def collated(task: Task, split: TokenSplit, how: str) -> MicroBatch:
    examples = np.arange(len(split))
    if how == "padded":
        return padded_collate(task, task.tokenizer, BertConfig(type_vocab_size=0), CPU)(split, examples)
    move: Any = torch.from_numpy
    return PackedCollate(task, 0, False, move)(split, examples)


def emitted(batch: MicroBatch, table: torch.Tensor) -> torch.Tensor:
    """Logits that depend on the word alone, of the tokens that a model computes its head for."""
    ids = batch.inputs["input_ids"]
    return table[(ids[:, batch.inputs["selected"]] if "selected" in batch.inputs else ids) % len(table)]


@pytest.mark.parametrize("how", ["padded", "packed"])
@pytest.mark.parametrize("tagging", [{}, {"crf": True}, {"crf": True, "penalty": 0.5}])
def test_loss_and_decoding_are_those_of_the_sentence_in_one_piece(how: str, tagging: dict[str, Any]) -> None:
    """Emissions that depend on the word alone: whether it is cut into windows must change nothing."""
    rows = [sentence(23), sentence(5, 2), sentence(14, 3)]
    found = []
    for longest in (8, 64):
        task = task_of({"max_length": longest}, **tagging)
        split = encoded(task, *rows)
        batch = collated(task, split, how)
        random = torch.Generator().manual_seed(7)
        table, steps = torch.randn(4096, 5, generator=random), torch.randn(7, 5, generator=random)
        output = Output(emitted(batch, table), steps if "crf" in tagging else None)
        scores = task.scores(output, batch)
        found.append((task.loss_sum(output, batch), scores, task.metrics(scores, task.truth(split))))
    (loss, cut, figures), (whole, uncut, expected) = found
    torch.testing.assert_close(loss, whole)
    assert figures == expected
    for (tags, chances), (other, others), row in zip(cut, uncut, rows, strict=True):
        assert tags.tolist() == other.tolist()
        assert len(tags) == len(row.values["label"])  # type: ignore[arg-type]
        assert chances == pytest.approx(others, abs=1e-5)
        path = [None, *(NAMES[tag] for tag in tags), None]
        assert all(follows(one, two, BIO) for one, two in itertools.pairwise(path))


def test_an_entity_across_the_edge_of_a_window_is_one_entity() -> None:
    task = task_of({"max_length": 8, "stride": 2})
    tags = ["O"] * 2 + ["B-PER"] + ["I-PER"] * 5 + ["O"] * 2
    row = Row({"text": [f"w{number}" for number in range(10)], "label": tags}, 1)
    split = encoded(task, row)
    assert split.sequences is not None
    assert split.sequences[1] == 2
    sure = np.eye(len(NAMES), dtype=np.float32)
    numbers = np.array([NAMES.index(tag) for tag in tags])
    scores: Any = [(numbers, sure[numbers])]
    (found,) = task.decode(scores, NAMES, split, [row])
    assert found["prediction"] == tags
    assert [(entity["start"], entity["end"]) for entity in found["entities"]] == [(2, 8)]
    assert task.metrics(scores, task.truth(split))["f1"] == 1


# Rare tags


def fitted(data: dict[str, Any], *rows: Row, **loss: Any) -> tuple[Task, TokenSplit]:
    wanted = {"task": "token-classification", "data": data, "train": {"loss": loss}}
    task = get_task(Recipe.model_validate(wanted), SmallTokenizer())
    split = encoded(task, *rows)
    task.fit(split, NAMES)
    return task, split


def mean_loss(
    task: Task, split: TokenSplit, table: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss, and the logits and tags of all words, one after another."""
    batch = collated(task, split, "packed")
    logits = emitted(batch, table)
    assert batch.marks is not None
    found = task.loss_sum(Output(logits), batch) / task.units(split, np.arange(len(split)))
    return found, logits[0], batch.marks


TABLE = torch.randn(4096, 5, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("longest", [8, 64])
def test_weights_focal_and_smoothed_losses_are_those_of_the_words(longest: int) -> None:
    rows, data = [sentence(23), sentence(5, 2)], {"max_length": longest}
    task, split = fitted(data, *rows, class_weights={"B-PER": 3.0}, label_smoothing=0.1)
    found, logits, tags = mean_loss(task, split, TABLE)
    weights = torch.tensor([1.0, 3.0, 1.0, 1.0, 1.0])
    torch.testing.assert_close(found, functional.cross_entropy(logits, tags, weights, label_smoothing=0.1))

    task, split = fitted(data, *rows, name="focal", focal_gamma=1.5, class_weights={"B-PER": 3.0})
    found, logits, tags = mean_loss(task, split, TABLE)
    right = logits.softmax(-1)[torch.arange(28), tags]
    expected = (-((1 - right) ** 1.5) * right.log() * weights[tags]).sum() / weights[tags].sum()
    torch.testing.assert_close(found, expected)


def test_balanced_tags_count_the_same_and_the_penalty_is_added() -> None:
    tags = ["O"] * 9 + ["B-PER", "B-PER", "B-LOC"]
    row = Row({"text": list(map(str, range(12))), "label": tags}, 1)
    task, split = fitted({"max_length": 64}, row, class_weights="balanced")
    found, logits, numbers = mean_loss(task, split, TABLE)
    terms = functional.cross_entropy(logits, numbers, reduction="none")
    by_tag = [terms[numbers == NAMES.index(tag)].mean() for tag in ("O", "B-PER", "B-LOC")]
    torch.testing.assert_close(found, sum(by_tag) / 3)
    apart = task.weigh(terms, collated(task, split, "packed")) / task.units(split, np.arange(1))
    torch.testing.assert_close(apart, found)

    both, _ = fitted({"max_length": 64}, row, class_weights="balanced")
    both.recipe = both.recipe.model_copy(
        update={"tagging": both.recipe.tagging.model_copy(update={"penalty": 2.0})}
    )
    penalty = task_of({"max_length": 64}, penalty=2.0)
    plain = task_of({"max_length": 64})
    batch = collated(task, split, "packed")
    output = Output(emitted(batch, TABLE))
    added = penalty.loss_sum(output, batch) - plain.loss_sum(output, batch)
    torch.testing.assert_close(both.loss_sum(output, batch) - task.loss_sum(output, batch), added)


def test_a_crf_has_no_loss_of_single_words_to_weigh() -> None:
    for key, value in {"name": "focal", "class_weights": "balanced", "label_smoothing": 0.1}.items():
        wanted = {
            "task": "token-classification",
            "data": {"train": "x.conll"},
            "train": {"loss": {key: value}},
        }
        for crf in (False, True):
            found = conflicts(Recipe.model_validate({**wanted, "tagging": {"crf": crf}}))
            told = [conflict for conflict in found if conflict.fields[0] == f"train.loss.{key}"]
            assert len(told) == crf


def test_a_weight_for_a_tag_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(RunFailed, match="no label 'B-PRE'") as caught:
        fitted({}, sentence(5), class_weights={"B-PRE": 2.0})
    assert "did you mean B-PER?" in str(caught.value.remedy)


# Whole runs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of six to 45 words, of which every third is a name."""
    directory = tmp_path_factory.mktemp("documents")
    for split, count in {"train": 48, "validation": 16}.items():
        random = np.random.default_rng(len(split))
        documents = []
        for _ in range(count):
            lines: list[str] = []
            for _ in range(int(random.integers(2, 16))):
                name = random.choice(["anna B-PER", "oslo B-LOC"])
                lines += ["look O", name, f"{random.choice(['went', 'stayed', 'sang'])} O"]
            documents.append("\n".join(lines))
        (directory / f"{split}.conll").write_text("\n\n".join(documents) + "\n")
    return directory


@pytest.mark.parametrize("crf", [False, True])
def test_a_run_on_documents_learns_and_predicts_every_word(
    crf: bool, data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    files = {split: str(data / f"{split}.conll") for split in ("train", "validation")} | {"test": None}
    wanted = recipe(
        data,
        task="token-classification",
        data={**files, "format": "conll", "max_length": 12},
        train={"lr": 5e-3, "max_steps": 16, "warmup": 0},
        tagging={"crf": crf},
        eval={"every": None},
    )
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    assert result(run)["best"]["value"] > 0.9
    assert losses(run)[-1] < losses(run)[0]
    measured = ranks.verb("eval", run.path)["validation"]
    assert measured["loss"] == pytest.approx(metrics(run, "validation")[-1]["eval/loss"], rel=1e-4)
    text = "look anna sang look oslo went " * 12
    (found,) = ranks.verb("predict", run.path, "--text", text)["predictions"]
    assert len(found["prediction"]) == len(found["probabilities"]) == 72
    assert None not in found["probabilities"]
    assert len(found["entities"]) == 24


def test_weighted_tags_of_windows_cost_the_same_on_two_ranks(
    data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    files = {split: str(data / f"{split}.conll") for split in ("train", "validation")} | {"test": None}
    found = []
    for count, batch in ((1, {}), (2, {"micro": 3})):
        wanted = recipe(
            data,
            task="token-classification",
            gpus=count,
            data={**files, "format": "conll", "max_length": 12},
            model={"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}},
            batch={"global": 16, **batch},
            train={"max_steps": 3, "lr": 3e-3, "loss": {"name": "focal", "class_weights": "balanced"}},
            eval={"every": None},
            checkpoint={"every": None},
        )
        found.append(ranks.complete(make_run(tmp_path / f"run{count}", wanted), count))
    one, two = found
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert metrics(two, "validation")[-1]["eval/loss"] == pytest.approx(
        metrics(one, "validation")[-1]["eval/loss"], abs=1e-5
    )
    again = ranks.verb("eval", one.path)
    assert again["validation"]["loss"] == pytest.approx(metrics(one, "validation")[-1]["eval/loss"], abs=1e-5)
