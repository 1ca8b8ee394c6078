"""Data sets of the hub as they are published, read from directories in the same forms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from support.hub_stub import HubStub

from launcher.errors import RunFailed, UserError
from launcher.loading.resolve import load
from launcher.reading.check import check_data
from launcher.reading.files import read_rows
from launcher.reading.inference_files import given_rows
from launcher.reading.options import ReadOptions
from launcher.recipe.recipe import Recipe
from launcher.train.reading.sources import open_sources
from launcher.train.reading.targets import label_names_of, read_labels

TAGS = ["O", "B-PER", "I-PER", "B-LOC"]
CONFIGS = """---
configs:
- {config_name: one, data_files: [{split: train, path: plain/train.parquet}]}
- {config_name: two, data_files: [{split: train, path: plain/train.parquet}, {split: dev, path: plain/dev.parquet}]}
---
"""
TWICE = """
import sys
from pathlib import Path
from launcher.loading.resolve import load
from launcher.train.reading.sources import open_sources
for source in ("me/reviews:two", "me/reviews"):
    words = ["recipe=r.yaml", f"data.source={source}", "data.validation_split=null"]
    print(open_sources(load(words, environ={}, cwd=Path(sys.argv[1])).recipe)["train"].notes())
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for each form."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

    directory = tmp_path_factory.mktemp("published")
    of_class, of_tags = ClassLabel(names=["pos", "neg"]), List(ClassLabel(names=TAGS))

    def reviews(*labels: int) -> Any:
        columns = {"text": [f"film {number}" for number in range(len(labels))], "label": list(labels)}
        return Dataset.from_dict(columns, features=Features({"text": Value("string"), "label": of_class}))

    for folder in ("plain", "partly"):
        (directory / folder).mkdir()
    (directory / "README.md").write_text(CONFIGS)
    for name, labels in {"train": (1, 0, 1), "dev": (0, 1), "test": (-1, -1)}.items():
        reviews(*labels).to_parquet(directory / "plain" / f"{name}.parquet")
    reviews(1, -1, 0, -1).to_parquet(directory / "partly" / "train.parquet")
    DatasetDict({"train": reviews(0, 1), "validation_matched": reviews(1)}).save_to_disk(directory / "saved")
    reviews(0, 1).save_to_disk(directory / "alone")
    nested = {"tokens": [["Anna", "May"], ["Rome"]], "gold": [{"tags": [1, 2]}, {"tags": [3]}]}
    features = Features({"tokens": List(Value("string")), "gold": {"tags": of_tags}})
    (directory / "tagged").mkdir()
    Dataset.from_dict(nested, features=features).to_parquet(directory / "tagged" / "train.parquet")
    (directory / "within").mkdir()
    within = {"text": ["a", "b", "c"], "gold": [{"class": 0}, {"class": -1}, {"class": 1}]}
    features = Features({"text": Value("string"), "gold": {"class": of_class}})
    Dataset.from_dict(within, features=features).to_parquet(directory / "within" / "train.parquet")
    (directory / "scripted").mkdir()
    (directory / "scripted" / "scripted.py").touch()
    return directory


def recipe_of(directory: Path, *words: str) -> Recipe:
    (directory / "r.yaml").write_text("task: classification\nmodel: {name: org/m}\n")
    return load(["recipe=r.yaml", *words], environ={}, cwd=directory).recipe


def read(directory: Path, *words: str) -> tuple[list[Any], tuple[str, ...], list[str]]:
    """Labels of the training rows, classes by number, and what is said of them."""
    recipe = recipe_of(directory, *words)
    train = open_sources(recipe)["train"]
    labels = read_labels(recipe, train)
    return labels, label_names_of(recipe, train, labels), train.notes()


def refused(directory: Path, *words: str) -> str:
    with pytest.raises(RunFailed) as caught:
        read(directory, *words)
    return str(caught.value)


CUT = "data.validation_split=null"


def test_classes_have_the_names_that_were_declared(published: Path) -> None:
    assert read(published, "data.source=plain", CUT) == (["neg", "pos", "neg"], ("pos", "neg"), [])
    tagged = (
        "data.source=tagged",
        CUT,
        "task=token-classification",
        "data.text=tokens",
        "data.label=gold.tags",
    )
    labels, names, _ = read(published, *tagged)
    assert [list(tags) for tags in labels] == [["B-PER", "I-PER"], ["B-LOC"]]
    assert names == tuple(TAGS)


def test_classes_of_a_parquet_file_have_the_names_that_stand_in_it(published: Path) -> None:
    def cells(name: str, column: str) -> list[Any]:
        return [row.values[column] for row in read_rows(published / name, ReadOptions())]

    assert cells("plain/train.parquet", "label") == ["neg", "pos", "neg"]
    assert cells("partly/train.parquet", "label") == ["neg", None, "pos", None]
    assert cells("tagged/train.parquet", "gold") == [{"tags": ["B-PER", "I-PER"]}, {"tags": ["B-LOC"]}]


