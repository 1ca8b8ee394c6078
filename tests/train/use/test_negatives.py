"""Hard negatives: BM25, what is left out, and files that train without editing."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.training import RankServer, make_run, recipe, result

from launcher.errors import UserError
from launcher.reading.corpus import document_rows, documents
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.use import negatives
from launcher.train.use.bm25 import K1, B, Bm25
from launcher.train.use.evaluation import no_progress
from launcher.train.use.negatives import Query, Wanted, labelled_table, mine, table

# BM25


def test_bm25_by_hand() -> None:
    corpus = ["the cat sat", "the dog sat on the cat", "a bird", "\u4e2d\u56fd\u4eba"]
    index = Bm25(corpus)
    assert [list(found) for found in index.best(["Cat!", "fish", "\u4e2d"], 5)] == [[0, 1], [], [3]]
    mean = (3 + 6 + 2 + 3) / 4
    rarity = np.log1p((4 - 2 + 0.5) / 2.5)
    expected = rarity * (K1 + 1) / (1 + K1 * (1 - B + B * 6 / mean))
    assert index.scores("cat")[1] == pytest.approx(expected)
    assert [list(found) for found in index.best(["the dog"], 1)] == [[1]]


def test_words_of_hindi_are_whole() -> None:
    """No text shares a word with another because both have a consonant."""
    index = Bm25(["\u0939\u093f\u0928\u094d\u0926\u0940", "\u0928\u0926\u0940 \u0939\u0948"])
    assert [found.tolist() for found in index.best(["\u0939\u093f\u0928\u094d\u0926\u0940"], 2)] == [[0]]


def test_a_corpus_is_a_column_or_lines_each_text_once(tmp_path: Path) -> None:
    wanted = Recipe.model_validate({"task": "ranking", "data": {"text": ("query", "document")}})
    lines = tmp_path / "corpus.txt"
    lines.write_text("one\ntwo\n\none\n")
    assert documents(lines, wanted) == ["one", "two"]
    assert [row.values for row in document_rows(lines, wanted)][1] == {"document": "two"}
    rows = tmp_path / "corpus.csv"
    rows.write_text("id,document\n1,one\n2,two\n")
    assert documents(rows, wanted) == ["one", "two"]
    rows.write_text("id,passage\n1,one\n")
    with pytest.raises(UserError, match="no column 'document'"):
        documents(rows, wanted)


# What is chosen

WORDS = {"CAT": 0.95, "good": 0.9, "near": 0.85, "fair": 0.6, "low": 0.1, "poor": 0.05}
"""How relevant a model finds a document with this word."""


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model that finds documents as relevant as WORDS says, whatever the query."""

    def scores(_: Any, pairs: Sequence[tuple[str, str]], progress: Any) -> Any:
        del progress
        chances = np.array([WORDS[text.split()[0]] for _, text in pairs])
        return np.log(chances / (1 - chances))

    monkeypatch.setattr(negatives, "_scores", scores)
    return SimpleNamespace(task=SimpleNamespace(spec=SimpleNamespace(negatives_by="pairs")))


CORPUS = ["poor cat", "near cat", "good cat", "fair cat", "good  Cat ", "low cat", "CAT"]
CAT = Query("cat", ("good cat", "fair cat"), (2.0, 1.0))


def found(predictor: Any, wanted: Wanted) -> list[tuple[str, ...]]:
    return [each.negatives for each in mine(predictor, [CAT], CORPUS, wanted, lambda _: no_progress)]


def test_the_hardest_come_first_and_no_positive_is_among_them(predictor: Any) -> None:
    assert found(predictor, Wanted(2)) == [("near cat", "low cat")] * 2
    assert found(predictor, Wanted(9)) == [("near cat", "low cat", "poor cat")] * 2


