"""Labels, lists and answers in forms that other tools write: read as they are meant, or said before a launch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from launcher import tasks
from launcher.errors import UserError
from launcher.reading.check import DataFacts, check_data
from launcher.reading.files import read_rows
from launcher.reading.options import ReadOptions
from launcher.recipe.recipe import Recipe

TAGGED = {"task": "token-classification", "text": "words", "label": "tags"}
ASKED = {"task": "question-answering", "text": ("question", "context"), "label": "answers"}


def check(path: Path, content: str, task: str = "classification", **data: Any) -> DataFacts:
    path.write_text(content, encoding="utf-8")
    return check_data(recipe(path, task, **data))


def recipe(path: Path, task: str = "classification", **data: Any) -> Recipe:
    return Recipe.model_validate({"task": task, "data": {"train": str(path), **data}})


def refused(path: Path, content: str, **asked: Any) -> str:
    with pytest.raises(UserError) as caught:
        check(path, content, **asked)
    return str(caught.value)


def test_a_header_that_is_read_as_a_row_is_told(tmp_path: Path) -> None:
    content = "review\tstars\n" + "good film\t1\nbad film\t0\n" * 10
    asked = {"header": False, "columns": ("text", "label")}
    for times in (1, 2):
        (note,) = check(tmp_path / "a.tsv", content * times, **asked).notes
    assert note.startswith("data.train: a.tsv:1 looks like a header (review, stars) and is read as a row")
    assert check(tmp_path / "b.tsv", content.partition("\n")[2], **asked).notes == ()


def test_a_header_of_another_split_and_a_variable_are_told(tmp_path: Path) -> None:
    rows, other = "good film\tpos\nbad film\tneg\n" * 10, tmp_path / "dev.tsv"
    other.write_text("text\tlabel\n" + rows)
    asked = {"header": False, "columns": ("text", "label"), "validation": str(other)}
    found = refused(tmp_path / "a.tsv", rows, **asked)
    assert "dev.tsv:1: data.label=label: label 'label' is not in the training data" in found
    assert "take line 1 out if it is a header, which data.header=false reads as a row" in found
    assert "$DATA stands for itself here" in refused(tmp_path / "a.csv", "text,label\n", train="$DATA/a.csv")


def test_columns_of_words_in_another_order_are_told(tmp_path: Path) -> None:
    asked = {"task": "token-classification"}
    found = refused(tmp_path / "a.conll", "B-PER\tAnna\nO\tsaw\n\n" * 20, **asked)
    assert "a.conll: data.text=text: holds tags (B-PER, O), not words" in found
    assert "data.columns=[label,text] where the tags stand before the words" in found
    (note,) = check(tmp_path / "b.conll", "1 Anna B-PER\n2 saw O\n\n" * 20, **asked).notes
    assert note == "data.train: every text is a number; data.text names the column of texts"


def test_blank_texts_and_scores_taken_for_classes_are_told(tmp_path: Path) -> None:
    content = "text,label\n" + " ,1.5\na,2\n" * 10
    notes = check(tmp_path / "a.csv", content).notes
    assert "the classes are numbers with fractions, such as 1.5, and each is one by itself" in notes[0]
    assert notes[1] == "data.train: 10 of 20 rows read have no text"


def test_quotes_that_a_tsv_was_written_with_are_told(tmp_path: Path) -> None:
    content = "text\tlabel\n" + '"He said ""hi"" to me"\tpos\nplain\tneg\n' * 10
    (note,) = check(tmp_path / "a.tsv", content).notes
    assert note == (
        "data.train: 10 texts stand in quotes with doubled ones within, as csv writes them; data.quoting=true takes them off"
    )
    assert check(tmp_path / "a.tsv", content, quoting=True).notes == ()
    assert check(tmp_path / "b.tsv", content.replace('""', '"')).notes == ()
    found = refused(tmp_path / "c.tsv", 'text\tlabel\n"one\ntwo"\tpos\nplain\tneg\n')
    assert "a field that a quote begins goes on in the next line\n    -> data.quoting=true" in found


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", '{"text": "a", "label": 1}\n' * 3, "a.csv:1: data.train: looks like JSON"),
        ("a.jsonl", "text,label\na,1\n", "this is no JSON: data.format says what it is"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "la', "is the file whole?"),
        ("a.jsonl", '{"text": "a", "label": {"id": 1}}\n', "data.label=COLUMN.id reaches into it"),
    ],
)
def test_another_form_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    assert said in refused(tmp_path / name, content)


def test_files_of_json_lines_put_together_with_their_marks_are_read(tmp_path: Path) -> None:
    content = lines({"text": "a", "label": 0}) + "\ufeff" + lines({"text": "b", "label": 1})
    assert check(tmp_path / "a.jsonl", content).labels == 2


def lines(*rows: dict[str, Any], times: int = 10) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows) * times


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_put_together_with_their_headers_are_told(tmp_path: Path, mark: str) -> None:
    found = refused(tmp_path / "a.csv", f"text,label\na,1\nb,0\n{mark}text,label\nc,1\n")
    assert "a.csv:4: is the header again" in found
    assert "awk 'NR==1 {h=$0} NR==1 || $0!=h' a.csv > NEW" in found
    found = refused(tmp_path / "b.tsv", "good\t1\nbad\t0\ngood\t1\n")
    assert "the header again" not in found, "without a header, the first row may come again"
    assert "no such columns in the file" in found


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("('B-PER', 'O')", ["B-PER", "O"]),
        ("array(['B-PER', 'O'], dtype=object)", ["B-PER", "O"]),
        ("array(['B-PER', 'O'], dtype='<U5')", ["B-PER", "O"]),
        ("[B-PER, O]", None),
        ("{B-PER, O}", None),
    ],
)
def test_lists_of_tags_that_stand_as_text_are_read_or_refused(
    tmp_path: Path, cell: str, tags: list[str] | None
) -> None:
    content = "words,tags\n" + f'Anna saw,"{cell}"\n' * 10
    if tags is None:
        assert "a.csv:2: data.label=tags: " in refused(tmp_path / "a.csv", content, **TAGGED)
        return
    assert check(tmp_path / "a.csv", content, **TAGGED).labels == 3
    (first, *_) = read_rows(tmp_path / "a.csv", ReadOptions())
    assert tasks.of(recipe(tmp_path / "a.csv", **TAGGED)).class_names(first) == tuple(tags)


def test_places_of_entities_are_told_as_what_they_are(tmp_path: Path) -> None:
    for places in ([[0, 4, "PER"]], {"PER": {"Anna": [[0, 3]]}}):
        found = refused(tmp_path / "a.jsonl", lines({"words": "Anna saw", "tags": places}), **TAGGED)
        assert "holds places of entities, not a tag for each word (docs/data.md makes tags of them)" in found


def test_a_word_a_row_is_no_sentence(tmp_path: Path) -> None:
    content = "words,tags\n" + "Anna,B-PER\nsaw,O\n" * 50
    assert "has 100 rows of one word each: its sentences aren't told apart" in refused(
        tmp_path / "a.csv", content, **TAGGED
    )


def test_tags_that_are_numbers_or_differ_in_case_are_told(tmp_path: Path) -> None:
    (note,) = check(tmp_path / "a.jsonl", lines({"words": ["Anna", "saw"], "tags": [1, 0]}), **TAGGED).notes
    assert "write their names (O, B-X, I-X), since nobody says what the numbers mean" in note
    rows = [{"words": ["Anna", "saw"], "tags": [tag, "O"]} for tag in ("B-PER", "B-per")]
    (note,) = check(tmp_path / "a.jsonl", lines(*rows), **TAGGED).notes
    assert "'B-PER' and 'B-per' are taken for different tags" in note


def test_classes_in_lists_and_several_in_one_are_told(tmp_path: Path) -> None:
    found = refused(tmp_path / "a.csv", "text,label\n" + "a,['x']\nb,['y']\n" * 10)
    assert "a.csv:2: data.label=label: \"['x']\" is a list: task=multilabel" in found
    names = ["27", "4", "4,27", "1", "1,3", "3"]
    content = lines(*({"text": f"t{n}", "label": name} for n, name in enumerate(names)))
    (note,) = check(tmp_path / "a.jsonl", content).notes
    assert "label '4,27' is a class of its own, though its parts are labels too" in note
    assert 'task=multilabel data.label_delimiter="," takes them apart' in note


def test_a_zero_or_one_for_each_label_is_no_list_of_labels(tmp_path: Path) -> None:
    content = lines({"text": "a", "label": [0.0, 1.0, 1.0]}, {"text": "b", "label": [1, 0, 0]})
    found = refused(tmp_path / "a.jsonl", content, task="multilabel")
    assert "a.jsonl:2: data.label=label: [1, 0, 0] is a 0 or 1 for each label" in found
    ids = lines({"text": "a", "label": [0, 1]}, {"text": "b", "label": [1]})
    assert check(tmp_path / "a.jsonl", ids, task="multilabel").labels == 2


def test_a_label_that_no_vector_learns_from_is_told(tmp_path: Path) -> None:
    content = "a,b,label\n" + "x,y,entailment\nx,z,neutral\n" * 10
    (note,) = check(tmp_path / "a.csv", content, task="embedding", text=("a", "b")).notes
    assert "the column 'label' is not read: infonce takes each pair for two that belong together" in note
    assert (
        check(tmp_path / "b.csv", content.replace("label", "kind"), task="embedding", text=("a", "b")).notes
        == ()
    )


def test_numbers_in_the_data_are_not_renamed(tmp_path: Path) -> None:
    content = lines({"text": "a", "label": 0}, {"text": "b", "label": 1})
    found = refused(tmp_path / "a.jsonl", content, labels=("no", "yes"))
    assert "the data hold numbers, and data.labels has to name what stands in them" in found


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ({"text": "Oslo", "answer_start": 14}, 1),
        ([{"text": "Oslo", "answer_start": 14.0}], 1),
        ([{"text": "", "answer_start": -1}], 0),
    ],
)
def test_answers_in_other_forms_are_read(tmp_path: Path, answers: Any, count: int) -> None:
    usual = {
        "question": "where",
        "context": "Anna lives in Oslo.",
        "answers": {"text": ["Oslo"], "answer_start": [14]},
    }
    notes = check(tmp_path / "a.jsonl", lines({**usual, "answers": answers}, usual), **ASKED).notes
    assert [note.partition(" (")[0] for note in notes] == [
        "data.train: 10 questions have no answer, and no prediction can say so"
    ] * (1 - count)


def test_what_pandas_writes_of_impossible_questions_is_read(tmp_path: Path) -> None:
    row = "where,Anna lives in Oslo.,\"{'text': ['Oslo'], 'answer_start': [14]}\","
    content = "question,context,answers,is_impossible\n" + f"{row}True\n{row}False\n" * 10
    notes = check(tmp_path / "a.csv", content, **ASKED).notes
    assert "10 questions have answers although is_impossible says that there is none" in notes[1]


def test_what_is_no_text_and_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    found = refused(tmp_path / "a.jsonl", lines({"text": True, "label": 0}, {"text": "b", "label": 1}))
    assert "a.jsonl:1: data.text=text: the cell holds true, which is no text" in found
    cells = [pyarrow.array(["a", "b"]), pyarrow.array(["c", "d"]), pyarrow.array([0, 1])]
    table = pyarrow.Table.from_arrays(cells, names=["text", "text", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has text more than once"):
        check_data(recipe(tmp_path / "a.parquet"))


def test_pointers_and_forms_of_other_programs_lead_on(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"
    assert "git lfs pull" in refused(tmp_path / "a.parquet", pointer)
    found = refused(tmp_path / "a.txt", "__label__good a film\n__label__bad a film\n" * 10)
    assert "the lines are those of fastText" in found
    found = refused(tmp_path / "a.csv", 'text, label\n"a, b", "good, very"\n')
    assert "a blank stands before a quote" in found
    assert "sed 's/, \"/,\"/g' a.csv > NEW" in found
    found = refused(tmp_path / "b.csv", 'text, label\n"a", "1,5"\n', task="regression")
    assert "fractions have a point" in refused(
        tmp_path / "c.csv", 'text,label\na,"1,5"\nb,1\n', task="regression"
    )
    assert "at least one row\n" in refused(tmp_path / "a.jsonl", " \n") + "\n"
