"""`launch data`: what is doubtful about data is found, with places and what to do, before time is spent on training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_tokenizer import SmallTokenizer

from launcher.cli.output import rich_text
from launcher.cli.verbs.data import report as report_parts
from launcher.recipe.recipe import Recipe
from launcher.runs.records import make, tree_of
from launcher.runs.verb_results import DataReport
from launcher.train.dataset.data_report import report
from launcher.train.dataset.prepare import prepare

Write = Callable[[str, str], str]
Examine = Callable[..., dict[str, Any]]


@pytest.fixture
def examine(write: Write) -> Examine:
    """The report on a training and a validation file, which hold nothing doubtful of their own."""

    def examine(
        train: str | None = None,
        validation: str | None = None,
        task: str = "classification",
        suffix: str = "csv",
        **data: Any,
    ) -> dict[str, Any]:
        asked = Recipe.model_validate(
            {
                "task": task,
                "data": {
                    "train": write(f"train.{suffix}", train or rows()),
                    "validation": write(f"dev.{suffix}", validation or rows("v")),
                    **data,
                },
            }
        )
        return tree_of(report(asked, SmallTokenizer(), None, lambda *_: None))

    return examine


def rows(prefix: str = "t", *more: str, count: int = 200) -> str:
    lines = [f"{prefix} {number},{number % 2}" for number in range(count)]
    return "\n".join(["text,label", *lines, *more, ""])


def finding(found: dict[str, Any], kind: str, split: str = "train") -> dict[str, Any]:
    (one,) = [f for f in found["findings"] if (f["kind"], f["split"]) == (kind, split)]
    return dict(one)


def test_progress_counts_rows(write: Write) -> None:
    told: list[tuple[str, int | None, int | None]] = []
    asked = {
        "task": "classification",
        "data": {"train": write("t.csv", rows()), "validation": write("v.csv", rows("v"))},
    }
    report(Recipe.model_validate(asked), SmallTokenizer(), None, lambda *now: told.append(now))
    assert told[:2] == [("reading", None, None), ("looking for what is doubtful", 0, 400)]
    assert told[2:] == [("counting tokens of train", 200, 200), ("counting tokens of validation", 200, 200)]


# What is found


def test_sound_data_have_no_findings(examine: Examine) -> None:
    found = examine()
    assert found["findings"] == []
    assert found["splits"]["train"] == {
        "examples": 200,
        "labels": {"0": 100, "1": 100},
        "classes": 2,
        "tokens": {"median": 4, "p90": 4, "p99": 4, "longest": 4, "longer": 0, "of": 200},
    }


def test_all_classes_are_counted_that_are_not_shown(examine: Examine) -> None:
    many = "text,label\n" + "".join(f"t {number},{number % 300}\n" for number in range(900))
    found = examine(many)
    assert found["splits"]["train"]["classes"] == 300
    assert "288 more" in rich_text(report_parts(make(DataReport, found, "the report")))


def test_texts_that_leak(examine: Examine) -> None:
    leak = finding(examine(validation=rows("v", "t 3,0", "t 7,1")), "leak", "validation")
    assert (leak["level"], leak["count"], leak["of"]) == ("warning", 2, 202)
    assert "texts of 2 of 202 (1.0%) rows also stand in train" in leak["message"]
    assert leak["examples"][0].endswith("train.csv:5)")
    assert "dev.csv:202: t 3 (also " in leak["examples"][0]
    assert "data.clean.drop_leaked=true" in leak["remedy"]


def test_duplicates_and_conflicting_labels(examine: Examine) -> None:
    found = examine(rows("t", "t 1,1", "t 1,1", "t 2,1"))
    twice = finding(found, "duplicate")
    assert (twice["count"], twice["level"]) == (2, "note"), "fewer than one in a hundred"
    assert "train.csv:202: t 1 (first: " in twice["examples"][0]
    conflict = finding(found, "conflict")
    assert "train.csv:204: t 2 is 1, but 0 at " in conflict["examples"][0]


def test_what_cleaning_leaves_out_is_no_longer_found(examine: Examine) -> None:
    train = rows("t", *["t 1,1"] * 10, " ,1", "<b>x</b>,1")
    kinds = {f["kind"] for f in examine(train)["findings"]}
    assert kinds == {"duplicate", "empty", "html"}
    clean = {"drop_duplicates": True, "drop_empty": True, "html": True}
    assert examine(train, clean=clean)["findings"] == []


@pytest.mark.parametrize(
    ("text", "kind", "remedy"),
    [
        ("<br>x", "html", "data.clean.html=true"),
        ("caf\u00c3\u00a9", "mojibake", "UTF-8"),
        ("x\ufffd", "replacement", "data.clean.control=true"),
        ("a\u200bb", "control", "data.clean.control=true"),
        ("\uff21\uff22", "wide", "data.clean.nfkc=true"),
    ],
)
def test_odd_texts(examine: Examine, text: str, kind: str, remedy: str) -> None:
    odd = finding(examine(rows("t", f"{text},1")), kind)
    assert odd["count"] == 1
    assert f"train.csv:202: {text}" in odd["examples"][0]
    assert remedy in odd["remedy"]


def test_classes_out_of_balance_absent_or_written_in_two_ways(examine: Examine) -> None:
    found = examine(rows("t", "rare one,Rare", "rare two,rare "))
    assert "1 examples of 'rare' against 100 of" in finding(found, "imbalance")["message"]
    assert "train.loss.class_weights=balanced" in finding(found, "imbalance")["remedy"]
    assert "'Rare' and 'rare'" in finding(found, "labels")["message"]
    assert (
        "no example of 2 of 4 classes ('Rare', 'rare')" in finding(found, "unseen", "validation")["message"]
    )


def test_texts_that_are_cut(examine: Examine) -> None:
    longer = rows("v", *[f"v a b c d {number},1" for number in range(20)])
    found = examine(rows("t", *[f"t a b c d e {number},1" for number in range(20)]), longer, max_length=6)
    assert finding(found, "long", "validation")["remedy"] == finding(found, "long")["remedy"], "one advice"
    cut = finding(found, "long")
    assert cut["message"] == "train: 20 of 220 (9.1%) texts are longer than 6 tokens and are cut off"
    assert cut["remedy"].startswith("data.max_length=9 cuts less")
    assert found["splits"]["train"]["tokens"]["longest"] == 9


def test_lines_of_masked_words_are_cut_into_windows(examine: Examine) -> None:
    found = examine("a b c d e f g\n" + "a b\n" * 3, "b c\n", "masked-lm", "txt", max_length=6)
    cut = finding(found, "long")
    assert cut["message"] == "train: 1 of 4 (25%) texts are longer than 6 tokens and are cut into 2 windows"
    assert cut["level"] == "note"
    assert found["splits"]["train"]["tokens"]["windows"] == 2


def test_long_sentences_are_cut_into_windows_and_none_is_warned_of(examine: Examine) -> None:
    sentence = "".join(f"w{number} {'B-PER' if number == 4 else 'O'}\n" for number in range(9))
    found = examine(sentence + "\nshort O\n", "one B-PER\n", "token-classification", "conll", max_length=6)
    cut = finding(found, "long")
    # Windows of 4 words share 2: words 0 to 3, 2 to 5, 4 to 7 and 6 to 8.
    assert cut["message"] == "train: 1 of 2 (50%) texts are longer than 6 tokens and are cut into 4 windows"
    assert cut["level"] == "note"


def test_tags_in_the_older_iob1_are_as_good_as_others(examine: Examine) -> None:
    """There B- stands only where an entity begins right behind another of its type."""
    good = "".join(f"w{number} I-PER\nx I-PER\nx B-PER\ny O\n\n" for number in range(50))
    found = examine(good, good.replace("w", "v"), "token-classification", "conll")
    note = finding(found, "sequence")
    assert note["level"] == "note"
    assert note["message"] == "train: 50 entities begin with I-, as the older IOB1 writes them"
    assert note["remedy"] == "nothing needs to be mended: they are read as BIO"


def test_tags_that_are_not_legal(examine: Examine) -> None:
    good = "".join(f"w{number} B-PER\nx I-PER\ny O\n\n" for number in range(50))
    found = examine(
        good + "a O\nb I-PER\n\nc B-PER\nd I-LOC\n", good.replace("w", "v"), "token-classification", "conll"
    )
    wrong = finding(found, "sequence")
    assert wrong["message"] == "train: 2 tags can't stand where they do"
    assert [example.split("train.conll")[1] for example in wrong["examples"]] == [
        ":202: I-PER after O",
        ":205: I-LOC after B-PER",
    ]


def test_answers_in_the_wrong_place(examine: Examine) -> None:
    def question(number: int, start: int) -> str:
        answers = [{"text": "Bob", "answer_start": start}]
        return (
            json.dumps({"question": f"Who {number}?", "context": "Ann met Bob.", "answers": answers}) + "\n"
        )

    train = "".join(question(number, 8) for number in range(50)) + question(50, 7)
    validation = "".join(question(number, 8) for number in range(60, 90))
    found = examine(
        train, validation, "question-answering", "jsonl", text=("question", "context"), label="answers"
    )
    wrong = finding(found, "offset")
    assert wrong["message"] == "train: 1 answers don't stand where answer_start says"
    assert wrong["examples"][0].endswith("train.jsonl:51: 'Bob' said to begin at 7, where ' Bo' is")


def test_rows_that_do_not_fit_are_all_told(examine: Examine) -> None:
    found = examine(rows("t", "no label,", "none either,"))
    wrong = finding(found, "misfit")
    assert (wrong["level"], wrong["count"]) == ("error", 2)
    assert "train.csv:202: label: the label is empty" in wrong["examples"][0]
    assert finding(found, "unusable")["level"] == "error"


# Where it is told


def test_a_training_warns_of_the_worst_and_says_nothing_of_trifles(write: Write, tmp_path: Path) -> None:
    train = write("train.csv", rows("t", "t 1,1"))
    validation = write("dev.csv", rows("v", "t 3,1"))
    asked = Recipe.model_validate(
        {"task": "classification", "data": {"train": train, "validation": validation}}
    )
    for attempt in ("builds", "finds the cache"):
        (note,) = prepare(asked, SmallTokenizer(), cache_dir=tmp_path / "cache").notes
        assert note.startswith("validation: the texts of 1 of 201 (0.5%) rows also stand in train"), attempt
        assert "dev.csv:202); data.clean.drop_leaked=true" in note


def test_the_command(write: Write, launch: Callable[..., Any]) -> None:
    files = (
        f"data.train={write('train.csv', rows())}",
        f"data.validation={write('dev.csv', rows('v', 't 3,1'))}",
        "data.test=null",
    )
    result = launch("data", "recipe=smoke", *files, "data.text=text", "--json")
    found = json.loads(result.stdout)
    assert found["columns"] == ["text", "label"]
    assert finding(found, "leak", "validation")["count"] == 1
    del found["columns"]
    text = rich_text(report_parts(make(DataReport, found, "the report")))
    table, findings = text.split("warning", 1)
    assert "200" in table
    assert "0 100, 1 100" in table
    assert "validation: the texts of 1 of 201 (0.5%) rows also stand in train" in findings
    assert "-> data.clean.drop_leaked=true" in findings


def test_a_public_data_set_with_a_known_leak(shared_data: Path) -> None:
    """28% of ChnSentiCorp's validation texts are in its training data, as anyone can count."""
    files = {name: str(shared_data / f"chnsenticorp/{name}.tsv") for name in ("train", "dev")}
    data = {
        "train": files["train"],
        "validation": files["dev"],
        "header": False,
        "columns": ("text", "label"),
    }
    asked = Recipe.model_validate({"task": "classification", "data": data})
    found = tree_of(report(asked, SmallTokenizer(), None, lambda *_: None))
    leak = finding(found, "leak", "validation")
    assert (leak["count"], leak["of"]) == (338, 1200)
    assert "(28%)" in leak["message"]
    assert all("dev.tsv:" in example for example in leak["examples"])
    assert finding(found, "conflict")["count"] == 27


def test_a_mistake_is_told_before_anything_is_examined(launch: Callable[..., Any], write: Write) -> None:
    result = launch(
        "data", "recipe=smoke", f"data.train={write('train.csv', rows())}", "data.text=sentence", code=2
    )
    assert "no such column in the file" in result.stderr


def test_a_text_whose_label_is_written_in_two_forms_is_no_conflict(examine: Examine) -> None:
    found = examine(rows("t", "one more,1", "one more,1.0"))
    assert {one["kind"] for one in found["findings"]} == {"duplicate"}


def test_booleans_beside_zero_and_one_are_counted_as_these(examine: Examine) -> None:
    form = finding(examine(rows("t", "one more,True")), "form")
    assert (form["level"], form["count"]) == ("note", 1)
    assert form["examples"][0].endswith("train.csv:202: True is 1")