def test_a_document_that_differs_in_case_and_blanks_alone_is_no_other_negative(tmp_path: Path) -> None:
    lines = tmp_path / "corpus.txt"
    lines.write_text("near cat\nLow cat\nNEAR  CAT\nlow cat\npoor cat\n")
    wanted = Recipe.model_validate({"task": "ranking", "data": {"text": ("query", "document")}})
    assert documents(lines, wanted) == ["near cat", "Low cat", "poor cat"]


def test_with_a_margin_what_scores_as_high_as_the_positive_is_left_out(predictor: Any) -> None:
    assert found(predictor, Wanted(2, margin=0.1)) == [("low cat", "poor cat")] * 2
    assert found(predictor, Wanted(2, margin=0.01)) == [("near cat", "low cat"), ("low cat", "poor cat")]
    assert found(predictor, Wanted(2, margin=0.56)) == [("low cat", "poor cat"), ()]


def test_rows_have_a_column_for_each_negative_or_a_row_for_each_document(predictor: Any) -> None:
    mined = list(mine(predictor, [CAT], CORPUS, Wanted(2, margin=0.56), lambda _: no_progress))
    assert list(table(mined, Wanted(2), ("query", "document"))) == [
        {"query": "cat", "document": "good cat", "negative_1": "low cat", "negative_2": "poor cat"},
        {"query": "cat", "document": "fair cat", "negative_1": None, "negative_2": None},
    ]
    rows = list(labelled_table(mined, ("query", "document", "label")))
    assert [(row["document"], row["label"]) for row in rows] == [
        ("good cat", 2), ("fair cat", 1), ("low cat", 0), ("poor cat", 0),
    ]  # fmt: skip


def test_vectors_are_compared_by_their_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    directions = {"cat": 0, "good cat": 20, "near cat": 30, "fair cat": 40, "low cat": 90, "poor cat": 120}

    def vectors(_: Any, column: str, texts: Sequence[str], progress: Any) -> Any:
        del column, progress
        angles = np.radians([directions[text] for text in texts])
        return np.stack([3 * np.cos(angles), 3 * np.sin(angles)], axis=1).astype(np.float32)

    monkeypatch.setattr(negatives, "_vectors", vectors)
    spec = SimpleNamespace(negatives_by="vectors", given_texts=("query", "document"))
    corpus = ["poor cat", "low cat", "fair cat", "near cat", "good cat"]
    query, model = Query("cat", ("good cat",), (1.0,)), SimpleNamespace(task=SimpleNamespace(spec=spec))
    for margin, expected in ((None, ("near cat", "fair cat")), (0.1, ("fair cat", "low cat"))):
        (each,) = mine(model, [query], corpus, Wanted(2, margin), lambda _: no_progress)  # type: ignore[arg-type]
        assert each.negatives == expected


