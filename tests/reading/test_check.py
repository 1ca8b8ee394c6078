"""What `launch` knows about local data before anything is queued, and every mistake it finds in them at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.recipes import problems, recipe

from launcher.errors import UserError
from launcher.reading import split_reading
from launcher.reading.check import DataFacts, check_data
from launcher.reading.data_section import cut_fractions, options_for
from launcher.reading.files import resolve_format
from launcher.recipe.ranking import Ranking
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared import labels

Write = Callable[[str, str], str]


def rows(count: int, classes: int = 2) -> str:
    return "text,label\n" + "".join(f"text {number},{number % classes}\n" for number in range(count))


# What is named as a data set of the hub


def test_a_data_set_is_no_file_no_format_and_no_directory_that_is_gone(write: Write, tmp_path: Path) -> None:
    file, gone, empty = write("train.csv", rows(4)), tmp_path / "gone", tmp_path / "empty"
    empty.mkdir()
    for source, told in (
        (file, f"is a file\n    -> data.train={file}"),
        ("csv", "is a format, not a data set"),
        ("glue sst2", "is neither a directory here nor an id of the hub"),
        (str(empty), "holds no files"),
        (f"{gone}:plain", "no such directory"),
    ):
        (problem,) = problems(recipe(source=source))
        assert told in problem
    check_data(recipe(source="org/csv"))


# Files beside the run's own


@pytest.mark.parametrize(
    ("train", "other", "form"),
    [
        ({"train": "x.csv"}, "y.csv", "csv"),
        ({"train": "x.csv"}, "y.tsv", "tsv"),
        ({"train": "x.txt", "format": "conll"}, "y.txt", "conll"),
        ({"train": "x.txt", "format": "conll"}, "y.conll", "conll"),
        ({"train": "x.txt", "format": "conll"}, "y.jsonl", "jsonl"),
        ({"train": "eng.train", "format": "conll"}, "eng.testb", "conll"),
        ({"source": "conll2003"}, "y.bio", "conll"),
    ],
)
def test_another_file_is_read_as_the_training_data_or_as_its_extension_says(
    train: dict[str, str], other: str, form: str
) -> None:
    data = recipe(header=False, columns=("label", "text"), delimiter=";", **train).data
    options = options_for(Path(other), data)
    assert resolve_format(Path(other), options) == form
    assert (options.header, options.columns) == (False, ("label", "text"))
    alike = Path(other).suffix in (Path(data.train or "").suffix, ".testb")  # type: ignore[arg-type]
    assert options.delimiter == (";" if alike else None)


# Facts


def test_facts_of_given_splits(write: Write) -> None:
    train, validation = write("train.csv", rows(30, classes=3)), write("validation.csv", rows(6))
    more = write("more.csv", rows(30, classes=3).replace("text ", "line "))
    assert check_data(recipe(train=(train, more), validation=validation)) == DataFacts(
        train_examples=60,
        validation_examples=6,
        test_examples=None,
        columns=("text", "label"),
        labels=3,
        mean_chars=pytest.approx(6.67, abs=0.01),
    )


def test_a_chinese_character_is_a_token_where_english_has_four_for_one(write: Write) -> None:
    for text, characters in (("a good room", 11), ("房间很好", 4 * 4.3), ("好 ok", 4.3 + 3)):
        train = write("train.csv", "text,label\n" + f"{text},a\n{text},b\n" * 20)
        assert check_data(recipe(train=train)).mean_chars == pytest.approx(characters)


@pytest.mark.parametrize(
    ("data", "sizes"),
    [
        ({}, (70, 15, 15)),
        ({"split": (0.8, 0.2)}, (80, 20, None)),
        ({"split": (0.5, 0.1, 0.1), "limit": 7}, (7, 10, 10)),
    ],
)
def test_a_single_file_is_cut_by_fractions(
    write: Write, data: dict[str, Any], sizes: tuple[Any, ...]
) -> None:
    facts = check_data(recipe(train=write("train.csv", rows(100)), **data))
    assert (facts.train_examples, facts.validation_examples, facts.test_examples) == sizes


def test_with_test_data_given_nothing_is_cut_off_for_testing(write: Write) -> None:
    asked = recipe(train=write("train.csv", rows(100)), test=write("test.csv", rows(9)))
    assert cut_fractions(asked.data) == (0.85, 0.15, 0.0)
    facts = check_data(asked)
    assert (facts.train_examples, facts.validation_examples, facts.test_examples) == (85, 15, 9)


def test_a_file_that_is_also_trained_on_is_noted(write: Write) -> None:
    train, other = write("train.csv", rows(10)), write("other.csv", rows(11))
    (note,) = check_data(recipe(train=(train, other), validation=train)).notes
    assert note.startswith("data.validation: train.csv is trained on, too")
    assert check_data(recipe(train=train, validation=other)).notes == ()
    link = Path(other).with_name("link.csv")
    link.symlink_to(other)
    notes = check_data(recipe(train=(train, other, str(link), train), validation=str(link))).notes
    assert [note.partition(";")[0] for note in notes[:2]] == [
        "data.train: train.csv: one file, given 2 times",
        "data.train: other.csv, link.csv: one file, given 2 times",
    ]
    assert notes[2].startswith("data.validation: link.csv is trained on, too")


def test_a_copy_of_a_file_that_is_trained_on_is_noted(write: Write) -> None:
    train, copy, other = write("train.csv", rows(10)), write("copy.csv", rows(10)), write("dev.csv", rows(9))
    (told,) = check_data(recipe(train=train, validation=copy, test=other)).notes
    assert told == (
        f"data.validation: copy.csv is trained on, too, as {train}, byte for byte the same: "
        "what is measured on it says nothing of other texts"
    )
    (twice,) = check_data(recipe(train=(train, copy), validation=other)).notes
    assert twice == (
        "data.train: train.csv, copy.csv: files of the same content, given 2 times; each of its rows counts as often"
    )
    # A file as long as another is no copy of it.
    turned = write("turned.csv", "text,label\n" + "".join(reversed(rows(10).splitlines(keepends=True)[1:])))
    assert check_data(recipe(train=train, validation=turned)).notes == ()


def test_of_hub_data_nothing_is_known() -> None:
    assert check_data(recipe(source="nyu-mll/glue:sst2")) == DataFacts()


def test_of_a_large_file_the_lines_are_counted_and_the_classes_are_left_open(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_reading, "SMALL_BYTES", 100)
    monkeypatch.setattr(split_reading, "FIRST_ROWS", 10)
    facts = check_data(
        recipe(train=write("train.csv", rows(100)), validation=write("validation.csv", rows(4)))
    )
    assert (facts.train_examples, facts.labels) == (100, None)


def test_empty_texts_are_noted(write: Write) -> None:
    content, other = "text,label\na,0\n,1\nb,1\n", "text,label\nc,0\n,1\nd,1\n"
    facts = check_data(recipe(train=write("train.csv", content), validation=write("dev.csv", other)))
    assert facts.notes == tuple(
        f"data.{split}: 1 of 3 rows read have no text" for split in ("train", "validation")
    )


def test_an_anchor_or_a_positive_without_text_is_noted(write: Write) -> None:
    """Whether a pair, half of which is empty, belongs together says nothing; negatives may be empty."""
    content = "a,p,n\ncat,kitten,\n,kitten,dog\ndog, ,cat\n,,\n"
    wanted = {"text": ("a", "p"), "negatives": "n", "train": write("train.csv", content), "validation": None}
    facts = check_data(Recipe.model_validate({"task": "embedding", "data": wanted}))
    assert facts.notes == (
        "data.train: 1 of 4 rows read have no text",
        f"data.train: 2 rows lack one of their two texts (first: {wanted['train']}:3); they are learnt as pairs all the same",
    )


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("{}0", "the place of each character in its word behind it"),  # as Weibo NER has them
        ("zh:{}", "the language before each word"),  # as WikiANN has them
        ("{}", None),
    ],
)
def test_marks_at_every_word_are_noted(write: Write, word: str, told: str | None) -> None:
    sentence = "".join(f"{word.format(one)}\t{'B-PER' if one == '诸' else 'O'}\n" for one in "诸在南阳")
    train = write("a.conll", f"{sentence}\n" * 8)
    notes = check_data(recipe("token-classification", train=train, split=(0.5, 0.5))).notes
    marked = [note for note in notes if "learnt as a part of it" in note]
    assert len(marked) == (told is not None)
    assert all(f"8 sentences have {told}" in note and "; take it out: sed" in note for note in marked)


@pytest.mark.parametrize(
    ("label", "content", "count"),
    [
        ("label", "text,label\na,x|y\nb,\nc,z\n", 3),
        (("x", "y"), "text,x,y\na,0,1\nb,1,0\nc,0,0\n", 2),
    ],
)
def test_multilabel_counts_its_labels(write: Write, label: Any, content: str, count: int) -> None:
    train = write("train.csv", content)
    assert check_data(recipe("multilabel", train=train, validation=train, label=label)).labels == count


# Mistakes


def test_all_mistakes_come_together(write: Write) -> None:
    train = write("train.csv", "sentence,label\na,0\n")
    validation = write("validation.csv", "sentense,label\na,0\n")
    found = problems(recipe(train=train, validation=validation, test=train + "x", text="sentense"))
    assert len(found) == 2
    assert "data.text=sentense: no such column" in found[0]
    assert "did you mean sentence? allowed: sentence, label" in found[0]
    assert "data.test" in found[1]
    assert f"did you mean {train}?" in found[1]


def test_a_headerless_file_is_recognised(write: Write) -> None:
    found = problems(recipe(train=write("train.csv", "a text\t1\nanother\t0\n")))
    assert all("data.format=tsv" in text and "data.header=false data.columns=[...]" in text for text in found)


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        (
            "regression",
            "text,label\na,good\nb,1\n",
            "train.csv:2: data.label=label: 'good' is not a finite number",
        ),
        ("regression", "text,label\na,nan\nb,1\n", "'nan' is not a finite number"),
        ("regression", "text,label\na,\nb,1\n", "an empty cell is not a finite number"),
        ("classification", "text,label\na,\nb,1\nc,0\n", "train.csv:2: data.label=label: the label is empty"),
    ],
)
def test_labels_that_do_not_fit_the_task(write: Write, task: str, content: str, message: str) -> None:
    train = write("train.csv", content)
    assert message in problems(recipe(task, train=train, validation=train))[0]


def test_a_relevance_above_the_highest_is_named(write: Write) -> None:
    train = write("train.csv", "query,document,label\na,b,0\na,c,3\n")
    asked = recipe("ranking", train=train, validation=train, text=("query", "document"))
    assert "train.csv:3: data.label=label: 3 is not from 0 to 1, ranking.max_relevance" in problems(asked)[0]
    assert "set ranking.max_relevance to the highest there is" in problems(asked)[0]
    highest = asked.model_copy(update={"ranking": Ranking(max_relevance=3)})
    assert check_data(highest).train_examples == 2


def test_of_many_bad_cells_the_first_are_shown_and_the_others_counted(write: Write) -> None:
    train = write("train.csv", "text,label\n" + "a,bad\n" * 10)
    found = problems(recipe("regression", train=train, validation=write("v.csv", "text,label\na,1\n")))
    assert len(found) == 4
    assert "7 more cells like these" in found[3]


def test_flag_columns_hold_0_or_1(write: Write) -> None:
    train = write("train.csv", "text,x,y\na,0,2\n")
    found = problems(recipe("multilabel", train=train, validation=train, label=("x", "y")))
    assert "data.label=y: '2' is neither 0 nor 1" in found[0]


def test_a_list_is_no_class_and_no_text(write: Write) -> None:
    train = write("train.jsonl", '{"text": ["a"], "label": ["x"]}\n')
    found = problems(recipe(train=train, validation=train))
    assert "the cell is not a text" in found[0]
    assert "task=multilabel" in found[1]


@pytest.mark.parametrize("task", ["classification", "ordinal", "multilabel", "regression"])
@pytest.mark.parametrize("cell", ['{"x": 1}', '[{"x": 1}]'])
def test_an_object_is_no_label(write: Write, task: str, cell: str) -> None:
    train = write("train.jsonl", f'{{"text": "a", "label": {cell}}}\n')
    found = problems(recipe(task, train=train, validation=train))
    assert "train.jsonl:1: data.label=label: " in found[0]
    assert "{'x': 1}" in found[0]


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "pipe.csv: data.train: is not a regular file" in problems(recipe(train=f"{tmp_path}/pipe.csv"))[0]
    assert (
        "/dev/zero: data.train: is not a regular file" in problems(recipe(train="/dev/zero", format="csv"))[0]
    )


def test_a_label_that_training_does_not_have(write: Write) -> None:
    train = write("train.csv", "text,label\na,positive\nb,negative\n")
    found = problems(recipe(train=train, validation=write("v.csv", "text,label\na,positve\n")))
    assert len(found) == 1
    assert "v.csv:2: data.label=label: label 'positve' is not in the training data" in found[0]
    assert "did you mean positive? labels there: negative, positive" in found[0]


def test_of_many_unknown_labels_the_first_are_shown_and_the_others_counted(write: Write) -> None:
    other = write("v.csv", "text,label\n" + "".join(f"a,unseen{number}\n" for number in range(40)))
    found = problems(recipe(train=write("train.csv", rows(600, classes=200)), validation=other))
    assert len(found) == 4
    assert found[0].endswith(
        "label 'unseen0' is not in the training data\n    -> labels there: 0, 1, 2, 197 more"
    )
    assert found[3] == "data.label=label: 37 more labels that are not known in data.validation"


def test_a_class_for_each_row_is_not_a_label_column(write: Write) -> None:
    train = write("train.csv", "id,text,label\n" + "".join(f"{n},text {n},{n % 2}\n" for n in range(2400)))
    other = write("v.csv", "id,text,label\n" + "".join(f"{n},text {n},0\n" for n in range(5000, 5600)))
    asked = recipe(train=train, validation=other, label="text")
    (found,) = problems(asked)
    assert found.startswith("data.label=text: has 2,400 classes in 2,400 rows\n")
    assert found.endswith("one class per row: is this the label column? There are also: id, label")


def test_one_class_is_nothing_to_learn(write: Write) -> None:
    train = write("train.csv", "text,label\na,x\nb,x\n")
    assert "every row has the label 'x'" in problems(recipe(train=train, validation=train))[0]


def test_fractions_that_leave_nothing(write: Write) -> None:
    (found,) = problems(recipe(train=write("train.csv", rows(4)), split=(0.9, 0.1)))
    assert "leaves no example for validation: data.train has 4 rows" in found
    (found,) = problems(recipe(train=write("train.csv", rows(4)), folds=5))
    assert found.startswith("data.folds=5: data.train has 4 rows")


@pytest.mark.parametrize(
    "data",
    [
        {"train": "train.csv", "test": "train.csv", "split": (0.8, 0.1, 0.1)},
        {"source": "some/data", "split": (0.8, 0.2)},
    ],
)
def test_fractions_for_what_is_given_are_refused(write: Write, data: dict[str, Any]) -> None:
    path = write("train.csv", rows(100))
    asked = {key: path if value == "train.csv" else value for key, value in data.items()}
    (found,) = problems(recipe(**asked))
    assert found.startswith("data.split=")


def test_an_unlabelled_test_file_is_for_predict(write: Write) -> None:
    train = write("train.csv", rows(10))
    (found,) = problems(recipe(train=train, validation=train, test=write("test.csv", "text\na\n")))
    assert "data.test needs labels, launch predict doesn't" in found


# Label rules


@pytest.mark.parametrize(
    ("found", "ordered"),
    [
        (["10", "2", "0", "1"], ("0", "1", "2", "10")),
        (["-1", "0", "1"], ("-1", "0", "1")),
        (["b", "a", "10"], ("10", "a", "b")),
        (["1.5", "0.5"], ("0.5", "1.5")),
    ],
)
def test_label_names_are_in_order(found: list[str], ordered: tuple[str, ...]) -> None:
    assert labels.in_order(found) == ordered


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a ", "a"),
        (1, "1"),
        (1.0, "1"),
        (True, "True"),
        ("1.0", "1"),
        ("", None),
        (None, None),
        ({"x": 1}, None),
    ],
)
def test_class_names(value: Any, name: str | None) -> None:
    assert labels.class_name(value) == name


@pytest.mark.parametrize(
    ("value", "names"),
    [("a|b", ("a", "b")), ("", ()), ([1, "x"], ("1", "x")), ([], ()), (3, ("3",)), (None, None)],
)
def test_several_labels_in_a_cell(value: Any, names: tuple[str, ...] | None) -> None:
    assert labels.class_names(value, "|") == names


# Speed and weight


def test_public_data_of_67_thousand_rows(shared_data: Path) -> None:
    sst2 = shared_data / "sst2"
    facts = check_data(
        recipe(
            train=(str(sst2 / "train.tsv"), str(sst2 / "dev.tsv")),
            validation=str(sst2 / "test.tsv"),
            text="sentence",
        )
    )
    assert (facts.train_examples, facts.validation_examples) == (67349, 872)


def test_checking_data_imports_nothing_heavy(write: Write) -> None:
    train = write("train.csv", rows(20))
    code = (
        "import sys; from launcher.reading.check import check_data; from launcher.recipe.recipe import Recipe\n"
        f"check_data(Recipe.model_validate({{'task': 'classification', 'data': {{'train': {train!r}}}}}))\n"
        "print({'numpy', 'pandas', 'pyarrow', 'datasets', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_further_test_files_are_checked_where_the_training_data_are_on_the_hub_too(tmp_path: Path) -> None:
    (tmp_path / "de.csv").write_text("words,label\nhallo,1\n", encoding="utf-8")
    extra = {"de": str(tmp_path / "de.csv"), "fr": str(tmp_path / "fr.csv")}
    recipe = Recipe.model_validate(
        {"task": "classification", "data": {"source": "imdb"}, "eval": {"extra": extra}}
    )
    with pytest.raises(UserError) as caught:
        check_data(recipe)
    assert [problem.field for problem in caught.value.problems] == ["data.text", "eval.extra"]


def notes(write: Write, task: str, content: str, **data: str) -> tuple[str, ...]:
    return check_data(recipe(task, train=str(write("train.csv", content)), **data)).notes


def test_numbers_are_texts_and_infinity_is_none(write: Write) -> None:
    lines = "".join(f'{{"text": {number}, "label": {number % 2}}}\n' for number in range(20))
    data = {"train": str(write("a.jsonl", lines))}
    told = ("data.train: every text is a number; data.text names the column of texts",)
    assert check_data(recipe(**data)).notes == told
    data = {"train": str(write("b.jsonl", lines.replace('"text": 7,', '"text": Infinity,')))}
    with pytest.raises(UserError, match=r"b\.jsonl:8: .*inf, which is no text"):
        check_data(recipe(**data))


def test_classes_that_look_alike_are_noted(write: Write) -> None:
    lines = "".join(f"text {number},{['1', 'true', '0', '1.0'][number % 4]}\n" for number in range(20))
    (note,) = notes(write, "classification", "text,label\n" + lines.replace(",0", ",2"))
    assert "'1' and 'true' are taken for different classes" in note


def test_the_delimiter_of_labels_is_named(write: Write) -> None:
    cells = ["4;27", "27", "4", "2;4", "2;27", "2;4;27"]
    lines = "".join(f"text {number},{cells[number % 6]}\n" for number in range(24))
    (note,) = notes(write, "multilabel", "text,label\n" + lines)
    assert 'data.label_delimiter=";"' in note


def test_tags_of_no_scheme_are_noted_and_an_odd_one_is_refused_with_its_line(write: Write) -> None:
    sentence = "Anna B-PER\nSmith I-PER\nsaw O\nRome B-LOC\n\n"
    train = str(write("a.conll", sentence * 10 + sentence.replace("saw O", "saw 0") + sentence * 10))
    with pytest.raises(UserError, match=r"a\.conll:53: .*the tag '0'.*\n.*did you mean 'O'"):
        check_data(recipe("token-classification", train=train))
    train = str(write("b.conll", "Anna NNP\nsaw VBD\n\n" * 20))
    (note,) = check_data(recipe("token-classification", train=train)).notes
    assert "tagging.scheme=none says that this is meant" in note


# How labels are written


def test_json_true_beside_one_is_one_class_and_said(write: Write) -> None:
    forms = ("0", "1", "true", "false")
    body = "".join(f'{{"text": "t {number}", "label": {forms[number % 4]}}}\n' for number in range(40))
    facts = check_data(recipe(train=write("train.jsonl", body)))
    assert facts.labels == 2
    assert any("label 'True' (first: " in note and "is taken for '1'" in note for note in facts.notes)


@pytest.mark.parametrize("count", [40, 60_000])
def test_several_labels_under_another_delimiter_are_a_mistake(write: Write, count: int) -> None:
    cells = ("4", "27", "1", '"4,27"', '"1,4"')
    body = "text,label\n" + "".join(
        f"a longer text {number},{cells[number % 5]}\n" for number in range(count)
    )
    (problem,) = problems(recipe("multilabel", train=write("train.csv", body)))
    assert 'data.label_delimiter="," takes them apart' in problem


@pytest.mark.parametrize(
    "cells",
    [
        ('"{a, b}"', "{a}"),
        ("\"{'a', 'b'}\"", "{'a'}"),
        ('"[a, b]"', "[a]"),
        ('"(a, b)"', "a"),
        ('"{""a"": 1}"', "a"),
    ],
)
def test_several_labels_in_brackets_that_are_not_read_are_a_mistake(
    write: Write, cells: tuple[str, str]
) -> None:
    body = "text,label\n" + "".join(f"text {number},{cells[number % 2]}\n" for number in range(8))
    found = problems(recipe("multilabel", train=write("train.csv", body)))
    assert "train.csv:2: data.label=label: " in found[0]
    assert "is a list in a form that isn't read" in found[0]
    assert 'write ["a", "b"], or a|b' in found[-1]


def test_rows_of_which_none_has_a_label_are_a_mistake(write: Write) -> None:
    train = write("train.csv", "text,x,y,none\na,0,0,\nb,0,0,\n")
    for label in (("x", "y"), "none"):
        (found,) = problems(recipe("multilabel", train=train, validation=train, label=label))
        assert "no row has a label: there is nothing to learn" in found


@pytest.mark.parametrize(
    ("task", "label", "said"),
    [
        ("regression", "2.5", "2.5"),
        ("multilabel", "x|y", "['x', 'y']"),
        ("classification", "x", "'x'"),
        ("ordinal", "3", "'3'"),
    ],
)
def test_labels_that_are_all_one_teach_nothing(write: Write, task: str, label: str, said: str) -> None:
    train = write("train.csv", "text,label\n" + "".join(f"text {n},{label}\n" for n in range(5)))
    (found,) = problems(recipe(task, train=train, validation=train))
    assert f"every row has the label {said}: there is nothing to learn" in found
    # Of evaluation data nothing is learnt.
    other = write(
        "other.csv", Path(train).read_text() + f"text,{label.replace('x|y', 'x').replace('2', '3')}\n"
    )
    if task in ("regression", "multilabel"):
        assert check_data(recipe(task, train=other, validation=train)).validation_examples == 5


def test_scores_of_a_longer_file_that_are_all_one_are_read_to_the_end(write: Write) -> None:
    text = "text " * 300
    body = "text,label\n" + "".join(f"{text}{n},2.5\n" for n in range(1200))
    (found,) = problems(recipe("regression", train=write("alike.csv", body)))
    assert "every row has the label 2.5" in found
    assert check_data(recipe("regression", train=write("last.csv", f"{body}other,3\n"))).train_examples


def test_a_name_with_a_comma_is_a_name(write: Write) -> None:
    cells = ('"Books, Comics"', "Books", "Music", "Film|Music")
    body = "text,label\n" + "".join(f"text {number},{cells[number % 4]}\n" for number in range(40))
    facts = check_data(recipe("multilabel", train=write("train.csv", body)))
    assert facts.labels == 4
    assert not facts.notes


def test_what_evaluation_searches_is_read_as_negatives_are_from_lines_or_the_only_column(
    write: Write, tmp_path: Path
) -> None:
    train = write("train.csv", "query,document\n" + "a,b\nc,d\n" * 10)
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    write("other.csv", "id,passage\n1,one\n")

    def asked(corpus: str) -> Recipe:
        data = {"train": (train,), "text": ("query", "document"), "split": (0.5, 0.5)}
        embedding = {"corpus": str(tmp_path / corpus)}
        return Recipe.model_validate({"task": "embedding", "data": data, "embedding": embedding})

    assert check_data(asked("lines.txt")).train_examples == 10
    (problem,) = problems(asked("other.csv"))
    assert "has no column 'document' with the documents: it has 'id', 'passage'" in problem
