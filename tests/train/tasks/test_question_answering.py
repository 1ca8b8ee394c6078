"""Question answering: where answers are marked, the loss, the official figures, and answers found in long contexts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.training import RankServer, losses, make_run, metrics, recipe
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from launcher.reading.cleaning import mend
from launcher.recipe.data import Clean
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.tasks.shared.answers import NOWHERE, Answer
from launcher.train.dataset.prepare import prepare
from launcher.train.packed.collate import PaddedCollate
from launcher.train.tasks import get_task
from launcher.train.tasks.answer_scores import exact_match, f1
from launcher.train.tasks.question_answering import (
    END,
    OUTSIDE,
    START,
    UNKNOWN,
    best_of,
    stretches,
    token_marks,
)
from launcher.train.tokens.mover import Mover

PEOPLE, PLACES = ("anna", "boris", "clara", "david"), ("paris", "rome", "oslo", "lima", "cairo")


class Window:
    """[CLS] who ? [SEP] anna is here [SEP] as a tokenizer cuts it."""

    sequence_ids = (None, 0, 0, None, 1, 1, 1, None)
    offsets = ((0, 0), (0, 3), (3, 4), (0, 0), (0, 4), (5, 7), (8, 12), (0, 0))


def test_the_tokens_that_the_answer_starts_and_ends_with_are_marked() -> None:
    marks = token_marks(Window(), [Answer("is here", 5)])
    assert marks[:, 2].tolist() == [0, 0, 0, 0, 0, START, END, 0]
    assert marks[4:7, :2].tolist() == [[0, 4], [5, 7], [8, 12]]
    assert set(marks[[0, 1, 2, 3, 7], 0]) == {OUTSIDE}
    assert token_marks(Window(), [Answer("anna", 0)])[4, 2] == START | END
    assert not token_marks(Window(), [Answer("or there", 13)])[:, 2].any()  # in another window
    assert not token_marks(Window(), [])[:, 2].any()
    lost = Answer("carl", NOWHERE)
    assert token_marks(Window(), [lost, Answer("anna", 0)])[4, 2] == START | END
    assert token_marks(Window(), [lost])[:, 2].tolist() == [UNKNOWN, *[0] * (len(marks) - 1)]


def test_the_best_stretch_lies_in_the_context_and_is_not_too_long() -> None:
    offsets = np.array([[-1, -1], [-1, -1], [0, 4], [5, 7], [8, 12]])
    start, end = np.array([9.0, 9, 1, 3, 0]), np.array([9.0, 9, 0, 1, 4])
    found = stretches(np.stack([start, end], axis=1), offsets, longest=2)
    assert found[0].tolist() == [18, -1, -1]  # no answer
    assert found[1].tolist() == [7, 5, 12]
    assert [1 + 4, 0, 12] not in found[1:].tolist()  # three tokens
    assert all(first < last for _, first, last in found[1:])


def test_over_several_windows_the_best_stretch_and_the_least_certain_refusal_count() -> None:
    windows = [np.array([[5.0, -1, -1], [3, 0, 4]]), np.array([[-2.0, -1, -1], [6, 8, 12]])]
    assert best_of(windows).tolist() == [[-2, -1, -1], [6, 8, 12], [3, 0, 4]]


def test_answers_are_compared_as_the_official_evaluation_does() -> None:
    assert exact_match("the Eiffel Tower!", ["eiffel tower"]) == 1
    assert exact_match("Eiffel", ["eiffel tower"]) == 0
    assert f1("a tall Eiffel tower", ["Eiffel Tower"]) == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert (f1("a red car", ["red car"], "characters"), f1("car red", ["red car"])) == (0.8, 1)
    assert f1("wrong", ["Eiffel Tower", "wrong answer"]) == pytest.approx(2 / 3)
    assert (f1("", [""]), f1("", ["x"]), f1("x", [""])) == (1, 0, 0)


def _squad(path: Path, count: int, seed: int, unanswerable: bool = False) -> Path:
    """Contexts that say where four people live; some are longer than a window."""
    random = np.random.default_rng(seed)
    paragraphs = []
    for number in range(count):
        homes = dict(zip(PEOPLE, random.choice(PLACES, len(PEOPLE)), strict=True))
        order = random.permutation(PEOPLE)[:3]
        context = " . ".join(f"{person} lives in {homes[person]}" for person in order)
        context += " . and so on" * int(random.integers(0, 12))
        asked = random.choice(order)
        answers = [{"text": homes[asked], "answer_start": context.index(homes[asked], context.index(asked))}]
        if unanswerable and number % 3 == 0:
            asked, answers = next(person for person in PEOPLE if person not in order), []
        question = {"id": str(number), "question": f"where does {asked} live", "answers": answers}
        paragraphs.append({"context": context, "qas": [{**question, "is_impossible": not answers}]})
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "homes", "paragraphs": paragraphs}]}))
    return path


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("homes")
    _squad(directory / "train.json", 240, seed=1)
    _squad(directory / "validation.json", 40, seed=2)
    _squad(directory / "open.json", 90, seed=3, unanswerable=True)
    return directory


def _recipe(data: Path, /, **changes: Any) -> Recipe:
    files = {
        "train": str(data / "train.json"), "validation": str(data / "validation.json"), "test": None,
        "text": ["question", "context"], "label": "answers", "max_length": 32, "stride": 8, **changes.pop("data", {}),
    }  # fmt: skip
    none = {"dropout": {"hidden": 0.0, "attention": 0.0}, **changes.pop("model", {})}
    return recipe(data, task="question-answering", data=files, model=none, **changes)


@pytest.fixture(scope="module")
def trained(homes: Path, tmp_path_factory: pytest.TempPathFactory, ranks: RankServer) -> RunDir:
    wanted = _recipe(homes, train={"lr": 5e-3, "max_steps": 120}, eval={"every": 60})
    return ranks.complete(make_run(tmp_path_factory.mktemp("qa") / "run", wanted))


def test_training_finds_answers(trained: RunDir) -> None:
    rows = metrics(trained, "validation")
    assert 0 <= rows[-1]["eval/exact_match"] <= rows[-1]["eval/f1"] <= 1
    assert rows[-1]["eval/f1"] > 0.3  # places at random: 0.2
    assert losses(trained)[-1] < losses(trained)[0]


def test_predictions_point_into_the_context(trained: RunDir, ranks: RankServer) -> None:
    context = "boris lives in rome . anna lives in oslo" + " . and so on" * 12
    (found,) = ranks.verb("predict", trained.path, "--text", "where does anna live", "--text", context)[
        "predictions"
    ]
    assert found["prediction"] == context[found["start"] : found["end"]] != ""
    assert found["prediction"] in found["probabilities"]
    assert sum(found["probabilities"].values()) <= 1 + 1e-6


def test_answers_are_those_of_the_context_as_it_was_given(
    homes: Path, tmp_path: Path, ranks: RankServer
) -> None:
    """Whatever of a mended context is predicted, `start` and `end` say where that stands in the input's own."""
    wanted = _recipe(
        homes,
        data={"clean": {"html": True, "whitespace": True}, "stride": None},
        train={"max_steps": 2},
        eval={"every": None},
    )
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    context = "<p>&amp; so</p> <b>Anna</b> went away"
    (found,) = ranks.verb("predict", run.path, "--text", "who", "--text", context)["predictions"]
    assert found["context"] == context
    stretch = context[found["start"] : found["end"]]
    assert found["prediction"] == mend(stretch, Clean(html=True, whitespace=True)) != ""

    long = "where does anna live " * 30
    rows = ranks.verb("predict", run.path, "--text", long, "--text", context * 9)["predictions"]
    assert rows[0]["prediction"], "a question longer than a window is cut"


