"""The data set of the smoke recipe: made by its script, free of leaks, and not to be had by counting words."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

FILES = ("train.csv", "validation.csv", "test.csv")


@pytest.fixture(scope="module")
def rows(repo_root: Path) -> dict[str, list[dict[str, str]]]:
    directory = repo_root / "recipes" / "smoke"
    texts = {name: (directory / name).read_text(encoding="utf-8") for name in FILES}
    return {name: list(csv.DictReader(text.splitlines())) for name, text in texts.items()}


def test_the_script_writes_the_committed_files(repo_root: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, repo_root / "scripts" / "make_smoke_data.py", tmp_path], check=True)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (repo_root / "recipes" / "smoke" / name).read_bytes()


def test_no_text_comes_twice(rows: dict[str, list[dict[str, str]]]) -> None:
    texts = Counter(row["text"].lower() for name in FILES for row in rows[name])
    assert max(texts.values()) == 1


def test_labels_are_balanced(rows: dict[str, list[dict[str, str]]]) -> None:
    for name in FILES:
        counts = Counter(row["label"] for row in rows[name])
        assert counts["negative"] == counts["positive"] == len(rows[name]) // 2


def test_words_alone_do_not_give_the_label_away(rows: dict[str, list[dict[str, str]]]) -> None:
    vectorizer = CountVectorizer()
    train = vectorizer.fit_transform([row["text"] for row in rows["train.csv"]])
    model = LogisticRegression(max_iter=1000).fit(train, [row["label"] for row in rows["train.csv"]])
    test = vectorizer.transform([row["text"] for row in rows["test.csv"]])
    assert model.score(test, [row["label"] for row in rows["test.csv"]]) < 0.75


def test_the_files_are_small_enough_to_ship(repo_root: Path) -> None:
    assert sum(path.stat().st_size for path in (repo_root / "recipes" / "smoke").iterdir()) < 300_000
