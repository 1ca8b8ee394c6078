"""Multiple choice, ranking and long texts: examples of several sequences, and pairs that are ordered by query."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from support.small_tokenizer import SmallTokenizer
from support.training import RankServer, losses, make_run, metrics, recipe, result
from transformers import AutoModelForMultipleChoice, AutoTokenizer

from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.dataset.prepare import prepare
from launcher.train.packed.collate import PaddedCollate
from launcher.train.tasks import get_task
from launcher.train.tasks.ranking import ndcg, reciprocal_rank
from launcher.train.tokens.mover import Mover

COLOURS = ("red", "blue", "green", "white")
NO_DROPOUT = {"dropout": {"hidden": 0.0, "attention": 0.0}}


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Which of three or four things is of the colour that is asked for."""
    directory = tmp_path_factory.mktemp("choices")
    random = np.random.default_rng(0)
    for name, count in (("train", 200), ("validation", 40)):
        rows = []
        for _ in range(count):
            offered = random.permutation(COLOURS)[: random.integers(3, 5)].tolist()
            right = int(random.integers(len(offered)))
            options = [f"a {colour} hat" for colour in offered]
            rows.append(
                {
                    "context": "look",
                    "question": f"what is {offered[right]}",
                    "options": options,
                    "answer": right,
                }
            )
        _jsonl(directory / f"{name}.jsonl", rows)
    return directory


def _choice_recipe(directory: Path, /, **changes: Any) -> Recipe:
    data = {
        **{split: str(directory / f"{split}.jsonl") for split in ("train", "validation")}, "test": None,
        "text": ["context", "question"], "choices": "options", "label": "answer",
    }  # fmt: skip
    return recipe(directory, task="multiple-choice", data=data, model=NO_DROPOUT, **changes)


@pytest.fixture(scope="module")
def chosen(choices: Path, tmp_path_factory: pytest.TempPathFactory, ranks: RankServer) -> RunDir:
    wanted = _choice_recipe(choices, train={"lr": 5e-3, "max_steps": 60})
    return ranks.complete(make_run(tmp_path_factory.mktemp("choice") / "run", wanted))


def test_every_further_text_is_a_choice(chosen: RunDir, ranks: RankServer) -> None:
    asked = [part for text in ("look", "what is red", "a red hat", "a blue hat") for part in ("--text", text)]
    (row,) = ranks.verb("predict", chosen.path, *asked)["predictions"]
    assert row["prediction"] == row["options"][row["choice"]]
    assert row["options"] == ["a red hat", "a blue hat"]
    (problem,) = ranks.verb("predict", chosen.path, *asked[:6], code=2)["problems"]
    assert problem["message"] == "3 given, context and question and two or more choices needed"


def test_rows_without_choices_are_named(chosen: RunDir, tmp_path: Path, ranks: RankServer) -> None:
    asked = {"context": "look", "question": "what is red"}
    path = tmp_path / "in.jsonl"
    _jsonl(path, [{**asked, "options": ["a red hat", "a hat"]}, {**asked, "options": []}, asked])
    problems = ranks.verb("predict", chosen.path, path, code=2)["problems"]
    assert [problem["where"] for problem in problems] == [f"{path}:2", f"{path}:3"]
    assert "is not a list of two or more choices" in problems[0]["message"]


def test_a_choice_is_predicted_with_its_probability(chosen: RunDir, choices: Path, ranks: RankServer) -> None:
    assert metrics(chosen, "validation")[-1]["eval/accuracy"] >= 0.2
    output = choices / "out.jsonl"
    ranks.verb("predict", chosen.path, choices / "validation.jsonl", "--output", output)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    for row in rows:
        assert row["prediction"] == row["options"][row["choice"]]
        assert len(row["probabilities"]) == len(row["options"])
        assert sum(row["probabilities"]) == pytest.approx(1)
    right = np.mean([row["choice"] == row["answer"] for row in rows])
    assert right == pytest.approx(metrics(chosen, "validation")[-1]["eval/accuracy"])


def test_the_loss_is_that_of_transformers(chosen: RunDir, choices: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chosen.model)
    model = AutoModelForMultipleChoice.from_pretrained(chosen.model)
    wanted = _choice_recipe(choices)
    task, split = get_task(wanted, tokenizer), prepare(wanted, tokenizer).train
    assert split.sequences is not None
    four = np.flatnonzero(np.diff(split.sequences) == 4)[:5]
    batch = PaddedCollate(task, 0, 1, True, Mover(torch.device("cpu")))(split, four)
    ours = task.loss_sum(model(**batch.inputs), batch) / len(four)
    rows = {name: value.squeeze(1).reshape(5, 4, -1) for name, value in batch.inputs.items()}
    theirs = model(**rows, labels=batch.labels)
    torch.testing.assert_close(ours, theirs.loss)


@pytest.mark.long
def test_choices_train_the_same_on_two_ranks(choices: Path, tmp_path: Path, ranks: RankServer) -> None:
    one, two = (
        losses(
            ranks.complete(
                make_run(tmp_path / f"{n}", _choice_recipe(choices, gpus=n, train={"max_steps": 8})), n
            )
        )
        for n in (1, 2)
    )
    assert one == pytest.approx(two, abs=1e-4)