def test_the_loss_is_that_of_transformers(trained: RunDir, homes: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trained.model)
    model = AutoModelForQuestionAnswering.from_pretrained(trained.model)
    wanted = _recipe(homes)
    task, split = get_task(wanted, tokenizer), prepare(wanted, tokenizer).train
    examples = np.arange(6)
    batch = PaddedCollate(task, 0, 1, True, Mover(torch.device("cpu")))(split, examples)
    assert batch.sequences is not None
    assert batch.lengths is not None
    assert batch.sequences.max() > 1  # windows
    assert task.units(split, examples) == len(batch.lengths) == batch.sequences.sum()
    assert batch.marks is not None
    flags = [part[:, 2] for part in batch.marks.split(batch.lengths.tolist())]
    start, end = (
        torch.tensor([int(((part & flag) > 0).int().argmax()) for part in flags]) for flag in (START, END)
    )
    assert (start > 0).any()
    assert (start == 0).any()
    ours = task.loss_sum(model(**batch.inputs), batch) / len(batch.lengths)
    # One by one: in a batch, transformers takes padding for places where an answer might start.
    theirs = [
        model(
            input_ids=batch.inputs["input_ids"][k : k + 1, :n],
            token_type_ids=batch.inputs["token_type_ids"][k : k + 1, :n],
            start_positions=start[k : k + 1],
            end_positions=end[k : k + 1],
        ).loss
        for k, n in enumerate(batch.lengths)
    ]
    torch.testing.assert_close(ours, torch.stack(theirs).mean())


