"""CoNLL columns and SQuAD json, and what the files of each task must hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.recipes import recipe

from launcher import tasks
from launcher.errors import UserError
from launcher.reading import split_reading
from launcher.reading.check import check_data
from launcher.reading.files import count_rows, peek, read_rows
from launcher.reading.options import ReadOptions
from launcher.tasks.multiple_choice import choice_indices
from launcher.tasks.shared.answers import Answer, placed
from launcher.tasks.shared.rows import Row

Write = Callable[[str, Any], str]

SENTENCES = """-DOCSTART- -X- O

EU NNP B-ORG
rejects VBZ O
\t
Peter\tNNP\tB-PER
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: Any) -> str:
        if name.endswith(".jsonl"):
            content = "".join(json.dumps(row) + "\n" for row in content)
        elif not isinstance(content, str):
            content = json.dumps(content)
        (tmp_path / name).write_text(content, encoding="utf-8")
        return str(tmp_path / name)

    return write


def problems(task: str, **data: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        check_data(recipe(task, **data))
    return [str(problem) for problem in caught.value.problems]


# CoNLL columns


def test_sentences_are_rows_of_words_and_tags(write: Write) -> None:
    path = Path(write("train.conll", SENTENCES))
    rows = list(read_rows(path, ReadOptions()))
    assert rows[0].values == {"text": ["EU", "rejects"], "column2": ["NNP", "VBZ"], "label": ["B-ORG", "O"]}
    assert [row.position for row in rows] == [3, 6], "the line of the first word"
    assert count_rows(path, ReadOptions()) == 2


def test_words_without_an_empty_line_between_sentences_are_refused(write: Write) -> None:
    long, short = ("EU B-ORG\n" + "says O\n" * others for others in (99, 98))
    (found,) = problems("token-classification", train=write("train.conll", long))
    assert "train.conll: data.train: is one sentence of 100 words: no line in it is empty" in found
    assert "an empty line ends a sentence" in found
    test = write("test.conll", long)
    check_data(recipe("token-classification", train=write("b.conll", short), validation=test))


def test_columns_of_words_can_be_named(write: Write) -> None:
    path = Path(write("train.txt", SENTENCES))
    (first, _) = read_rows(path, ReadOptions(format="conll", columns=("word", "pos")))
    assert first.values == {"word": ["EU", "rejects"], "pos": ["NNP", "VBZ"]}


def test_a_delimiter_keeps_blanks_within_a_word_and_an_ideographic_space_is_a_word(write: Write) -> None:
    (row,) = read_rows(Path(write("a.bio", "New York\tB-LOC\n")), ReadOptions(delimiter="\t"))
    assert row.values == {"text": ["New York"], "label": ["B-LOC"]}
    (row,) = read_rows(Path(write("b.bio", "\u3000 O\n")), ReadOptions())
    assert row.values == {"text": ["\u3000"], "label": ["O"]}


def test_one_column_is_text_alone(write: Write) -> None:
    (row,) = read_rows(Path(write("words.iob2", "one\ntwo\n")), ReadOptions())
    assert row.values == {"text": ["one", "two"]}


def test_a_line_that_names_columns_of_words_is_told(write: Write) -> None:
    path = Path(write("a.conll", "Word\tPOS\tTag\nAnna\tNNP\tB-PER\nsaw\tVBD\tO\n"))
    with pytest.raises(UserError, match=r"(?s)a\.conll:1: the first line names columns .*sed 1d a\.conll"):
        list(read_rows(path, ReadOptions()))
    rows = list(read_rows(Path(write("b.conll", "text O\nWord B-PER\n\nlabel O\n")), ReadOptions()))
    assert [row.values["text"] for row in rows] == [["text", "Word"], ["label"]]


def test_a_line_that_lacks_a_column_is_named(write: Write) -> None:
    (text,) = problems("token-classification", train=write("train.conll", SENTENCES + "was VBD\n"))
    assert "train.conll:7: " in text
    assert "columns: 2, but 3 expected (text, column2, label)" in text


# SQuAD json


def squad(**question: Any) -> dict[str, Any]:
    asked = {"id": "q1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}], **question}
    return {
        "version": "2.0",
        "data": [{"title": "T", "paragraphs": [{"context": "Ann met Bob.", "qas": [asked]}]}],
    }


def test_questions_are_rows(write: Write) -> None:
    impossible = squad(answers=[], is_impossible=True)
    (row,) = peek(Path(write("train.json", impossible)), ReadOptions()).rows
    assert row.values == {
        "id": "q1",
        "title": "T",
        "question": "Who?",
        "context": "Ann met Bob.",
        "answers": [],
        "is_impossible": True,
    }


def test_a_file_that_should_be_squad_says_where_it_is_not(write: Write) -> None:
    path = Path(write("train.json", [{"question": "Who?"}]))
    with pytest.raises(UserError, match="is not SQuAD json"):
        list(read_rows(path, ReadOptions(format="squad")))
    broken = squad()
    broken["data"][0]["paragraphs"][0].pop("context")
    with pytest.raises(UserError, match=r"data\[0\].paragraphs\[0\] has no text 'context'"):
        list(read_rows(Path(write("broken.json", broken)), ReadOptions()))


# What each task needs


def test_token_classification_counts_tags_and_those_they_go_with(write: Write) -> None:
    """I-ORG goes with B-ORG, whether it occurs or not."""
    rows = [{"text": ["EU", "rejects"], "label": ["B-ORG", "O"]}] * 20
    assert check_data(recipe("token-classification", train=write("a.jsonl", rows))).labels == 3
    csv = "text,label\n" + "EU rejects,B-ORG O\n" * 20
    assert check_data(recipe("token-classification", train=write("a.csv", csv))).labels == 3


def test_token_classification_names_rows_whose_tags_don_t_fit(write: Write) -> None:
    rows = [
        {"text": ["a"], "label": ["O", "O"]},
        {"text": 3, "label": ["O"]},
        {"text": ["a"], "label": [None]},
    ]
    found = problems(
        "token-classification",
        train=write("a.jsonl", rows),
        validation=write("b.jsonl", [{"text": ["a"], "label": ["O"]}]),
    )
    assert "a.jsonl:1: data.label=label: 2 tags for 1 words" in found[0]
    assert "a.jsonl:2: data.text=text: 3 is not a list of words" in found[1]
    assert "a.jsonl:3: data.label=label: tag 1 of 1 is empty" in found[2]


def test_a_tag_that_training_lacks_is_named(write: Write) -> None:
    train, other = write("train.conll", SENTENCES), write("dev.conll", "Oslo NNP B-LOC\n")
    (found,) = problems("token-classification", train=train, validation=other)
    assert "dev.conll:1: data.label=label: label 'B-LOC' is not in the training data" in found
    (found,) = problems(
        "token-classification", train=train, validation=train, labels=("B-ORG", "O"), format="conll"
    )[:1]
    assert "label 'B-PER' is not in data.labels" in found


def test_masked_language_modelling_needs_text_alone(write: Write) -> None:
    facts = check_data(recipe("masked-lm", train=write("text.txt", "a line\n" * 20)))
    assert (facts.train_examples, facts.labels) == (14, None)


QA = {"text": ("question", "context"), "label": "answers"}


def asked(answers: Any, **more: Any) -> dict[str, Any]:
    return {"question": "Who?", "context": "Ann met Bob.", "answers": answers, **more}


BOB = [{"text": "Bob", "answer_start": 8}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (asked("Ann"), '\'Ann\' is not a list of {"text": ..., "answer_start": ...}'),
        (asked([*BOB, {"answer_start": 8}]), 'answer 2 has no "text"'),
        (asked([{"text": "Bob", "answer_start": "8"}]), 'answer 1 has no whole number in "answer_start"'),
        (
            asked({"text": ["Bob"], "answer_start": [8, 9]}),
            'has not as many places in "answer_start" as texts',
        ),
        (asked(BOB, is_impossible="false"), "'false' is neither true nor false"),
    ],
)
def test_what_is_wrong_with_answers_is_said(write: Write, row: dict[str, Any], message: str) -> None:
    rows = [asked({"text": ["Bob"], "answer_start": [8]}), row]
    (found,) = problems("question-answering", train=write("train.jsonl", rows), split=(0.5, 0.5), **QA)
    assert "train.jsonl:2: data.label" in found
    assert message in found


@pytest.mark.parametrize(
    ("row", "note", "label"),
    [
        (asked([{"text": "Eve", "answer_start": -1}]), "1 answers stand nowhere", (Answer("Eve", -1),)),
        (
            asked([{"text": "Eve", "answer_start": 99}, *BOB]),
            "1 answers stand nowhere in their context (first: {file}:1); nothing is learnt from them",
            (Answer("Eve", -1), Answer("Bob", 8)),
        ),
        (asked(BOB, is_impossible=True), "1 questions have answers although is_impossible says", ()),
        (asked([]), "1 questions have no answer, and no prediction can say so", ()),
    ],
)
def test_doubtful_answers_are_counted_before_a_launch(
    write: Write, row: dict[str, Any], note: str, label: tuple[Answer, ...]
) -> None:
    file = write("train.jsonl", [row, asked(BOB)])
    wanted = recipe("question-answering", train=file, validation=file, **QA)
    assert any(note.format(file=file) in said for said in check_data(wanted).notes)
    assert tasks.of(wanted).label(Row(row, 1)) == label


@pytest.mark.parametrize(
    "row", [asked([]), asked(BOB, is_impossible=True), asked([{"text": "Eve", "answer_start": -1}])]
)
@pytest.mark.parametrize("unanswerable", [False, True])
def test_questions_of_which_none_has_an_answer_are_refused(
    write: Write, row: dict[str, Any], unanswerable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_reading, "SMALL_BYTES", 0)  # so that the file counts as a large one
    monkeypatch.setattr(split_reading, "FIRST_ROWS", 2)
    several = write("train.jsonl", [row] * 4)
    wanted = recipe("question-answering", train=several, validation=several, **QA)
    qa = wanted.qa.model_copy(update={"unanswerable": unanswerable})
    with pytest.raises(UserError, match="no row has an answer that stands in its context"):
        check_data(wanted.model_copy(update={"qa": qa}))
    write("train.jsonl", [*[row] * 4, asked(BOB)])
    check_data(wanted.model_copy(update={"qa": qa}))


def test_questions_without_an_answer_are_fine_where_the_recipe_says_so(write: Write) -> None:
    file = write("train.jsonl", [asked([]), asked(BOB)])
    wanted = recipe("question-answering", train=file, validation=file, **QA)
    allowed = wanted.model_copy(update={"qa": wanted.qa.model_copy(update={"unanswerable": True})})
    assert all("is trained on, too" in note for note in check_data(allowed).notes)


def test_wrong_offsets_are_counted(write: Write) -> None:
    wrong = write("train.json", squad(answers=[{"text": "Bob", "answer_start": 7}]))
    facts = check_data(recipe("question-answering", train=wrong, validation=wrong, **QA))
    assert "data.train: 1 answers don't stand where answer_start says" in facts.notes[0]
    assert "train.json:1" in facts.notes[0]
    assert facts.labels == 2


def test_an_answer_is_taken_where_it_is_nearest() -> None:
    context = "Bob, Bob and Bob"
    assert placed(context, Answer("Bob", 6)) == Answer("Bob", 5)
    assert placed(context, Answer("Bob", 12)) == Answer("Bob", 13)
    assert placed(context, Answer("Bob", 5)) == Answer("Bob", 5)
    assert placed(context, Answer("Eve", 5)) is None


@pytest.mark.parametrize(
    ("label", "meant"),
    [(1, {1}), ("1", {1}), ("b", {1}), ("B", {1}), ("red", {0}), ("4", set()), ("", set()), (None, set())],
)
def test_a_choice_is_a_number_a_letter_or_its_text(label: Any, meant: set[int]) -> None:
    assert choice_indices(label, ["red", "green", "blue"]) == meant


def test_labels_that_are_named_for_each_choice_are_taken_so_alone() -> None:
    asked = recipe("multiple-choice", choices=("one", "two"), labels=("1", "2"))
    spec = tasks.of(asked)
    rows = [Row({"one": "2", "two": "red", "label": label}, 1) for label in ("1", 2, "0", "red")]
    assert [spec.label(row) for row in rows[:2]] == [0, 1]
    assert [spec.label_mistake(row, row.values["label"]) for row in rows[2:]] == [
        "'0' is not in data.labels, or there is no such choice: 2 are given",
        "'red' is not in data.labels, or there is no such choice: 2 are given",
    ]


def test_choices_stand_in_columns_or_in_a_list(write: Write) -> None:
    csv = "text,one,two,label\n" + "Why?,yes,no,B\n" * 20
    facts = check_data(recipe("multiple-choice", train=write("a.csv", csv), choices=("one", "two")))
    assert (facts.labels, facts.mean_chars) == (1, 9)
    rows = [{"text": "1+1", "options": ["2", "0"], "label": "0"}, {"text": "1+1", "options": [], "label": 0}]
    found = problems("multiple-choice", train=write("a.jsonl", rows), choices="options")
    assert "a.jsonl:1: data.label=label: '0' may mean several choices" in found[0]
    assert "a.jsonl:2: data.choices=options: [] is not a list of two or more choices" in found[1]


def test_an_object_where_texts_or_choices_are_wanted_is_told_how_to_reach_into_it(write: Write) -> None:
    rows = [{"text": {"stem": "Why?"}, "options": {"text": ["yes", "no"], "label": ["A", "B"]}, "label": "A"}]
    found = problems("multiple-choice", train=write("a.jsonl", rows * 4), choices="options")
    assert (
        "text: the cell is not a text but a list or object; dotted names reach into it, such as COLUMN.stem"
        in found[0]
    )
    assert any(
        "not a list of two or more choices; dotted names reach into it, such as COLUMN.text" in each
        for each in found
    )


def test_relevance_is_a_number(write: Write) -> None:
    csv = "query,document,label\nq,d,high\n"
    (found,) = problems("ranking", train=write("a.csv", csv), text=("query", "document"), split=(0.5, 0.5))[
        :1
    ]
    assert "a.csv:2: data.label=label: 'high' is not a finite number" in found


def test_ordinal_classes_have_an_order(write: Write) -> None:
    csv = "text,label\n" + "fine,good\nawful,bad\n" * 10
    (found,) = problems("ordinal", train=write("a.csv", csv))
    assert "'bad' is no number: these classes have no order" in found
    assert check_data(recipe("ordinal", train=write("a.csv", csv), labels=("bad", "good"))).labels == 2


# Public data


@pytest.mark.parametrize(("name", "sentences"), [("train", 14041), ("dev", 3250), ("test", 3453)])
def test_conll2003(shared_data: Path, name: str, sentences: int) -> None:
    assert count_rows(shared_data / f"conll2003/{name}.txt", ReadOptions(format="conll")) == sentences


def test_squad(shared_data: Path) -> None:
    halves = {name: str(shared_data / f"squad_v1.1_dev/half_{name}-v1.1.json") for name in ("dev", "test")}
    facts = check_data(recipe("question-answering", train=halves["dev"], validation=halves["test"], **QA))
    assert (facts.train_examples, facts.validation_examples, facts.notes) == (4961, 5609, ())


def test_the_rows_of_a_large_file_with_quotes_are_counted(tmp_path: Path) -> None:
    """A row of two lines, 60 MB in all: read as a table, since lines are not rows."""
    path = tmp_path / "large.csv"
    block = 'said "so" once,1\n"a text, of ""two""\nlines",2\n\n' * 1000
    path.write_text("text,label\n" + block * 1300)
    assert path.stat().st_size > 50 << 20
    assert count_rows(path, ReadOptions(quoting=True)) == 2 * 1000 * 1300