@pytest.mark.parametrize(
    ("file", "words", "names"),
    [
        ("plain", (), ("pos", "neg")),
        ("plain", ("task=ordinal",), ("pos", "neg")),
        ("plain", ("data.labels=[neg,pos]",), ("neg", "pos")),
        ("tagged", ("task=token-classification", "data.text=tokens", "data.label=gold.tags"), tuple(TAGS)),
    ],
)
def test_they_have_the_order_that_the_file_declares(
    published: Path, file: str, words: tuple[str, ...], names: tuple[str, ...]
) -> None:
    given = (f"data.train={file}/train.parquet", f"data.validation={file}/train.parquet", *words)
    assert read(published, *given)[1] == names
    assert check_data(recipe_of(published, *given)).labels == len(names) + (file == "tagged")  # and I-LOC


def test_files_that_declare_different_classes_have_them_in_the_order_of_their_names(published: Path) -> None:
    (published / "more.jsonl").write_text('{"text": "a", "label": "pos"}\n')
    given = ("data.train=[plain/train.parquet,more.jsonl]", "data.validation=plain/dev.parquet")
    assert read(published, *given)[1] == ("neg", "pos")


def test_rows_without_a_class_are_left_out_and_told_but_not_where_all_are(published: Path) -> None:
    labels, _, notes = read(published, "data.source=partly", CUT)
    assert labels == ["neg", "pos"]
    assert notes == [f"{published}/partly [train]: 2 rows without a label are left out"]
    assert "has a label" in refused(published, "data.source=plain", CUT, "data.train_split=test")


def test_a_file_of_them_is_read_as_the_hub_s_is(published: Path) -> None:
    given = ("data.train=partly/train.parquet", "data.validation=plain/dev.parquet")
    labels, names, notes = read(published, *given)
    assert (labels, names) == (["neg", "pos"], ("pos", "neg"))
    assert notes == [f"{published}/partly/train.parquet: 2 rows without a label are left out"]
    facts = check_data(recipe_of(published, *given))
    assert facts.train_examples == 2
    assert facts.notes == ("data.train: 2 rows without a label are left out",)
    # A file that says of no row what it is isn't meant to be trained on.
    assert "has a label" in refused(published, "data.train=plain/test.parquet", given[1])
    # What is evaluated later is read in the same way, and what is predicted is every row.
    recipe, file = recipe_of(published, *given), published / "partly/train.parquet"
    assert len(given_rows(file, recipe, labelled=True)) == 2
    assert len(given_rows(file, recipe)) == 4


@pytest.mark.parametrize(
    "data", [("data.source=within", CUT), ("data.train=within/train.parquet", "data.split=[0.5,0.5]")]
)
def test_a_class_within_an_object_may_be_missing_too(published: Path, data: tuple[str, str]) -> None:
    labels, _, notes = read(published, *data, "data.label=gold.class")
    assert labels == ["pos", "neg"]
    assert notes[0].endswith(": 1 row without a label is left out")


@pytest.mark.parametrize(("name", "column"), [("plain/dev", "label"), ("within/train", "gold.class")])
def test_a_file_may_declare_the_classes_of_a_column_that_it_lost(
    published: Path, tmp_path: Path, name: str, column: str
) -> None:
    """pyarrow keeps what a file declares when a column is taken out of it."""
    given = pyarrow.parquet.read_table(published / f"{name}.parquet")
    pyarrow.parquet.write_table(given.select(["text"]), tmp_path / "lost.parquet")
    words = (f"data.train={tmp_path}/lost.parquet", "data.split=[0.5,0.5]", f"data.label={column}")
    with pytest.raises(UserError, match="no such column in the file"):
        check_data(recipe_of(published, *words))


@pytest.mark.parametrize("words", [("saved", "data.validation_split=validation_matched"), ("alone", CUT)])
def test_what_was_saved_to_disk_is_read(published: Path, words: tuple[str, str]) -> None:
    assert read(published, f"data.source={words[0]}", words[1])[0] == ["pos", "neg"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data.source=.",), ("there are several configurations", ":NAME; allowed: one, two")),
        (("data.source=.:onw",), ("there is no configuration onw", "did you mean one?")),
        (("data.source=.:two",), ("no such split", "allowed: train, dev; data.validation_split=null takes")),
        (("data.source=scripted",), ("scripts are no longer supported", "refs/convert/parquet")),
    ],
)
def test_what_is_missing_is_told_with_what_there_is(
    published: Path, words: tuple[str, ...], said: tuple[str, str]
) -> None:
    told = refused(published, *words)
    assert [part for part in said if part not in told] == [], told


@pytest.mark.long
def test_a_configuration_that_is_read_because_only_it_is_cached_is_told(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe_of(published, "data.source=plain")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with HubStub() as hub:
        hub.publish("me/reviews", published, "datasets")
        for name, value in hub.environment(token=None).items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        command = [sys.executable, "-c", TWICE, str(published)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    asked, unasked = done.stdout.splitlines() or (done.stderr, "")
    assert asked == "[]"
    assert "its configuration two is read, which data.source doesn't name" in unasked
