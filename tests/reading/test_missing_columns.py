"""Columns that a recipe names and files don't have: one message, with the key that mends it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.recipes import problems, recipe

from launcher.errors import UserError
from launcher.loading.resolve import load
from launcher.reading.check import DataFacts, check_data
from launcher.recipe.recipe import Recipe


def facts(asked: Recipe) -> DataFacts:
    return check_data(asked)


def test_files_without_a_header_line_are_one_message_with_all_places(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("train.csv", "dev.csv", "test.csv")]
    for number, path in enumerate(paths):
        path.write_text(f"a good film,{number}\na bad film,0\n")
    train, dev, test = map(str, paths)
    (found,) = problems(recipe(train=train, validation=dev, test=test))
    assert found.startswith(
        f"{train}, {dev}, {test}: no such columns in the file: data.text=text, data.label=label\n"
    )
    assert "data.header=false data.columns=[...]" in found
    (found,) = problems(recipe(train=train, validation=train))
    assert found.startswith(f"{train}: no such columns"), "a file that is given twice is named once"


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("a.csv", "text;label\ngood;1\nbad;0\n", 'data.delimiter=";"'),
        ("a.csv", "text|label\ngood|1\nbad|0\n", 'data.delimiter="|"'),
        ("a.csv", "text\tlabel\ngood\t1\nbad\t0\n", "data.format=tsv"),
        ("a.tsv", "text,label\ngood,1\nbad,0\n", "data.format=csv"),
        ("a.tsv", '"text"\t"label"\n"good"\t"1"\n"bad"\t"0"\n', "data.quoting=true"),
        ("a.txt", "text\tlabel\ngood\t1\nbad\t0\n", "data.format=tsv"),
        ("a.txt", "text,label\ngood,1\nbad,0\n", "data.format=csv"),
        ("a.txt", "text;label\ngood;1\nbad;0\n", 'data.format=csv data.delimiter=";"'),
        ("a.txt", "good\t1\nbad\t0\n", "data.format=tsv data.header=false data.columns=[...]"),
        ("a.txt", "Ann B-PER\nmet O\n\nBob B-PER\n", "data.format=conll"),
    ],
)
def test_the_key_that_says_what_the_file_is_is_named_once(
    tmp_path: Path, name: str, content: str, key: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    (found,) = problems(recipe(train=str(path), validation=str(path), test=str(path)))
    assert found.partition("-> ")[2].startswith(f"{key} (")


def test_the_key_named_is_the_one_that_helps(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text;label\n" + "good;1\nbad;0\n" * 10)
    assert facts(recipe(train=str(path), delimiter=";")).train_examples == 14


# Tabs, and CoNLL columns


def test_a_tab_can_be_written_as_backslash_t(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\tlabel\n" + "good, very\t1\nbad\t0\n" * 10)
    (tmp_path / "r.yaml").write_text(
        "task: classification\ndata: {train: a.csv}\nmodel: {name: bert-base-uncased}\n"
    )
    loaded = load(["recipe=r.yaml", r"data.delimiter=\t"], environ={}, cwd=tmp_path)
    assert loaded.recipe.data.delimiter == "\t"
    assert facts(loaded.recipe).train_examples == 14


@pytest.mark.parametrize("name", ["a.conll", "a.bio", "a.conll.gz"])
def test_columns_of_words_are_named_without_further_keys(tmp_path: Path, name: str) -> None:
    (tmp_path / "r.yaml").write_text(
        f"task: token-classification\ndata: {{train: {name}, text: word, label: tag, columns: [word, tag]}}\n"
        "model: {name: bert-base-uncased}\n"
    )
    assert load(["recipe=r.yaml"], environ={}, cwd=tmp_path).recipe.data.columns == ("word", "tag")


def test_columns_of_a_table_still_need_to_have_no_header(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "task: classification\ndata: {train: a.csv, columns: [text, label]}\nmodel: {name: bert-base-uncased}\n"
    )
    with pytest.raises(UserError, match=r"data\.header=false"):
        load(["recipe=r.yaml"], environ={}, cwd=tmp_path)


# Objects


def test_dotted_names_reach_into_objects(tmp_path: Path) -> None:
    rows = [
        {"question": {"stem": "Which?"}, "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answer": "A"},
        {"question": {"stem": "What?"}, "choices": [{"text": "c"}, {"text": "d"}], "answer": "B"},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows * 10))
    asked = recipe(
        "multiple-choice", train=str(path), text="question.stem", choices="choices.text", label="answer"
    )
    assert facts(asked).train_examples == 14


def test_what_lies_in_objects_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"review": {"body": "good"}, "label": 1}) + "\n")
    (found,) = problems(recipe(train=str(path), text="body"))
    assert "review.body" in found
