"""Files given to eval and predict: read as the run's data, or as the data.* keys beside them say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UserError
from launcher.planning.given_data import recipe_for
from launcher.reading.inference_files import check_given, given_rows
from launcher.recipe.recipe import Recipe


def recipe(**data: Any) -> Recipe:
    data = {"train": "/runs/train.tsv", **data}
    return Recipe.model_validate(
        {"task": "classification", "model": {"name": "bert-base-uncased"}, "data": data}
    )


HEADERLESS = {"header": False, "columns": ("text", "label")}


def read(path: Path, asked: Recipe, *words: str) -> list[dict[str, Any]]:
    return [dict(row.values) for row in given_rows(path, recipe_for(asked, path, words, path.parent))]


def refused(path: Path, asked: Recipe, *words: str, labelled: bool = False, sure: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        check_given(path, recipe_for(asked, path, words, path.parent), labelled=labelled, sure_of_header=sure)
    return str(caught.value)


def test_a_header_line_where_the_runs_files_have_none_is_said(tmp_path: Path) -> None:
    path = tmp_path / "new.tsv"
    path.write_text("qid\ttext_a\n7\ta good film\n8\ta bad film\n")
    found = refused(path, recipe(**HEADERLESS))
    assert "new.tsv:1: data.header=false: the first line looks like a header (qid, text_a)" in found
    assert "data.header=true data.text=COLUMN, or" in found  # predictions need no labels
    assert "data.text=COLUMN data.label=COLUMN, or" in refused(path, recipe(**HEADERLESS), labelled=True)
    assert read(path, recipe(**HEADERLESS), "data.header=true", "data.text=text_a") == [
        {"qid": "7", "text_a": "a good film"},
        {"qid": "8", "text_a": "a bad film"},
    ]


@pytest.mark.parametrize(
    "content",
    ["a good film\t1\na bad film\t0\n", "Good\tpositive\nBad\tnegative\nSo good\tpositive\n", "fine\t1\n"],
)
def test_a_row_is_not_taken_for_a_header(tmp_path: Path, content: str) -> None:
    path = tmp_path / "new.tsv"
    path.write_text(content)
    check_given(path, recipe(**HEADERLESS), labelled=False, sure_of_header=False)


def test_more_fields_than_columns_are_fine_where_the_first_line_has_fewer(tmp_path: Path) -> None:
    """STS-B's test file is so: sources stand behind the seven columns from line 626 on."""
    path = tmp_path / "new.tsv"
    path.write_text("a good film\t1\na bad film\t0\tsource\tlicense\n")
    check_given(path, recipe(**HEADERLESS), labelled=True, sure_of_header=False)


def test_a_file_of_texts_alone_is_told_the_key_for_it(tmp_path: Path) -> None:
    path, asked = tmp_path / "new.csv", recipe(**HEADERLESS, train="/runs/train.csv")
    path.write_text('"good, really"\nbad\n')
    found = refused(path, asked)
    assert "new.csv:1: 1 field, but 2 columns (text, label)" in found
    assert "data.columns=[...] if the file has other columns" in found
    assert "data.format=csv" not in found  # which it has
    assert read(path, asked, "data.columns=[text]") == [{"text": "good, really"}, {"text": "bad"}]


def test_another_delimiter_is_told_where_texts_hold_the_usual_one(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("text;label\ngood, really;1\nbad;0\n")
    found = refused(path, recipe(**HEADERLESS, train="/runs/train.csv"))
    assert "data.delimiter=\";\" (columns seem to be separated by ';')" in found


def test_sentences_are_not_read_as_words_with_their_columns(tmp_path: Path) -> None:
    """A run that was trained on columns in a .txt file is given a .txt file of sentences."""
    data = {"train": "/runs/train.txt", "format": "conll"}
    asked = Recipe.model_validate({"task": "token-classification", "model": {"name": "b"}, "data": data})
    path, known = tmp_path / "new.txt", ("B-PER", "O")
    path.write_text("Anna saw Rome .\nMia went home .\n")
    with pytest.raises(
        UserError, match=r"the last one \(\.\) is none of the run's tags\n +-> data\.format=txt"
    ):
        check_given(path, asked, labelled=False, sure_of_header=False, known=known)
    path.write_text("Anna saw Rome .\nMia left .\n")
    assert "data.format=txt if each line is a text" in refused(path, asked)
    for words in ("Anna B-PER\nleft O\n", "Anna\nleft\n", "Anna NNP\nleft VBD\n\nMia NNP\n"):
        path.write_text(words)  # tagged, without tags, and with something else behind the words
        check_given(path, asked, labelled=False, sure_of_header=False, known=known)


def test_a_label_that_the_model_does_not_know_is_told_before_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new.tsv"
    path.write_text("good\tpos\nfine\tpso\nbad\tneg\n")
    asked = recipe(**HEADERLESS)
    check_given(path, asked, labelled=True, sure_of_header=True)
    with pytest.raises(
        UserError, match=r"new\.tsv:2: .*label 'pso' is not in the training data\n.*did you mean pos"
    ):
        check_given(path, asked, labelled=True, sure_of_header=True, known=("neg", "pos"))
    path.write_text("good\n")
    assert "data.columns=[...] names what there is" in refused(path, asked)


def test_who_says_that_there_is_no_header_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "new.tsv"
    path.write_text("text\tlabel\na good film\t1\n")
    asked = recipe_for(recipe(**HEADERLESS), path, ["data.header=false"], tmp_path)
    check_given(path, asked, labelled=False, sure_of_header=True)


def test_other_columns_and_another_form_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    path.write_text("review;stars\ngood;1\n")
    words = ["data.format=csv", "data.delimiter=;", "data.text=review", "data.label=stars"]
    assert read(path, recipe(), *words) == [{"review": "good", "stars": "1"}]


def test_a_column_that_is_missing_or_a_file_without_rows_is_known_before_a_model_is_loaded(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new.csv"
    path.write_text("review,stars\ngood,1\n")
    assert "data.text=text: no such column in the file" in refused(path, recipe())
    assert "data.text=text, data.label=label" in refused(path, recipe(), labelled=True)
    path.write_text("text,label\n")
    assert "holds no rows" in refused(path, recipe())


def test_what_the_run_decided_cannot_be_given(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("text,label\ngood,1\n")
    assert "data.max_length: can't be given here" in refused(path, recipe(), "data.max_length=8")
    assert "train.lr: can't be given here" in refused(path, recipe(), "train.lr=1")
    assert "must be true or false" in refused(path, recipe(), "data.header=maybe")


def test_lines_of_text_are_told_their_columns_name_where_the_run_calls_it_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("a good film\na bad film\n")
    found = refused(path, recipe(text="sentence"))
    assert "data.text=sentence: no such column in the file" in found
    assert "-> data.text=text (each line of the file is one)" in found
    assert read(path, recipe(text="sentence"), "data.text=text") == [
        {"text": "a good film"},
        {"text": "a bad film"},
    ]
