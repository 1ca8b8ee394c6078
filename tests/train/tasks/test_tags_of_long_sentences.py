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
        output = Output(table[batch.inputs["input_ids"] % 4096], steps if "crf" in tagging else None)
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