def test_orders_are_rated_by_hand() -> None:
    assert reciprocal_rank(np.array([0.0, 0, 1, 1])) == pytest.approx(1 / 3)
    assert reciprocal_rank(np.array([0.0] * 10 + [1])) == 0
    assert ndcg(np.array([3.0, 0, 1])) == pytest.approx((7 + 1 / 2) / (7 + 1 / math.log2(3)))
    assert ndcg(np.array([3.0, 1, 0])) == 1


def test_documents_are_ranked_within_their_query() -> None:
    task = get_task(Recipe.model_validate({"task": "ranking", "data": {"text": ("query", "document")}}))
    #         query 0: right first; query 1: right second; query 2: nothing relevant
    truth = np.array([[1, 0], [0, 0], [0, 1], [1, 1], [0, 2]], float)
    scores = np.array([2.0, -1, 3, 1, 5])
    found = task.metrics(scores, truth)
    assert found["mrr"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["ndcg"] == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert found["accuracy"] == pytest.approx(3 / 5)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("documents")
    random = np.random.default_rng(0)
    for name, queries in (("train", 60), ("validation", 20)):
        rows = []
        for number in range(queries):
            wanted = random.choice(COLOURS)
            for colour in COLOURS:
                text = f"the {colour} house number {random.integers(5)}"
                rows.append(
                    {
                        "query": f"{wanted} house {number}",
                        "document": text,
                        "relevance": int(colour == wanted) * 2,
                    }
                )
        _jsonl(directory / f"{name}.jsonl", rows)
    return directory


def _ranking_recipe(directory: Path, /, **changes: Any) -> Recipe:
    data = {
        **{split: str(directory / f"{split}.jsonl") for split in ("train", "validation")}, "test": None,
        "text": ["query", "document"], "label": "relevance",
    }  # fmt: skip
    return recipe(directory, task="ranking", data=data, model=NO_DROPOUT, **changes)


def test_ranking_trains_and_predicts_places(documents: Path, tmp_path: Path, ranks: RankServer) -> None:
    wanted = _ranking_recipe(documents, ranking={"max_relevance": 2.0}, train={"lr": 5e-3, "max_steps": 30})
    wanted = wanted.model_copy(update={"data": wanted.data.model_copy(update={"max_length": 13})})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    assert result(run)["best"]["metric"] == "ndcg"
    assert {"eval/mrr", "eval/ndcg", "eval/accuracy"} <= metrics(run, "validation")[-1].keys()
    asked = [part for colour in COLOURS for part in ("--text", "red house", "--text", f"the {colour} house")]
    rows = ranks.verb("predict", run.path, *asked)["predictions"]
    assert sorted(row["rank"] for row in rows) == [1, 2, 3, 4]
    best = min(rows, key=lambda row: row["rank"])
    assert best["prediction"] == max(row["prediction"] for row in rows) <= 2
    # Plain sentence-transformers scores alike, of texts that are cut as well.
    pairs = [
        ("red house", "the red house"),
        ("white house " * 9, "the white house"),
        ("red", "the green " * 9),
    ]
    asked = [part for pair in pairs for text in pair for part in ("--text", text)]
    rows = ranks.verb("predict", run.path, *asked)["predictions"]
    theirs = 2 * CrossEncoder(str(run.model), device="cpu").predict(pairs)
    np.testing.assert_allclose([row["prediction"] for row in rows], theirs, atol=1e-6)


def test_a_relevance_above_the_highest_is_named_also_where_the_data_were_tokenised_for_a_higher_one(
    documents: Path,
) -> None:
    prepare(_ranking_recipe(documents, ranking={"max_relevance": 2.0}), SmallTokenizer())
    message = r"train\.jsonl:\d+: relevance: 2 is not from 0 to 1, ranking\.max_relevance"
    with pytest.raises(RunFailed, match=message):
        prepare(_ranking_recipe(documents), SmallTokenizer())


@pytest.mark.long
def test_a_long_text_is_read_in_windows_whose_logits_are_pooled(tmp_path: Path, ranks: RankServer) -> None:
    """What decides stands behind the first window: cut off it can't be learnt, in windows it can."""
    rows = [
        {"text": " ".join(["word"] * 14 + [("good", "bad")[k % 2]]), "label": ("good", "bad")[k % 2]}
        for k in range(80)
    ]
    data = {
        "train": _jsonl(tmp_path / "train.jsonl", rows), "validation": _jsonl(tmp_path / "some.jsonl", rows[:20]),
        "test": None, "max_length": 12, "stride": 4,
    }  # fmt: skip

    def accuracy(windows: str | None) -> float:
        wanted = recipe(
            tmp_path, data={**data, "windows": windows}, model=NO_DROPOUT, train={"lr": 5e-3, "max_steps": 60}
        )
        run = ranks.complete(make_run(tmp_path / f"run-{windows}", wanted))
        return float(metrics(run, "validation")[-1]["eval/accuracy"])

    assert accuracy(None) == 0.5
    assert accuracy("mean") == 1
    assert accuracy("max") == 1