def test_questions_without_an_answer_are_refused(homes: Path, tmp_path: Path, ranks: RankServer) -> None:
    data = {"train": str(homes / "open.json"), "validation": str(homes / "open.json")}
    wanted = _recipe(homes, data=data, qa={"unanswerable": True}, train={"lr": 5e-3, "max_steps": 6})
    (row,) = metrics(ranks.complete(make_run(tmp_path / "run", wanted)), "validation")
    assert 0 <= row["eval/answerable_accuracy"] <= 1
    task = get_task(wanted)
    surely, refused = np.array([[0.0, -1, -1], [5, 0, 4]]), np.array([[6.0, -1, -1], [5, 0, 4]])
    truth = [{"context": "anna", "answers": ["anna"]}, {"context": "anna", "answers": []}]
    assert task.metrics([surely, refused], truth) == {"exact_match": 1, "f1": 1, "answerable_accuracy": 1}
    assert task.metrics([refused, surely], truth) == {"exact_match": 0, "f1": 0, "answerable_accuracy": 0}


def test_losses_are_the_same_on_two_ranks(homes: Path, tmp_path: Path, ranks: RankServer) -> None:
    one, two = (
        losses(ranks.complete(make_run(tmp_path / f"{n}", _recipe(homes, gpus=n, train={"max_steps": 8})), n))
        for n in (1, 2)
    )
    assert one == pytest.approx(two, abs=1e-4)


def test_chinese_answers_are_compared_by_characters_as_cmrc_does() -> None:
    assert exact_match("1963\u5e74\u3002", ["1963\u5e74"]) == 1  # punctuation doesn't count
    # of 4 and 3 characters 3 are one run: 2 * 3 / 7; by blanks nothing would be the same
    assert f1("\u5c71\u4e1c\u5927\u5b66", ["\u5c71\u4e1c\u5927"]) == pytest.approx(6 / 7)
    assert f1("\u5c71\u4e1c\u5927\u5b66", ["\u5c71\u4e1c\u5927"], "words") == 0
    # the longest run counts, not what both have in any order
    assert f1("\u5927\u5b66\u5c71\u4e1c", ["\u5c71\u4e1c\u5927\u5b66"]) == pytest.approx(2 * 2 / 8)


def test_korean_and_thai_answers_are_compared_by_characters_too() -> None:
    seoul, with_particle = "\uc11c\uc6b8", "\uc11c\uc6b8\uc740"
    assert exact_match(f"{seoul}.", [seoul]) == 1
    assert f1(with_particle, [seoul]) == pytest.approx(2 * 2 / 5)  # 0 by words
    # in any order, as KorQuAD's evaluation has it
    assert f1(f"\uc218\ub3c4 {seoul}", [f"{seoul} \uc218\ub3c4"]) == 1
    bangkok, it_is = "\u0e01\u0e23\u0e38\u0e07\u0e40\u0e17\u0e1e", "\u0e40\u0e1b\u0e47\u0e19"
    assert f1(bangkok + it_is, [bangkok]) == pytest.approx(2 * 7 / 18)
