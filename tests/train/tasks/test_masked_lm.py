"""Masked language modelling: which words are hidden, the loss over them, and what a trained model fills in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.training import RankServer, losses, make_run, metrics, recipe, result
from transformers import AutoModelForMaskedLM, pipeline

from launcher.errors import RunFailed
from launcher.recipe.mlm import MaskedWords
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.dataset.prepare import encode_texts, prepare
from launcher.train.tokens.gather import Gathered, gather
from launcher.train.tokens.masking import IGNORE, Rules, hide, number_words
from launcher.train.tokens.tokenizer import train_tokenizer
from launcher.train.use.cloze_probes import make_probes

RULES = Rules(0.15, 0.8, 0.1, mask_id=4, vocabulary=np.arange(5, 1000))
GENERALS = {"诸葛": "亮", "关": "羽", "张": "飞", "赵": "云"}


def _tokens(lengths: list[int], words: int = 1) -> Gathered:
    """Examples of these lengths, first and last token special, `words` tokens to a word."""
    marks = [[IGNORE, *(place // words for place in range(n - 2)), IGNORE] for n in lengths]
    ids = np.arange(5, 5 + sum(lengths))
    return Gathered(ids, np.array(lengths), None, np.concatenate(marks), None)


def _part(whole: Gathered, example: int) -> Gathered:
    start = int(whole.lengths[:example].sum())
    end = start + int(whole.lengths[example])
    assert whole.marks is not None
    return replace(
        whole,
        ids=whole.ids[start:end],
        marks=whole.marks[start:end],
        lengths=whole.lengths[example : example + 1],
    )


def test_what_is_hidden_depends_on_seed_epoch_and_example_alone() -> None:
    whole, examples = _tokens([30, 8, 50]), np.array([7, 3, 11])
    ids, marks = hide(whole, examples, epoch=2, seed=1, rules=RULES)
    alone = [hide(_part(whole, k), examples[k : k + 1], epoch=2, seed=1, rules=RULES) for k in range(3)]
    np.testing.assert_array_equal(ids, np.concatenate([part for part, _ in alone]))
    np.testing.assert_array_equal(marks, np.concatenate([part for _, part in alone]))
    for other in ({"epoch": 3, "seed": 1}, {"epoch": 2, "seed": 2}):
        assert not np.array_equal(marks, hide(whole, examples, rules=RULES, **other)[1])


def test_15_percent_are_hidden_of_which_80_10_10() -> None:
    whole = _tokens([102] * 2000)
    ids, marks = hide(whole, np.arange(2000), epoch=0, seed=0, rules=RULES)
    hidden = marks != IGNORE
    assert hidden.mean() == pytest.approx(0.15 * 100 / 102, abs=0.003)
    np.testing.assert_array_equal(marks[hidden], whole.ids[hidden])
    np.testing.assert_array_equal(ids[~hidden], whole.ids[~hidden])
    masked, kept = ids[hidden] == 4, ids[hidden] == whole.ids[hidden]
    assert masked.mean() == pytest.approx(0.8, abs=0.01)
    assert kept.mean() == pytest.approx(0.1, abs=0.01)
    changed = ids[hidden][~masked & ~kept]
    assert len(np.unique(changed)) > 900  # any word of the vocabulary
    every, _ = hide(whole, np.arange(2000), 0, 0, replace(RULES, mask=1.0, random=0.0))
    assert set(every[every != whole.ids]) == {4}


def test_of_every_example_at_least_one_word_is_hidden() -> None:
    whole = _tokens([3] * 500)
    _, marks = hide(whole, np.arange(500), epoch=0, seed=0, rules=RULES)
    assert (marks.reshape(500, 3)[:, 1] != IGNORE).all()
    _, nothing = hide(_tokens([2]), np.arange(1), epoch=0, seed=0, rules=RULES)
    assert (nothing == IGNORE).all()  # there is no word


def test_whole_words_are_hidden_together() -> None:
    whole = _tokens([62] * 50, words=3)
    _, marks = hide(whole, np.arange(50), epoch=0, seed=0, rules=RULES)
    hidden = (marks != IGNORE).reshape(50, 62)[:, 1:-1].reshape(50, 20, 3)
    assert (hidden.any(axis=2) == hidden.all(axis=2)).all()
    assert 0.1 < hidden.mean() < 0.2


class Encoding:
    """诸葛亮出城 as a tokenizer cuts it: a character a token."""

    special_tokens_mask = (1, 0, 0, 0, 0, 0, 1)
    word_ids = (None, 0, 1, 2, 3, 4, None)
    offsets = ((0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 0))


def test_words_are_the_tokenizers_or_those_of_a_chinese_segmenter() -> None:
    def numbered(**settings: Any) -> list[int]:
        return number_words(Encoding(), "诸葛亮出城", MaskedWords(**settings)).tolist()

    assert numbered() == [IGNORE, 1, 2, 3, 4, 5, IGNORE]
    assert numbered(whole_word=True) == [IGNORE, 0, 1, 2, 3, 4, IGNORE]
    pytest.importorskip("jieba")
    name, out = (
        numbered(whole_word=True, segmenter="jieba")[1:4],
        numbered(whole_word=True, segmenter="jieba")[4],
    )
    assert len(set(name)) == 1
    assert out != name[0]


@pytest.fixture(scope="module")
def generals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences in which each general has his own name."""
    path = tmp_path_factory.mktemp("generals") / "text.txt"
    names = [family + given for family, given in GENERALS.items()]
    random = np.random.default_rng(1)
    before, after = ("却说", "忽见", "", "一日", "次日"), ("引兵", "出城", "大怒", "笑曰", "上马")
    lines = [random.choice(before) + names[k % 4] + random.choice(after) for k in range(400)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _recipe(text: Path, /, **changes: Any) -> Recipe:
    data = {
        "train": str(text),
        "validation": None,
        "test": None,
        "split": [0.9, 0.1],
        **changes.pop("data", {}),
    }
    mlm = {
        "probes": [{"text": "诸葛[MASK]引兵", "answer": "亮"}, {"text": "却说关[MASK]引兵", "answer": "羽"}]
    }
    return recipe(text.parent, task="masked-lm", data=data, mlm=mlm, **changes)


@pytest.fixture(scope="module")
def trained(generals: Path, tmp_path_factory: pytest.TempPathFactory, ranks: RankServer) -> RunDir:
    wanted = _recipe(
        generals,
        model={"scratch": {"hidden": 64}, "dropout": {"hidden": 0.0, "attention": 0.0}},
        batch={"global": 32},
        train={"lr": 3e-3, "max_steps": 300},
        eval={"every": 150},
    )
    return ranks.complete(make_run(tmp_path_factory.mktemp("mlm") / "run", wanted))


@pytest.mark.long
def test_the_probes_show_what_is_learnt_before_during_and_after(trained: RunDir) -> None:
    rows = metrics(trained, "probes")
    assert [row["step"] for row in rows] == [0, 150, 300]
    assert rows[0]["eval/probe/1/probability"] < 0.1
    assert rows[-1]["eval/probe/1/probability"] > 0.5
    assert rows[-1]["eval/probe/2/rank"] == 1
    assert rows[-1]["eval/accuracy"] == 1
    validation = metrics(trained, "validation")[-1]
    assert validation["eval/perplexity"] == pytest.approx(np.exp(validation["eval/loss"]))


def test_predictions_name_the_candidates_as_transformers_does(trained: RunDir, ranks: RankServer) -> None:
    text = "却说赵[MASK]引兵"
    (found,) = ranks.verb("predict", trained.path, "--text", text)["predictions"]
    assert found["prediction"] == text.replace("[MASK]", "云")
    theirs = pipeline("fill-mask", model=str(trained.model))(text)
    assert list(found["probabilities"]) == [candidate["token_str"] for candidate in theirs]
    assert list(found["probabilities"].values()) == pytest.approx([c["score"] for c in theirs], abs=1e-5)
    (two,) = ranks.verb("predict", trained.path, "--text", "却说关[MASK]引[MASK]")["predictions"]
    first, second = (next(iter(mask)) for mask in two["candidates"])
    assert two["prediction"] == f"却说关{first}引{second}"


def test_the_loss_is_the_mean_over_hidden_words_that_transformers_computes(
    trained: RunDir, generals: Path
) -> None:
    from transformers import AutoTokenizer

    from launcher.train.tasks import get_task

    tokenizer = AutoTokenizer.from_pretrained(trained.model)
    model = AutoModelForMaskedLM.from_pretrained(trained.model)
    wanted = _recipe(generals)
    task = get_task(wanted, tokenizer)
    split = prepare(wanted, tokenizer).train
    examples = np.arange(8)
    found = task.gather(split, examples, epoch=1)
    assert found.marks is not None
    assert task.units(split, examples, 1) == (found.marks != IGNORE).sum() > 8
    from launcher.train.packed.collate import PaddedCollate
    from launcher.train.tokens.mover import Mover

    batch = PaddedCollate(task, 0, 1, True, Mover(torch.device("cpu")))(split, examples, 1)
    width = batch.inputs["input_ids"].shape[1]
    labels = np.full((8, width), IGNORE)
    labels[np.arange(width) < found.lengths[:, None]] = found.marks
    with torch.no_grad():
        theirs = model(**batch.inputs, labels=torch.from_numpy(labels))
        ours = task.loss_sum(theirs, batch) / task.units(split, examples, 1)
    torch.testing.assert_close(ours, theirs.loss)


def test_losses_are_the_same_on_two_ranks(generals: Path, tmp_path: Path, ranks: RankServer) -> None:
    none = {"dropout": {"hidden": 0.0, "attention": 0.0}}
    one, two = (
        losses(ranks.complete(make_run(tmp_path / f"{n}", _recipe(generals, gpus=n, model=none)), n))
        for n in (1, 2)
    )
    assert one == pytest.approx(two, abs=1e-4)


def test_long_texts_are_cut_into_windows_and_no_word_is_lost(generals: Path) -> None:
    text = "".join("东西南北"[k % 4] for k in range(100))
    wanted = _recipe(generals, data={"max_length": 32})
    tokenizer = train_tokenizer([text], wanted.model.scratch)
    from launcher.tasks.shared.rows import Row

    split = encode_texts(tokenizer, [Row({"text": text}, 1), Row({"text": "东"}, 2)], wanted, label_names=())
    assert split.sequences is not None
    assert split.sequences.tolist() == [0, 4, 5]
    found = gather(split, np.array([0]))
    assert found.marks is not None
    assert found.lengths.max() == 32
    assert (found.marks != IGNORE).sum() == 100


@pytest.mark.parametrize(
    ("text", "answer", "message"),
    [
        ("诸葛[MASK][MASK]", "亮", "the sentence has 2 masks, the answer 1 tokens"),
        ("诸葛亮", "亮", "the sentence has 0 masks"),
        ("诸葛[MASK]", "☃", "not in the model's vocabulary"),
    ],
)
def test_a_probe_that_cannot_be_tried_says_why(generals: Path, text: str, answer: str, message: str) -> None:
    wanted = recipe(
        generals.parent,
        task="masked-lm",
        data={"train": str(generals)},
        mlm={"probes": [{"text": text, "answer": answer}]},
    )
    tokenizer = train_tokenizer(generals.read_text(encoding="utf-8").splitlines(), wanted.model.scratch)
    with pytest.raises(RunFailed, match=message):
        make_probes(wanted, tokenizer, None)


def test_adapters_train_without_the_head_that_comes_with_the_model(
    trained: RunDir, generals: Path, tmp_path: Path, ranks: RankServer
) -> None:
    wanted = _recipe(
        generals,
        tuning="lora",
        model={"name": str(trained.model), "init": "pretrained"},
        train={"lr": 1e-2, "max_steps": 20},
    )
    run = ranks.complete(make_run(tmp_path / "lora", wanted))
    measured = json.loads(run.result.read_text())["measured"]
    assert measured["trainable_parameters"] < measured["parameters"] / 10
    AutoModelForMaskedLM.from_pretrained(run.model)


def _blank(path: Path) -> str:
    path.write_text("\n\n  \n")
    return str(path)


def test_validation_lines_without_text_are_named_before_training(generals: Path, tmp_path: Path) -> None:
    wanted = _recipe(generals, data={"validation": _blank(tmp_path / "blank.txt"), "split": None})
    tokenizer = train_tokenizer(generals.read_text(encoding="utf-8").splitlines(), wanted.model.scratch)
    with pytest.raises(RunFailed, match="no validation example has text"):
        prepare(wanted, tokenizer)


def test_test_lines_without_text_have_no_figures_and_hurt_nothing(
    generals: Path, tmp_path: Path, ranks: RankServer
) -> None:
    blank = _blank(tmp_path / "blank.txt")
    data = {"validation": str(generals), "test": blank, "split": None}
    run = ranks.complete(make_run(tmp_path / "run", _recipe(generals, data=data, train={"max_steps": 1})))
    assert result(run)["test"] == {"loss": None}
    assert ranks.verb("eval", run.path, blank)["blank.txt"] == {"loss": None}


def test_a_missing_text_has_no_prediction(trained: RunDir, tmp_path: Path, ranks: RankServer) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": null}\n{"text": "却说赵[MASK]引兵"}\n', encoding="utf-8")
    ranks.verb("predict", trained.path, file, "--output", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["prediction"] for row in rows] == ["", "却说赵云引兵"]