def test_a_positive_far_below_another_has_its_negatives_in_a_large_corpus_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the two stand more documents than are looked at for a query."""
    angles = {"cat": 0.0, "near": 0.5, "far": 60.0}
    angles |= {f"between {number}": 1 + number / 10 for number in range(300)}
    angles |= {f"beyond {number}": 70.0 + number for number in range(20)}

    def vectors(_: Any, column: str, texts: Sequence[str], progress: Any) -> Any:
        del column, progress
        radians = np.radians([angles[text] for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)

    monkeypatch.setattr(negatives, "_vectors", vectors)
    spec = SimpleNamespace(negatives_by="vectors", given_texts=("query", "document"))
    model: Any = SimpleNamespace(task=SimpleNamespace(spec=spec))
    corpus = [text for text in angles if " " in text]
    query = Query("cat", ("near", "far"), (2.0, 1.0))
    near, far = mine(model, [query], corpus, Wanted(2, margin=0.05), lambda _: no_progress)
    # cos 0.5 - 0.05 is cos 18.2 degrees, cos 60 - 0.05 is cos 63.3
    assert near.negatives == ("between 173", "between 174")
    assert far.negatives == ("beyond 0", "beyond 1")


# A real model


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory, ranks: RankServer) -> RunDir:
    directory = tmp_path_factory.mktemp("ranked")
    for name, queries in (("train", 40), ("validation", 10)):
        rows = [
            {"query": f"house {number}", "document": f"a {word} house {number % 7}", "relevance": relevance}
            for number in range(queries)
            for word, relevance in (("good", 2), ("bad", 0))
        ]
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {split: str(directory / f"{split}.jsonl") for split in ("train", "validation")}
    wanted = recipe(
        directory,
        task="ranking",
        data={**data, "test": None, "text": ["query", "document"], "label": "relevance"},
        ranking={"max_relevance": 2.0},
        train={"lr": 5e-3, "max_steps": 20},
        eval={"every": None},
        checkpoint={"every": None},
    )
    return ranks.complete(make_run(directory / "run", wanted))


@pytest.mark.long
def test_a_ranking_model_finds_negatives_that_train_it_again(
    ranked: RunDir, tmp_path: Path, ranks: RankServer
) -> None:
    corpus = tmp_path / "corpus.txt"
    lines = [f"a {word} house {number}" for word in ("good", "bad", "fair") for number in range(60)]
    corpus.write_text("\n".join(lines) + "\n")  # more than are scored for a query: BM25 chooses
    output = tmp_path / "found.csv"
    told = ranks.verb("negatives", ranked.path, corpus, "--count", "3", "--output", output)
    figures = {"rows": 40, "queries": 40, "documents": 180, "negatives": 120, "short": 0}
    assert {name: told[name] for name in figures} == figures
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["query", "document", "negative_1", "negative_2", "negative_3"]
    for row in rows:
        hard = [row[f"negative_{number}"] for number in (1, 2, 3)]
        assert row["document"] not in hard
        assert len(set(hard)) == 3
        assert all("good" in text for text in hard)  # what the model has learnt to like

    output = tmp_path / "labelled.jsonl"
    ranks.verb("negatives", ranked.path, corpus, "--count", "3", "--labelled", "--output", output)
    wanted = recipe(
        tmp_path,
        task="ranking",
        data={
            "train": str(output), "validation": str(output), "test": None,
            "text": ["query", "document"], "label": "relevance",
        },
        ranking={"max_relevance": 2.0},
        train={"max_steps": 2, "loss": {"name": "listwise"}},
    )  # fmt: skip
    assert result(ranks.complete(make_run(tmp_path / "again", wanted)))["status"] == "completed"


def test_an_embedding_model_finds_negatives_that_its_recipe_trains_on(
    tmp_path: Path, ranks: RankServer
) -> None:
    rows = [{"query": f"where is {word}", "answer": f"here is {word}"} for word in "abcdefghijklmnopqrst"]
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data: dict[str, Any] = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "validation")}
    data |= {"test": None, "text": ["query", "answer"]}
    quiet: dict[str, Any] = {
        "train": {"max_steps": 2},
        "eval": {"every": None},
        "checkpoint": {"every": None},
    }
    run = ranks.complete(make_run(tmp_path / "run", recipe(tmp_path, task="embedding", data=data, **quiet)))
    corpus, output = tmp_path / "corpus.txt", tmp_path / "found.csv"
    corpus.write_text("".join(row["answer"] + "\n" for row in rows) + "something else\n")
    told = ranks.verb("negatives", run.path, corpus, "--count", "2", "--output", output)
    assert (told["queries"], told["documents"], told["negatives"]) == (20, 21, 40)
    with output.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert all(row["answer"] not in (row["negative_1"], row["negative_2"]) for row in found)
    again = {**data, "train": str(output), "negatives": ["negative_1", "negative_2"]}
    wanted = recipe(tmp_path, task="embedding", data=again, **quiet)
    assert result(ranks.complete(make_run(tmp_path / "again", wanted)))["status"] == "completed"
